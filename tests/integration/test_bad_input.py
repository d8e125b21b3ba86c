"""Bad input: one clear message that says what, where and what to do; the right exit code; nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Xai = Callable[..., Any]


def table(study: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = study / "participants.tsv"
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def replace(study: Path, old: str, new: str) -> None:
    path = study / "pipeline.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def image(study: Path, values: Any) -> None:
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), np.eye(4)), study / "3.nii.gz")


def nan_image(study: Path) -> None:
    values = np.ones((16, 18, 14))
    values[4, 4, 4] = np.nan
    values[0] = 2
    image(study, values)


def twice(lines: list[str]) -> list[str]:
    return [*lines, lines[3]]


CASES: dict[str, tuple[Callable[[Path], Any], int, tuple[str, ...]]] = {
    "missing image": (lambda s: (s / "3.nii.gz").unlink(), 2, ("3.nii.gz", "row 5")),
    "unreadable image": (
        lambda s: (s / "3.nii.gz").write_bytes(b"no image"), 2, ("sub-03", "3.nii.gz", "cannot be read"),
    ),
    "truncated image": (
        lambda s: (s / "3.nii.gz").write_bytes((s / "3.nii.gz").read_bytes()[:3000]), 2, ("sub-03", "cannot be read"),
    ),
    "empty image": (lambda s: (s / "3.nii.gz").write_bytes(b""), 2, ("sub-03", "empty")),
    "empty table": (lambda s: (s / "participants.tsv").write_text(""), 2, ("participants.tsv", "empty")),
    "table without people": (lambda s: table(s, lambda lines: lines[:1]), 2, ("participants.tsv",)),
    "missing table": (lambda s: (s / "participants.tsv").unlink(), 2, ("participants.tsv", "does not exist")),
    "unknown column": (
        lambda s: replace(s, "target: diagnosis", "target: diagnosys"), 2, ("diagnosys", "Did you mean 'diagnosis'"),
    ),
    "one class only": (
        lambda s: table(s, lambda lines: [line.replace("\tAD\t", "\tCN\t") for line in lines]),
        2, ("only one class", "CN (16)"),
    ),
    "4D image": (lambda s: image(s, np.random.rand(16, 18, 14, 5)), 2, ("sub-03", "16 x 18 x 14 x 5", "3D")),
    "NaN voxels": (nan_image, 2, ("sub-03", "1 voxels that are NaN")),
    "duplicate person": (lambda s: table(s, twice), 2, ("'02'", "rows 4 and 18", "session")),
    "unknown component": (
        lambda s: replace(s, "name: lrp", "name: lpr"), 2, ("pipeline.yaml:12", "explainers[0].name", "'lrp'"),
    ),
    "known plugin of another package": (
        lambda s: replace(s, "name: holdout", "name: kfold"), 2, ("pipeline.yaml:9", "stratified-kfold"),
    ),
    "unknown parameter": (
        lambda s: replace(s, "depth: 10", "deph: 10"),
        2, ("pipeline.yaml:10: model.params.deph", "Did you mean 'depth'"),
    ),
    "wrong type": (
        lambda s: replace(s, "epochs: 1", "epochs: many"), 2, ("pipeline.yaml:11: training.params.epochs", "'many'"),
    ),
    "two people to one id": (
        lambda s: table(s, lambda lines: [*lines[:-1], lines[-1].replace("sub-15", "sub-0_1")]), 2, ("'0_1'", "sub-01"),
    ),
    "shapes differ": (lambda s: image(s, np.random.rand(16, 20, 14)), 2, ("differ in shape", "crop-or-pad")),
    "too few of a class": (
        lambda s: table(s, lambda lines: [lines[0], *[x for x in lines[1:] if "CN" in x], lines[2]]), 2, ("AD",),
    ),
    "no such device": (lambda s: replace(s, "device: cpu", "device: cuda:7"), 2, ("cuda:7", "cpu")),
    "output is a file": (lambda s: (s / "results").write_text("mine"), 2, ("results",)),
    "foreign folder": (
        lambda s: ((s / "results" / "small").mkdir(parents=True), (s / "results" / "small" / "a.txt").touch()), 2,
        ("is not a run folder", "--name"),
    ),
    "a grid that leaves nothing": (
        lambda s: replace(s, "to-canonical}", "to-canonical}, {name: resize, params: {target_shape: [1, 1, 1]}}"),
        2, (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_message(case: str, study: Path, xai: Xai) -> None:
    spoil, code, said = CASES[case]
    spoil(study)
    outcome = xai("run", study / "pipeline.yaml")
    assert outcome.code == code, outcome.err
    for text in said:
        assert text in outcome.err, outcome.err
    assert sum(line.startswith("Error: ") for line in outcome.err.splitlines()) == 1
    assert "Traceback" not in outcome.err
    left = {p.relative_to(study).as_posix() for p in study.glob("results/**/*") if p.is_file()}
    assert left <= {"results/small/a.txt"}, "something was left behind"


def test_every_problem_of_the_file_at_once(study: Path, xai: Xai) -> None:
    replace(study, "depth: 10", "deph: 10")
    replace(study, "epochs: 1", "epochs: many")
    replace(study, "name: lrp", "name: lpr")
    outcome = xai("validate", study / "pipeline.yaml")
    assert outcome.code == 2
    for line in (10, 11, 12):
        assert f"pipeline.yaml:{line}: " in outcome.err
    outcome = xai("validate", study / "nothing.yaml")
    assert outcome.code == 2
    assert "pipeline.yaml" in outcome.err


def test_folder_of_another_configuration_keeps_its_results(study: Path, xai: Xai) -> None:
    assert xai("train", study / "pipeline.yaml").code == 0
    before = (study / "results/small/metrics.json").read_bytes()
    outcome = xai("run", study / "pipeline.yaml", "--epochs", "2")
    assert outcome.code == 2
    assert "training.params.epochs: 1 there, 2 here" in outcome.err
    assert (study / "results/small/metrics.json").read_bytes() == before


def test_a_scan_of_ones_own_that_cannot_be_used(study: Path, xai: Xai) -> None:
    assert xai("train", study / "pipeline.yaml").code == 0
    run = study / "results" / "small"
    for arguments, said in (
        (("--image", study / "none.nii.gz"), "does not exist"),
        (("--image", study / "pipeline.yaml"), "no image"),
        (("--image", study / "1.nii.gz", "--target", "MCI"), "CN"),
        (("--image", study / "1.nii.gz", "--explainer", "lpr"), "Did you mean 'lrp'"),
        (("--image", study / "1.nii.gz", "--fold", "3"), "no trained fold 3"),
        (("--target", "AD"), "--image"),
    ):
        outcome = xai("explain", run, "--allow-training-people", *arguments)
        assert outcome.code == 2, outcome.err
        assert said in outcome.err
    assert not (run / "explained").exists()
    assert xai("explain", study, "--image", study / "1.nii.gz").code == 2
    nib.save(nib.Nifti1Image(np.random.rand(9, 9, 9).astype("f4"), np.eye(4)), study / "small.nii.gz")
    outcome = xai("predict", run, "--image", study / "small.nii.gz")
    assert outcome.code == 2, outcome.out
    assert "9 x 9 x 9" in outcome.err
