"""What real runs of other kinds showed: repeats, visits, ensembles, sweeps, several channels, unfinished runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from xai_core import InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_reports_html import _page
from xai_reports_html._citation import citation_of
from xai_reports_html._decisions import decisions
from xai_reports_html._material import Material
from xai_reports_html._reading import Notes
from xai_reports_html._sections import sweep_section
from xai_reports_html._strip import Strips
from xai_reports_html._summary import described, evaluation_rows, is_nested

Make = Callable[..., RunResults]


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are what takes long."""
    monkeypatch.setattr(_page, "charts", lambda *_: {})


def written(run: RunResults, output: Path, **params: Any) -> str:
    output.mkdir(exist_ok=True)
    page = create("report", "html", mosaic=0, **params).write(run, output)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))


def again(run: RunResults, *, nested: bool) -> None:
    """Let two further networks test the same people; nested: with the same test parts."""
    for name in ("predictions", "splits"):
        table = pd.read_csv(run.folder / f"{name}.tsv", sep="\t", dtype={"subject_id": str})
        other = table.assign(fold=table["fold"] + 2, repeat=1)
        if not nested and name == "splits":
            people = dict(zip(sorted(set(table["subject_id"])), sorted(set(table["subject_id"]))[::-1], strict=True))
            other.loc[other["subject_id"].isin(list(people)[:2]), "part"] = "test"
        pd.concat([table.assign(repeat=0), other]).to_csv(run.folder / f"{name}.tsv", sep="\t", index=False)


def test_the_repeat_of_a_map_is_no_score(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    path = run.folder / "evaluation" / "truth.tsv"
    table = pd.read_csv(path, sep="\t").assign(repeat=1, session_id=3)
    assert {row["score"] for row in evaluation_rows(table)} == {"density ratio"}
    table.to_csv(path, sep="\t", index=False)
    material = Material(run, create("report", "html"))
    one = material.tested[0]
    assert {score for _, _, score, _ in material.cases._evaluated(one)} == {"density ratio"}


def test_other_visits_of_a_person_are_no_other_people() -> None:
    """Of 01 there are three scans: 02 is compared with 03 and 04 of CN, and 01's own visits are in no count of 01."""
    rows = pd.DataFrame({
        "fold": 0, "scan_id": [f"s{i}" for i in range(6)], "subject_id": ["01", "01", "01", "02", "03", "04"],
        "target": ["CN", "CN", "AD", "CN", "CN", "AD"], "prediction": "CN",
        "probability_CN": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], "probability_AD": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    })  # fmt: skip
    found = decisions(rows, ("CN", "AD"), 0.7)
    assert Strips(found, ("CN", "AD")).of(found[0])["lines"] == [  # type: ignore[index]
        "CN: higher in 2 of 2 test scans of other people.", "AD: higher in 1 of 1 test scans of other people.",
    ]  # fmt: skip
    assert "CN: higher in 1 of 3" in Strips(found, ("CN", "AD")).of(found[3])["lines"][0]  # type: ignore[index]


def test_nested_networks_are_no_repeats(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    assert not is_nested(run.splits())
    again(run, nested=True)
    assert is_nested(run.splits())
    assert "divided into 2 folds with 2 networks each, which validated on other people, by" in described(run)[1]
    text = written(run, tmp_path / "nested")
    assert "Fold Repeat Train Test" in text
    other = make_run()
    again(other, nested=False)
    assert not is_nested(other.splits())
    assert "divided 2 times into 2 folds" in described(other)[1]


def test_over_how_much_explainers_are_compared(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    again(run, nested=True)
    for path in list((run.folder / "derivatives").rglob("*_relevance.*")):
        parts = path.name.split("_relevance")
        copy = path.with_name(f"{parts[0]}Fold2_relevance{parts[1]}")
        if path.suffix == ".json":
            sidecar = json.loads(path.read_text())
            copy.write_text(json.dumps({**sidecar, "fold": sidecar["fold"] + 2}))
        else:
            copy.write_bytes(path.read_bytes())
    assert "Over 8 decisions on 4 scans drawn here" in written(run, tmp_path / "report")
    assert "Over 4 scans drawn here" in written(make_run(), tmp_path / "plain")


@pytest.mark.parametrize("normalise", ["none", "sum"])
def test_an_ensemble_says_that_it_is_one(make_run: Make, tmp_path: Path, normalise: str) -> None:
    run = make_run()
    members = [
        {
            "name": name,
            "seed": 1,
            "data": "participants",
            "model": {"name": "resnet3d", "params": {"depth": 10, "width": width}},
        }
        for name, width in (("a<b>", 4), ("b", 5))
    ]
    about = {"combine": "mean", "weights": None, "normalise": normalise, "members": members}
    (run.folder / "ensemble.json").write_text(json.dumps(about))
    raw = written(run, tmp_path / "report")
    assert "This is an ensemble of 2 runs, a&lt;b&gt; and b:" in raw
    assert "a&lt;b&gt; resnet3d (width 4) participants 1 " in raw
    assert "b resnet3d (width 5) participants 1 " in raw
    assert ("were aggregated as they are" in raw) is (normalise == "none")
    assert "Quality control lies in the folders of the members" in raw
    assert "is not finished" not in raw
    assert "an ensemble of 2 runs" in citation_of(run, Notes()).paragraph


def test_folds_whose_parameters_a_sweep_chose(make_run: Make) -> None:
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    config = yaml.safe_load(path.read_text())
    assert not any("a sweep chose" in sentence for sentence in described(run))
    path.write_text(
        yaml.safe_dump({**config, "per_fold": [{}, {"model": {"name": "resnet3d", "params": {"depth": 18}}}]})
    )
    assert any("Folds differ in parameters that a sweep chose" in sentence for sentence in described(run))


def test_a_run_that_broke_off_says_so(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    assert "is not finished" not in written(run, tmp_path / "whole")
    for path in (run.folder / "fold-1").iterdir():
        path.unlink()
    (run.folder / "fold-1").rmdir()
    assert "The run is not finished: no network of fold 1 is there." in written(run, tmp_path / "half")


def test_a_regression_explains_values(make_run: Make) -> None:
    assert described(make_run(regression=True))[-1].startswith("The predicted value of each test scan was explained by")


def test_a_map_of_several_channels_says_what_is_drawn(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    record = run.maps("lrp")[0]
    image: Any = nib.load(record.path)
    both = np.stack([image.get_fdata(), -image.get_fdata()], -1).astype(np.float32)
    nib.save(nib.Nifti1Image(both, image.affine), record.path)
    sidecar = {
        **record.sidecar,
        "channels": ["t1<w>.nii.gz", "flair.nii.gz"],
        "sum_of_relevance_by_channel": [2.5, -2.5],
    }
    record.path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))
    text = written(run, tmp_path / "report")
    assert "relevance of 2 channels added up drawn over the first, t1&lt;w&gt;.nii.gz" in text
    assert "sum of relevance of flair.nii.gz -2.500" in text


def test_what_is_empty_is_not_shown(make_run: Make, tmp_path: Path) -> None:
    """A zero map has no regions; a table without rows no first ones; a group's map has a caption in words."""
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    slots: list[dict[str, Any]] = [
        {"id": "regions", "name": "region-table", "params": {}},
        {"id": "maps", "name": "group-maps", "params": {}},
    ]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "analyses": slots}))
    for slot in slots:
        (run.folder / "analysis" / slot["id"]).mkdir(parents=True)
    rows = [
        {"scan_id": record.scan_id, "subject_id": record.subject_id, "fold": record.fold, "explainer": record.explainer,
         "index": 1, "region": "Left-Hippocampus", "share": np.nan if record.explainer == "lrp" else 0.5}
        for record in run.maps()
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(run.folder / "analysis" / "regions" / "regions.tsv", sep="\t", index=False)
    (run.folder / "analysis" / "regions" / "left-out.tsv").write_text("index\tregion\treason\n")
    maps = run.folder / "analysis" / "maps"
    (maps / "lrp_AD.png").write_bytes(b"\x89PNG")
    told = {"what": "mean relevance", "people": 2, "explained": "AD 2", "colour_limit_is": "0.9999 quantile of |mean|"}
    (maps / "lrp_AD.json").write_text(json.dumps(told))
    text = written(run, tmp_path / "report")
    assert "Regions with most relevance: gradcam-last" in text
    assert "Regions with most relevance: lrp" not in text
    assert "(0 rows)" not in text
    assert "left-out.tsv" in text
    assert "Mean relevance. n = 2 people. Explained output: AD 2. Colours end at the 0.9999 quantile of |mean|." in text


def test_who_has_a_zero_map_is_in_no_mean_and_in_no_n(make_run: Make) -> None:
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    slots = [{"id": "regions", "name": "region-table", "params": {}}]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "analyses": slots}))
    (run.folder / "analysis" / "regions").mkdir(parents=True)
    shares = {"sub-01": np.nan, "sub-02": 0.3, "sub-x": 0.2, "sub-04_ses-b": 0.4}
    rows = [
        {"scan_id": one.scan_id, "fold": one.fold, "explainer": "lrp", "index": 1, "region": "Hippocampus",
         "share": shares[one.scan_id]}
        for one in run.maps("lrp")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(run.folder / "analysis" / "regions" / "regions.tsv", sep="\t", index=False)
    (found,) = Material(run, create("report", "html")).anatomy.groups(run.classes)
    assert found["people"] == "3 people"
    assert found["columns"] == ["CN (n = 1)", "AD (n = 2)"]
    assert found["rows"][0]["cells"] == ["30.00 %", "30.00 % ± 14.14 %"]


def test_files_of_two_analyses_never_share_a_name(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    slots: list[dict[str, Any]] = [{"id": one, "name": "group-maps", "params": {}} for one in ("maps", "maps_lrp")]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "analyses": slots}))
    for one, stem in (("maps", "lrp_AD"), ("maps_lrp", "AD")):
        folder = run.folder / "analysis" / one
        folder.mkdir(parents=True)
        (folder / f"{stem}.png").write_bytes(one.encode())
        (folder / f"{stem}.tsv").write_text(f"of\n{one}\n")
    page = create("report", "html", mode="folder", mosaic=0).write(run, tmp_path)
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r'<img src="(figures/maps[^"]*)"', text)
    assert [(tmp_path / one).read_text() for one in shown] == ["maps", "maps_lrp"]
    tables = re.findall(r'<a href="(tables/maps[^"]*)"', text)
    assert [(tmp_path / one).read_text().split()[1] for one in tables] == ["maps", "maps_lrp"]


def test_a_former_choice_of_a_sweep_is_not_described_by_the_present_one(make_run: Make) -> None:
    folder = make_run().folder
    trials = pd.DataFrame({"trial": [0], "validation": [0.5], "status": ["done"]})
    trials.to_csv(folder.parent / "sweep.tsv", sep="\t", index=False)
    best = folder.rename(folder.with_name("best"))
    assert sweep_section(RunResults(best), Notes()) is not None
    assert sweep_section(RunResults(best.rename(best.with_name("best-before-1"))), Notes()) is None


def test_people_and_scans_of_a_class_are_told_apart(make_run: Make) -> None:
    run = make_run()
    assert "4 scans: CN 2, AD 2." in described(run)[0]
    table = pd.read_csv(run.folder / "subjects.tsv", sep="\t")
    more = table[table["target"] == "CN"].assign(scan_id=lambda rows: rows["scan_id"] + "_ses-2")
    pd.concat([table, more]).to_csv(run.folder / "subjects.tsv", sep="\t", index=False)
    assert "4 people with 6 scans: CN 2 (4 scans), AD 2." in described(run)[0]


def test_the_folds_of_a_scan_are_named(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(InputError, match="sub-02 was not tested by the network of fold 0, but by that of 1"):
        _page.write_person(run, "sub-02", tmp_path, create("report", "html"), 0)


def test_a_run_without_predictions_says_so(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    (run.folder / "predictions.tsv").unlink()
    with pytest.raises(InputError, match="nobody was tested yet"):
        _page.write_person(run, "sub-02", tmp_path, create("report", "html"))
