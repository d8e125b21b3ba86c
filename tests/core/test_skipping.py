"""Bad scans are told all together; --skip-bad leaves them out, on record, and the run folder keeps the decision."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torchio as tio

from xai_core import Fold, InputError, Pipeline
from xai_core.engine.skipping import skipped_scans
from xai_core.engine.study import Study
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyDataset,
    ToySplitter,
    ToyTrainer,
    register_toys,
    write_toy_study,
)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """Twelve toy scans, of which a2 is cut off and b3 holds a NaN."""
    register_toys()
    write_toy_study(tmp_path / "study", people=12)
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE + "quality: false\n", encoding="utf-8")
    cut = tmp_path / "study" / "a2.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-20])
    spoil(tmp_path / "study" / "b3.nii.gz")
    yield tmp_path
    register_toys()


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """The command line keeps the run's messages to itself."""
    log = logging.getLogger("xai")
    before = log.handlers[:], log.level, log.propagate
    log.handlers.clear()
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def spoil(path: Path) -> None:
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32)
    values[1, 1, 1] = np.nan
    nib.save(nib.Nifti1Image(values, image.affine), path)


def run(study: Path, *, skip_bad: bool = False, until: Any = "train") -> Any:
    return Pipeline.from_file(study / "toy.yaml").run(until, skip_bad=skip_bad)


def left_out(folder: Path) -> dict[str, str]:
    rows = pd.read_csv(folder / "left-out.tsv", sep="\t", dtype=str)
    assert set(rows["reason"]) == {"unusable image"}
    return dict(zip(rows["subject_id"], rows["detail"], strict=True))


def test_all_are_told_and_nothing_stays(study: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(study)
    text = str(caught.value)
    assert text.startswith("2 scans cannot be used:\n  sub-a2: ")
    assert "\n  sub-b3: the image" in text
    assert "--skip-bad" in text.splitlines()[-1]
    assert not (study / "results").exists()


def test_twenty_are_shown_and_the_rest_counted(study: Path) -> None:
    write_toy_study(study / "study", people=60)
    for number in range(0, 50, 2):
        spoil(study / "study" / f"a{number}.nii.gz")
    with pytest.raises(InputError) as caught:
        run(study)
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 scans cannot be used:"
    assert lines[21] == "  and 5 more"


def test_faults_of_the_folds_are_told_at_the_same_time(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToySplitter, "split", lambda *_: [Fold(("a0", "a4"), ("b1",), ("b5",))])
    with pytest.raises(InputError, match=r"(?s)2 scans cannot be used.*Besides.*nobody in the training part is b"):
        run(study)


def test_skip_bad_goes_on_and_records(study: Path) -> None:
    results = run(study, skip_bad=True, until="report")
    assert list(left_out(results.folder)) == ["a2", "b3"]
    assert "cannot be read (EOFError" in left_out(results.folder)["a2"]
    assert set(results.info["skipped"]) == {"sub-a2", "sub-b3"}
    assert results.info["scans"] == len(results.subjects()) == 10
    for table in (results.subjects(), results.splits(), results.predictions()):
        assert not {"a2", "b3"} & set(table["subject_id"])


def test_nobody_is_left_out_where_all_is_well(study: Path) -> None:
    shutil.rmtree(study / "study")
    write_toy_study(study / "study")
    results = run(study, skip_bad=True)
    assert not (results.folder / "left-out.tsv").exists()
    assert results.info["skipped"] == {}


def test_decision_is_kept_without_the_flag(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(study, skip_bad=True).folder
    predictions = (folder / "predictions.tsv").read_bytes()
    monkeypatch.setattr(ToyTrainer, "train", None)
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    caplog.clear()
    run(study)
    assert "2 scans stay left out, as --skip-bad decided before" in caplog.text
    write_toy_study(study / "study", people=12)  # repaired: they stay out until the flag is given again
    run(study)
    assert (folder / "predictions.tsv").read_bytes() == predictions
    assert list(left_out(folder)) == ["a2", "b3"]


def test_giving_the_flag_again_decides_anew(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(study, skip_bad=True).folder
    write_toy_study(study / "study", people=12)
    spoil(study / "study" / "b7.nii.gz")
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    results = run(study, skip_bad=True)
    assert list(left_out(folder)) == ["b7"]
    assert "other scans are left out than before (1, not 2)" in caplog.text
    assert results.info["scans"] == 11
    assert {"a2", "b3"} <= set(results.subjects()["subject_id"])
    write_toy_study(study / "study", people=12)
    assert run(study, skip_bad=True).info["scans"] == 12
    assert skipped_scans(folder) == {}
    assert not (folder / "left-out.tsv").exists()


def test_scan_that_goes_bad_afterwards_is_refused(study: Path) -> None:
    run(study, skip_bad=True)
    spoil(study / "study" / "a4.nii.gz")
    with pytest.raises(InputError, match=r"^sub-a4: the image .*NaN"):
        run(study)


def test_a_run_without_somebody_is_another_study(study: Path) -> None:
    """Its folds are divided and trained anew."""
    folder = run(study, skip_bad=True).folder
    keys = {p.parent.name: json.loads(p.read_text())["key"] for p in folder.glob(".xai/units/fold-*/training.json")}
    write_toy_study(study / "study", people=12)
    run(study, skip_bad=True)
    now = {p.parent.name: json.loads(p.read_text())["key"] for p in folder.glob(".xai/units/fold-*/training.json")}
    assert keys.keys() == now.keys()
    assert all(keys[name] != now[name] for name in keys)


def test_another_process_leaves_out_the_same(study: Path) -> None:
    text = (study / "toy.yaml").read_text(encoding="utf-8") + "executor: {name: toy}\n"
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    assert run(study, skip_bad=True).info["scans"] == 10


def test_class_that_loses_everybody_is_told(study: Path) -> None:
    for path in (study / "study").glob("b*.nii.gz"):
        spoil(path)
    with pytest.raises(InputError, match="only one class"):
        run(study, skip_bad=True)
    for path in (study / "study").glob("a*.nii.gz"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="None of the 12 scans can be used"):
        run(study, skip_bad=True)
    assert not (study / "results").exists()


def test_only_one_visit_of_a_person_is_left_out(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ToyDataset.subjects

    def with_visits(self: ToyDataset) -> list[tio.Subject]:
        visit = {"subject_id": "p2", "session_id": "x", "target": "a"}
        first, *others = original(self)
        named = [tio.Subject({**s, **visit, "session_id": "y"}) if s["subject_id"] == "a2" else s for s in others]
        return [tio.Subject({**first, **visit}), *named]

    monkeypatch.setattr(ToyDataset, "subjects", with_visits)
    found = Study(Pipeline.from_file(study / "toy.yaml").config, study / "folder")
    (study / "folder" / ".xai").mkdir(parents=True)
    (study / "folder" / ".xai" / "skipped.json").write_text(json.dumps({"sub-p2_ses-y": "cut off"}))
    after = Study(found.config, study / "folder")
    assert len(after.subjects) == len(found.subjects) - 1
    assert "sub-p2_ses-x" in after.names


def test_command_line(study: Path, xai: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = xai("run", study / "toy.yaml")
    assert code == 2
    assert "2 scans cannot be used" in err
    code, out, err = xai("train", study / "toy.yaml", "--skip-bad")
    assert (code, "Left out: 2 scans that cannot be used (left-out.tsv)" in out) == (0, True), err
    code, out, _ = xai("run", study / "toy.yaml", "--json")
    assert (code, json.loads(out)["skipped"]) == (0, 2)


def test_broken_record_is_told(study: Path) -> None:
    folder = run(study, skip_bad=True).folder
    (folder / ".xai" / "skipped.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"skipped\.json cannot be read .*Remove it"):
        run(study)


def test_different_grids_are_told(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(study / "study")
    write_toy_study(study / "study", people=8)
    write_toy_study(study / "other", people=2, shape=(9, 10, 9))
    shutil.copy(study / "other" / "b1.nii.gz", study / "study" / "b1.nii.gz")
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    with pytest.raises(InputError, match="After preprocessing the scans differ in shape"):
        run(study)
    assert (
        "the scans have 2 grids: 9 x 10 x 8 voxels of 3 x 3 x 3 mm, LAS (7 scans, such as sub-a0); "
        "9 x 10 x 9 voxels of 3 x 3 x 3 mm, LAS (1 scan, such as sub-b1)"
    ) in caplog.text
