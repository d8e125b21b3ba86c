"""The results section: folds, chance, groups, calibration and the gap; escaped, and left out where there is nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from xai_core.registry import create
from xai_reports_html._charts import roc_chart
from xai_reports_html._files import figure_files
from xai_reports_html._scorecharts import calibration_chart, gap_chart
from xai_reports_html._summary import NONE

SCORE = {"value": 0.75, "low": 0.5, "high": 0.9}
PNG = b"\x89PNG"


def text_of(run, output: Path) -> str:
    output.mkdir()
    return create("report", "html", max_people=0).write(run, output).read_text(encoding="utf-8")


def change(run, **parts):
    metrics = run.metrics()
    metrics |= parts
    (run.folder / "metrics.json").write_text(json.dumps(metrics))


def save(run, name: str, rows: list[dict[str, object]]) -> None:
    pd.DataFrame(rows).to_csv(run.folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")


def test_nothing_is_claimed_that_the_run_does_not_hold(make_run, tmp_path):
    page = text_of(make_run(), tmp_path / "report")
    for words in ("Against chance", "By site", "Calibration:", "The gap (", "SD of folds"):
        assert words not in page


def test_folds_chance_and_groups(make_run, tmp_path):
    run = make_run()
    over = {"mean": 0.71, "sd": 0.05, "n": 2, "low": 0.61, "high": 0.81}
    permutation = {"auc": {"p": 0.004, "chance": 0.502, "permutations": 1000}}
    change(run, across_folds={"auc": over}, test={**run.metrics()["test"], "permutation": permutation})
    save(run, "by-group", [
        {"by": "site", "group": "<b>one</b>", "n": 3, "people": 2, "metric": "auc", **SCORE},
        {"by": "site", "group": "01", "n": 1, "people": 1, "metric": "auc", "value": None, "low": None, "high": None},
        {"by": "site", "group": None, "n": 1, "people": 1, "metric": "auc", "value": 1.0, "low": None, "high": None},
    ])  # fmt: skip
    page = text_of(run, tmp_path / "report")
    assert "0.710 ± 0.050" in page
    assert "95 % interval 0.610 to 0.810, corrected for the overlap" in page
    assert "AUC p = 0.004 (by chance 0.502)" in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "<b>one</b>" not in page
    assert f'<tr><th scope="row">01</th><td>1</td><td>1</td><td>{NONE}</td></tr>' in page
    assert '<tr><th scope="row">not known</th><td>1</td><td>1</td><td>1.000</td></tr>' in page
    assert "0.750 <small>(0.500 to 0.900)</small>" in page


@pytest.mark.parametrize("correction", ["beheshti", "cole"])
def test_the_gap_of_a_regression(make_run, tmp_path, correction):
    run = make_run(regression=True)
    config = yaml.safe_load((run.folder / "pipeline.resolved.yaml").read_text())
    config["training"]["params"]["bias_correction"] = correction
    (run.folder / "pipeline.resolved.yaml").write_text(yaml.safe_dump(config))
    table = run.predictions()
    table.assign(gap=2.0, gap_corrected=0.0).to_csv(run.folder / "predictions.tsv", sep="\t", index=False)
    page = text_of(run, tmp_path / "report")
    assert (tmp_path / "report" / "figures" / "gap.png").read_bytes().startswith(PNG)
    assert "before and after the correction" in page
    assert ("must not be used as predictions" in page) is (correction == "beheshti")
    assert ("does not use the person" in page) is (correction == "cole")


def test_calibration(make_run, tmp_path):
    run = make_run()
    save(run, "calibration", [
        {"kind": kind, "class": "AD", "low": 0.1, "high": 0.2, "n": 4, "predicted": p, "observed": 0.25,
         "observed_low": 0.05, "observed_high": 0.7} for kind, p in (("probability", 0.15), ("calibrated", 0.2))
    ])  # fmt: skip
    page = text_of(run, tmp_path / "report")
    assert (tmp_path / "report" / "figures" / "calibration.png").read_bytes().startswith(PNG)
    assert "Reliability curve" in page


def test_several_repeats_are_not_mixed(make_run, tmp_path):
    """The same people in each repeat: curves show one of them, and the page says so."""
    run = make_run()
    plain = text_of(run, tmp_path / "plain")
    assert "divided 2 times" not in plain
    table = run.predictions()
    worse = table.assign(repeat=1, fold=table["fold"] + 2, probability_AD=0.5, probability_CN=0.5)
    both = pd.concat([table.assign(repeat=0), worse])
    both.to_csv(run.folder / "predictions.tsv", sep="\t", index=False)
    test = run.metrics()["test"]
    change(run, repeats=[test, test], test={**test, "confusion_matrix": [[1.5, 0.5], [1, 1]]})
    page = text_of(run, tmp_path / "repeated")
    assert "The people were divided 2 times" in page
    assert (tmp_path / "repeated" / "figures" / "roc.png").is_file()


def drawn(figure, folder):
    return figure_files(figure, folder, "chart")


def test_charts_of_little_data(tmp_path):
    assert calibration_chart(pd.DataFrame(columns=["kind", "class"])) is None
    for corrected in (None, [np.nan, np.nan], [1.0, -1.0]):
        assert drawn(gap_chart([60.0, 70.0], [2.0, -2.0], corrected), tmp_path).startswith(PNG)
    assert drawn(gap_chart([60.0], [0.0], None), tmp_path).startswith(PNG)
    # A fold of one class has no curve of its own; the others have.
    true, p = ["CN", "AD", "CN", "CN"], [0.1, 0.9, 0.2, 0.3]
    probabilities = {"CN": [1 - v for v in p], "AD": p}
    with_folds = roc_chart(true, probabilities, ["CN", "AD"], [0, 0, 1, 1], " [0.5, 1.0]")
    assert [line.get_label() for line in with_folds.axes[0].lines].count("each fold alone") == 1
    assert len(with_folds.axes[0].lines) == len(roc_chart(true, probabilities, ["CN", "AD"]).axes[0].lines) + 1
