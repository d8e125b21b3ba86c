"""Runs with gaps and tables of others that are not as expected: what is there is shown, what is not is said."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from xai_core import InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create


def table(run, name):
    path = run.folder / f"{name}.tsv"
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype={"subject_id": str})


def put(run, name, found):
    found.to_csv(run.folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")


def written(run, folder: Path, mode="folder", **params):
    folder.mkdir(exist_ok=True)
    page = create("report", "html", mode=mode, mosaic=0, **params).write(run, folder)
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(text))


def with_analysis(run, **files):
    folder = run.folder / "analysis" / "a"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    path = run.folder / "pipeline.resolved.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"analyses": [{"id": "a", "name": "absent"}, {"id": "gone", "name": "b"}]}))
    return folder


@pytest.mark.parametrize("regression", [False, True])
def test_nobody_was_tested(make_run, tmp_path, regression):
    run = make_run(regression=regression)
    put(run, "predictions", table(run, "predictions").iloc[:0])
    for mode in ("single", "folder"):
        assert "Every test scan" not in written(run, tmp_path / mode, mode)


def test_one_class_and_one_scan(make_run, tmp_path):
    run = make_run()
    found = table(run, "predictions")
    put(run, "predictions", found[found["target"] == "CN"].iloc[:1])
    written(run, tmp_path / "report")
    page = (tmp_path / "report" / "people" / "sub-01.html").read_text("utf-8")
    assert "CN: no test scan of other people. AD: no test scan of other people." in page
    assert not (tmp_path / "report" / "figures" / "roc.png").exists()


def test_probabilities_that_are_not_known(make_run, tmp_path):
    run = make_run()
    found = table(run, "predictions")
    found.loc[0, "probability_AD"] = np.nan
    put(run, "predictions", found)
    text = written(run, tmp_path / "report")
    assert "1 predictions are no finite numbers (probability_CN, probability_AD) and are in no chart." in text
    people = pd.read_csv(tmp_path / "report" / "tables" / "people.tsv", sep="\t", na_values=["n/a"])
    assert people["certainty"].isna().tolist() == [True, False, False, False]


def test_relevance_by_region_that_is_not_as_expected(make_run, tmp_path):
    run = make_run()
    rows = "sub-01\t0\tlrp\tx\t0.5\nsub-02\t1\tlrp\tx\tmuch\nsub-x\tn/a\tlrp\tx\t0.4\nnobody\t0\tlrp\tx\t0.3\n"
    folder = with_analysis(
        run, regions=f"scan_id\tfold\texplainer\tregion\tshare\n{rows}", empty="",
        scores="scan_id\tregion\tfeature\tw\nsub-01\tx\tvolume\tbig\nsub-01\ty\tvolume\t-2\n",
        sentences="scan_id\tsentence\nsub-01\tn/a\n",
    )  # fmt: skip
    (folder / "list.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    text = written(run, tmp_path / "report")
    for note in (
        "a/regions.tsv: 1 cells of share, fold are no finite numbers",
        "a/regions.tsv: 1 rows lack one of scan_id, fold, explainer, region",
        "a/scores.tsv: 1 cells of w are no finite numbers",
        "analysis/a/empty.tsv cannot be read",
        "analysis/a/broken.json cannot be read",
        "no results of the analysis gone",
    ):
        assert note in text, note
    assert "x 50.00 % 50.00 %" in text, "the mean of the one person whose share is known"
    page = (tmp_path / "report" / "people" / "sub-01.html").read_text("utf-8")
    assert "no controls to compare with" in page
    assert "-2.00" in page


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_maps_without_relevance(make_run, tmp_path, value):
    run = make_run()
    record = run.maps("lrp")[0]
    image = nib.load(record.path)
    nib.save(nib.Nifti1Image(np.full(image.shape, value, np.float32), image.affine), record.path)
    written(run, tmp_path / "report")
    page = (tmp_path / "report" / "people" / f"{record.scan_id}.html").read_text("utf-8")
    assert "The map of lrp is zero everywhere." in page
    assert ("voxels of the map of lrp are not finite" in page) is bool(np.isnan(value))


def test_covariates(make_run, tmp_path):
    """Nobody's value, some people's, and true or false."""
    run = make_run()
    found = table(run, "subjects")
    put(run, "subjects", found.assign(none=np.nan, age=[70.0, np.nan, 72.0, 74.0], smoker=[True, False, True, False]))
    text = written(run, tmp_path / "report")
    assert "age 70 (1 not known) 73 ± 1.41 72 ± 2 (1 not known)" in text
    assert "smoker: True 1 (50%) 1 (50%) 2 (50%)" in text
    people = pd.read_csv(tmp_path / "report" / "tables" / "people.tsv", sep="\t")
    assert "none" not in people


def test_files_of_an_ensemble_and_of_quality_that_are_broken(make_run, tmp_path):
    run = make_run()
    (run.folder / "ensemble.json").write_text("{")
    (run.folder / "agreement.tsv").write_text("x\n1\n")
    (run.folder / "quality").mkdir()
    (run.folder / "quality" / "quality.tsv").write_bytes(b"\xff\xfe\x00")
    text = written(run, tmp_path / "report")
    assert "ensemble.json cannot be read" in text
    assert "agreement.tsv lacks the columns scan_id, fold" in text
    assert "quality/quality.tsv cannot be read" in text


def test_the_choice_of_a_sweep(make_run, tmp_path):
    run = make_run()
    best = run.folder.rename(run.folder.with_name("best"))
    (best.parent / "sweep.tsv").write_text("trial\tvalidation\tstatus\n0\t0.5\tdone\n1\tn/a\tfailed\n")
    (best.parent / "chosen.tsv").write_text("fold\ttrial\ttest\n0\t0\t0.71234\n")
    text = written(RunResults(best), tmp_path / "report")
    assert "what a sweep of 2 trials chose, by validation scores only. 1 trainings of it failed." in text
    assert "0 0 0.712" in text


def test_controls_of_a_regression(make_run, tmp_path):
    with pytest.raises(InputError, match=r"controls names no class: CN\. The run is a regression"):
        written(make_run(regression=True), tmp_path / "report", controls=["CN"])
