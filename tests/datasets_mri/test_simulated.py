"""The built-in cohort on disk: same bytes, whole or absent, valid BIDS, read like any other study."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core.errors import InputError
from xai_datasets_mri import _simulation_cohort
from xai_datasets_mri._simulation_cohort import write_cohort
from xai_datasets_mri._simulation_image import image_grid, tissue
from xai_datasets_mri._simulation_person import Cohort, draw_person
from xai_datasets_mri.simulated import SimulatedAtrophy

SMALL = Cohort(("CN", "AD"), 8.0, 1.0, "none", 0)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> SimulatedAtrophy:
    folder = str(tmp_path_factory.mktemp("cohorts"))
    dataset = SimulatedAtrophy(folder=folder, subjects=6, groups=["AD", "CN", "MCI"])
    assert list(dataset.inputs()) == []
    dataset.subjects()
    return dataset


def test_subjects_hold_what_a_study_needs(cohort: SimulatedAtrophy) -> None:
    subjects = cohort.subjects()
    assert [s["subject_id"] for s in subjects] == [f"{n:03d}" for n in range(1, 7)]
    assert sorted(s["target"] for s in subjects) == ["AD", "AD", "CN", "CN", "MCI", "MCI"]
    for subject in subjects:
        assert subject["image"].shape == (1, 45, 55, 47)
        assert nib.aff2axcodes(subject["image"].affine) == ("R", "A", "S")
        assert np.array_equal(subject["image"].affine, subject["ground_truth"].affine)
        assert set(np.unique(subject["ground_truth"].data)) <= {0, 1}
        assert 55 <= subject["age"] <= 90
        assert subject["site"] in ("scanner-a", "scanner-b", "scanner-c")
        assert subject["sex"] in ("F", "M")


def test_the_true_severity_is_no_covariate(cohort: SimulatedAtrophy) -> None:
    keys = {key for subject in cohort.subjects() for key in dict(subject)}
    assert keys == {"image", "target", "subject_id", "site", "ground_truth", "age", "sex"}


def test_the_ill_have_a_larger_mask(cohort: SimulatedAtrophy) -> None:
    voxels: dict[str, list[int]] = {"CN": [], "MCI": [], "AD": []}
    for subject in cohort.subjects():
        voxels[subject["target"]].append(int(subject["ground_truth"].data.sum()))
    assert min(voxels["AD"]) > 50
    assert min(voxels["CN"]) < min(voxels["AD"])


def test_classes_end_with_the_most_ill(cohort: SimulatedAtrophy) -> None:
    assert cohort.class_order == ("CN", "MCI", "AD")
    assert SimulatedAtrophy(target="age").class_order is None


def test_age_can_be_the_target(cohort: SimulatedAtrophy) -> None:
    by_age = SimulatedAtrophy(
        folder=str(cohort.folder), subjects=6, groups=["CN", "MCI", "AD"], target="age"
    )  # the same cohort: only what is predicted differs
    assert by_age.cohort_folder == cohort.cohort_folder
    for subject, other in zip(by_age.subjects(), cohort.subjects(), strict=True):
        assert subject["target"] == other["age"]
        assert subject["diagnosis"] == other["target"]


def test_layout_is_bids(cohort: SimulatedAtrophy) -> None:
    root = cohort.cohort_folder
    truth = root / "derivatives" / "ground-truth"
    assert json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))["DatasetType"] == "raw"
    description = json.loads((truth / "dataset_description.json").read_text(encoding="utf-8"))
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "simulated-atrophy"
    header, *rows = (root / "participants.tsv").read_text(encoding="utf-8").splitlines()
    assert header.split("\t") == ["participant_id", "age", "sex", "diagnosis", "site"]
    assert [row.split("\t")[0] for row in rows] == sorted(path.name for path in root.glob("sub-*"))
    assert set(json.loads((root / "participants.json").read_text(encoding="utf-8"))) == set(header.split("\t")[1:])
    assert (truth / "participants.tsv").read_text(encoding="utf-8").startswith("participant_id\tseverity\nsub-001\t")
    names = {str(path.relative_to(root)) for path in root.rglob("sub-002*") if path.is_file()}
    assert names == {
        "sub-002/anat/sub-002_T1w.nii.gz",
        "sub-002/anat/sub-002_T1w.json",
        "derivatives/ground-truth/sub-002/anat/sub-002_desc-atrophy_mask.nii.gz",
        "derivatives/ground-truth/sub-002/anat/sub-002_desc-atrophy_mask.json",
    }
    assert list(cohort.inputs()) == [root / "participants.tsv"]


def test_same_parameters_same_bytes_with_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    write_cohort(SMALL, 4, tmp_path / "four")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    time.sleep(1.1)  # a time stamp in a compressed file counts whole seconds
    write_cohort(SMALL, 4, tmp_path / "one")
    assert hashes(tmp_path / "four") == hashes(tmp_path / "one")


def test_a_person_does_not_change_when_the_cohort_grows(tmp_path: Path) -> None:
    write_cohort(SMALL, 2, tmp_path / "two")
    write_cohort(SMALL, 3, tmp_path / "three")
    two, three = hashes(tmp_path / "two"), hashes(tmp_path / "three")
    people = [name for name in two if "sub-" in name]
    assert len(people) == 8
    assert {name: two[name] for name in people} == {name: three[name] for name in people}


def test_another_seed_gives_other_images(tmp_path: Path) -> None:
    write_cohort(SMALL, 2, tmp_path / "zero")
    write_cohort(Cohort(("CN", "AD"), 8.0, 1.0, "none", 1), 2, tmp_path / "one")
    name = "sub-001/anat/sub-001_T1w.nii.gz"
    assert hashes(tmp_path / "zero")[name] != hashes(tmp_path / "one")[name]


def test_without_severity_nothing_is_changed(tmp_path: Path) -> None:
    dataset = SimulatedAtrophy(folder=str(tmp_path), subjects=4, resolution=8, severity=0)
    assert all(int(subject["ground_truth"].data.sum()) == 0 for subject in dataset.subjects())


@pytest.mark.parametrize(
    "params",
    [
        {"subjects": 5}, {"groups": ["CN", "MCI"]}, {"resolution": 3}, {"severity": 0.5}, {"confounding": "age"},
        {"seed": 1}, {"shape_variation": 0.5},
    ],
)  # fmt: skip
def test_other_images_have_another_folder(params: dict[str, Any]) -> None:
    assert SimulatedAtrophy(**params).cohort_folder != SimulatedAtrophy().cohort_folder


def test_a_later_parameter_leaves_earlier_cohorts_alone(tmp_path: Path) -> None:
    # Folder and bytes as they were before the parameter was there.
    assert SimulatedAtrophy().cohort_folder.name == "CN-AD-120x4mm-047db0f067"
    for variation, told in ((1.0, False), (0.5, True)):
        write_cohort(replace(SMALL, shape_variation=variation), 1, tmp_path / str(variation))
        description = (tmp_path / str(variation) / "dataset_description.json").read_text(encoding="utf-8")
        assert ("shape_variation" in description) == told


def test_brains_that_differ_less_are_more_alike() -> None:
    def spread(variation: float) -> float:
        cohort, grid = Cohort(("CN", "AD"), 8.0, 0.0, "none", 0, variation), image_grid(8.0)
        brains = [tissue(draw_person(cohort, number), grid).t1 for number in range(3)]
        return float(np.std(brains, axis=0).mean())

    assert spread(0.15) < 0.5 * spread(1.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    whole = _simulation_cohort._write_person

    def interrupted(cohort: Cohort, index: int, *rest: Any) -> Any:
        if index == 2:
            raise error
        return whole(cohort, index, *rest)

    monkeypatch.setattr(_simulation_cohort, "_write_person", interrupted)
    with pytest.raises(type(error)):
        write_cohort(SMALL, 3, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_does_not_matter_and_is_cleared_away(tmp_path: Path) -> None:
    for name, age in ((".cohort.old", 7200), (".cohort.new", 60)):
        draft = tmp_path / name
        (draft / "sub-001").mkdir(parents=True)
        os.utime(draft, (time.time() - age,) * 2)
    write_cohort(SMALL, 2, tmp_path / "cohort")
    # The younger one may belong to a writer that is still at work.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cohort.new", "cohort"]
    assert (tmp_path / "cohort" / "participants.tsv").is_file()


def test_two_writers_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write_cohort, SMALL, 3, tmp_path / "cohort") for _ in range(2)]:
            done.result()
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    write_cohort(SMALL, 3, tmp_path / "alone")
    assert hashes(tmp_path / "cohort") == hashes(tmp_path / "alone")


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    dataset = SimulatedAtrophy(folder=str(tmp_path / "file" / "below"), subjects=2)
    with pytest.raises(InputError, match=r"cannot be written to .*below.*'folder'"):
        dataset.subjects()


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_cohort(SMALL, 2, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []
