"""A run folder as reports and notebooks read it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_core import InputError
from xai_core.engine.results import RunResults
from xai_core.testing import example_run


@pytest.fixture
def run(tmp_path: Path) -> RunResults:
    return example_run(tmp_path / "run")


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_example_run_is_whole_and_agrees_with_itself(run: RunResults) -> None:
    assert run.config["explainers"] == [{"id": "lrp", "name": "lrp", "params": {}}]
    assert (run.task, run.classes, run.folds()) == ("classification", ("CN", "AD"), [0])
    assert run.metrics()["test"]["auc"]["value"] == 0.75
    assert list(run.history(0).columns) == ["epoch", "train_loss", "val_loss"]
    subjects, predictions, splits = run.subjects(), run.predictions(), run.splits()
    assert list(subjects["scan_id"]) == list(predictions["scan_id"]) == [m.scan_id for m in sorted_maps(run)]
    assert set(splits[splits["part"] == "test"]["subject_id"]) == set(predictions["subject_id"])
    np.testing.assert_allclose(predictions["probability_CN"] + predictions["probability_AD"], 1)
    for record in run.maps():
        image, relevance = nib.load(record.image), nib.load(record.path)
        assert image.shape == relevance.shape
        np.testing.assert_array_equal(image.affine, relevance.affine)
        assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
        assert record.sidecar["sum_of_relevance"] == pytest.approx(float(relevance.get_fdata().sum()), abs=1e-3)
    assert any(set(person) & set("<>&") for person in subjects["subject_id"])


def sorted_maps(run: RunResults) -> list[object]:
    order = list(run.subjects()["scan_id"])
    return sorted(run.maps(), key=lambda record: order.index(record.scan_id))  # type: ignore[return-value]


def test_example_run_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        example_run(tmp_path / name / "run")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) > 15
    for file in files:
        one, other = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        assert one.replace(str(tmp_path / "a").encode(), b"") == other.replace(str(tmp_path / "b").encode(), b"")


def test_example_run_can_be_made_again_in_its_place(run: RunResults) -> None:
    assert len(example_run(run.folder).maps()) == 4


# --- not a run, or not yet whole --------------------------------------------------------------------------------------


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        RunResults(tmp_path / "nowhere")
    message = f"{tmp_path / 'nowhere'} is not a run folder: it is not a folder. Give the folder that 'xai run' printed."
    assert str(caught.value) == message


def test_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run folder: it holds no pipeline\.resolved\.yaml\. Give"):
        RunResults(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="it is not a folder"):
        RunResults(str(file))


READERS: dict[str, Callable[[RunResults], object]] = {
    "run.json": lambda run: run.info,
    "subjects.tsv": RunResults.subjects,
    "splits.tsv": RunResults.splits,
    "predictions.tsv": RunResults.predictions,
    "metrics.json": RunResults.metrics,
    "fold-0/history.csv": lambda run: run.history(0),
    "fold-3/history.csv": lambda run: run.history(3),
    "evaluation/truth.tsv": lambda run: run.evaluation("truth"),
}


@pytest.mark.parametrize("name", READERS)
def test_missing_file_is_named(run: RunResults, name: str) -> None:
    (run.folder / name).unlink(missing_ok=True)
    with pytest.raises(InputError) as caught:
        READERS[name](run)
    assert str(caught.value).startswith(f"{run.folder} has no {name} yet. Run 'xai run'")


def test_tables_can_be_read_before_the_run_is_finished(run: RunResults) -> None:
    """Subjects and splits are there before ``run.json``."""
    (run.folder / "run.json").unlink()
    assert run.subjects()["subject_id"].tolist()[0] == "01"
    assert len(run.splits()) == 4


def test_no_maps_and_no_folds_yet(run: RunResults) -> None:
    shutil.rmtree(run.folder / "derivatives")
    (run.folder / "fold-0" / "checkpoint.pt").unlink()
    assert run.maps() == []
    assert run.folds() == []


def test_folds_are_in_the_order_of_numbers(run: RunResults) -> None:
    for number in (10, 2):
        (run.folder / f"fold-{number}").mkdir()
        (run.folder / f"fold-{number}" / "checkpoint.pt").touch()
    assert run.folds() == [0, 2, 10]


# --- texts stay texts -------------------------------------------------------------------------------------------------

CODES = (("sub-01\t01\tn/a\tA", "sub-007\t007\t01\t1"),)


def test_ids_stay_texts(run: RunResults) -> None:
    """An id is 007, not 7; a session 01; a site 1; an id NA or nan is no missing value."""
    edit(run.folder / "subjects.tsv", *CODES, ("sub-02\t02\tn/a\tA", "sub-NA\tNA\t02\t2"))
    subjects = run.subjects()
    first = subjects.iloc[0]
    assert [first[c] for c in ("scan_id", "subject_id", "session_id", "site")] == ["sub-007", "007", "01", "1"]
    assert subjects["subject_id"].tolist()[1] == "NA"
    assert subjects["session_id"].isna().tolist() == [False, False, True, True]
    assert subjects["age"].dtype.kind == "i"
    edit(run.folder / "predictions.tsv", ("sub-01\t01", "sub-007\t007"))
    assert run.predictions()["subject_id"].tolist()[0] == "007"
    edit(run.folder / "splits.tsv", ("0\ttest\t01", "0\ttest\t007"))
    assert run.splits()["subject_id"].tolist()[0] == "007"


def test_names_of_explainers_stay_texts(run: RunResults) -> None:
    (run.folder / "evaluation").mkdir()
    (run.folder / "evaluation" / "truth.tsv").write_text("scan_id\texplainer\tmass\nsub-01\t01\t0.5\nsub-02\t01\tn/a\n")
    scores = run.evaluation("truth")
    assert scores["explainer"].tolist() == ["01", "01"]
    assert scores["mass"].isna().tolist() == [False, True]


@pytest.mark.parametrize("names", [("0", "1"), ("00", "01"), ("False", "True"), ("1.0", "2.0")])
def test_names_of_classes_stay_texts(run: RunResults, names: tuple[str, str]) -> None:
    for file in ("subjects.tsv", "predictions.tsv"):
        edit(run.folder / file, ("CN", names[0]), ("AD", names[1]))
    edit(run.folder / "run.json", ('"CN"', f'"{names[0]}"'), ('"AD"', f'"{names[1]}"'))
    assert run.classes == names
    assert run.subjects()["target"].tolist() == [names[0], names[1]] * 2
    assert set(run.predictions()["prediction"]) <= set(names)
    assert set(run.predictions()["target"]) == set(names)


def test_targets_of_a_regression_are_numbers(run: RunResults) -> None:
    for file in ("subjects.tsv", "predictions.tsv"):
        edit(run.folder / file, ("\tCN", "\t61.5"), ("\tAD", "\t70"))
    edit(run.folder / "run.json", ('"classification"', '"regression"'), ('["CN", "AD"]', "null"))
    assert run.classes is None
    assert run.subjects()["target"].tolist() == [61.5, 70, 61.5, 70]
    assert pd.api.types.is_numeric_dtype(run.predictions()["prediction"])


# --- maps -------------------------------------------------------------------------------------------------------------


def test_maps_of_one_explainer(run: RunResults) -> None:
    assert len(run.maps("lrp")) == 4
    assert run.maps("gradcam") == []
    record = run.maps()[0]
    assert record.path.name == f"{record.scan_id}_desc-lrp_relevance.nii.gz"
    assert record.path.is_file()
    assert record.image is not None
    assert record.image.is_file()
    assert record.ground_truth is None


def test_truth_of_a_map(run: RunResults) -> None:
    edit(run.folder / "subjects.tsv", ("sub-02.nii.gz\tn/a", "sub-02.nii.gz\t/truth/02.nii.gz"))
    truths = {record.scan_id: record.ground_truth for record in run.maps()}
    assert truths["sub-02"] == Path("/truth/02.nii.gz")
    assert truths["sub-01"] is None


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("subjects.tsv", ("sub-02\t02", "sub-99\t99")),  # taken out of the study
        ("splits.tsv", ("0\ttest\t02", "0\ttrain\t02")),  # trains now
        ("splits.tsv", ("0\ttest\t02", "1\ttest\t02")),  # tested by another network now
    ],
)
def test_map_of_an_earlier_state_of_the_study_is_left_out(run: RunResults, file: str, change: tuple[str, str]) -> None:
    """Its network is not the one of this run, however right it looks."""
    edit(run.folder / file, change)
    assert [record.subject_id for record in run.maps()] == ["01", "04", "<b>3</b>"]


def test_two_sessions_and_their_maps(run: RunResults) -> None:
    old = run.folder / "derivatives" / "sub-02" / "anat"
    new = run.folder / "derivatives" / "sub-02" / "ses-1" / "anat"
    shutil.copytree(old, new)
    for path in sorted(new.iterdir()):
        path.rename(new / path.name.replace("sub-02", "sub-02_ses-1"))
    sidecar = new / "sub-02_ses-1_desc-lrp_relevance.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text(encoding="utf-8")), "scan_id": "sub-02_ses-1"}))
    text = (run.folder / "subjects.tsv").read_text(encoding="utf-8")
    line = next(row for row in text.splitlines() if row.startswith("sub-02"))
    (run.folder / "subjects.tsv").write_text(text + line.replace("sub-02\t02\tn/a", "sub-02_ses-1\t02\t1") + "\n")
    records = [record for record in run.maps() if record.subject_id == "02"]
    assert {record.scan_id for record in records} == {"sub-02", "sub-02_ses-1"}
    assert all(record.path.is_file() for record in records)
