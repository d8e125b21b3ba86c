"""The true tissue of the built-in cohort: maps and volumes that agree with each other, and change nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_datasets_mri._simulation_cohort import write_cohort
from xai_datasets_mri._simulation_image import image_grid, tissue
from xai_datasets_mri._simulation_person import Cohort, draw_person
from xai_datasets_mri._simulation_volumes import STRUCTURES
from xai_datasets_mri.simulated import SimulatedAtrophy

SMALL = Cohort(("CN", "AD"), 8.0, 1.0, "none", 0)
MAPS = ("map_grey_matter", "map_white_matter", "map_csf", "map_ventricles")


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> SimulatedAtrophy:
    folder = str(tmp_path_factory.mktemp("cohorts"))
    dataset = SimulatedAtrophy(folder=folder, subjects=4, tissue_maps=True)
    dataset.subjects()
    return dataset


@pytest.fixture
def volumes(cohort: SimulatedAtrophy) -> pd.DataFrame:
    return pd.read_csv(cohort.cohort_folder / "derivatives/tissue/volumes.tsv", sep="\t", index_col="participant_id")


def test_maps_are_off_by_default_and_change_nothing_else(tmp_path: Path) -> None:
    write_cohort(SMALL, 2, tmp_path / "without")
    write_cohort(SMALL, 2, tmp_path / "with", tissue_maps=True)
    without, with_maps = hashes(tmp_path / "without"), hashes(tmp_path / "with")
    assert not any("tissue" in name for name in without)
    assert {name: digest for name, digest in with_maps.items() if "derivatives/tissue" not in name} == without
    assert SimulatedAtrophy(tissue_maps=True).cohort_folder != SimulatedAtrophy().cohort_folder
    assert SimulatedAtrophy().cohort_folder.name == "CN-AD-120x4mm-047db0f067"  # as it was before there were maps


def test_same_bytes_with_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    write_cohort(SMALL, 3, tmp_path / "four", tissue_maps=True)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    time.sleep(1.1)  # a time stamp in a compressed file counts whole seconds
    write_cohort(SMALL, 3, tmp_path / "one", tissue_maps=True)
    assert hashes(tmp_path / "four") == hashes(tmp_path / "one")


def test_people_carry_their_maps_on_the_grid_of_the_scan(cohort: SimulatedAtrophy) -> None:
    for subject in cohort.subjects():
        grey, white, csf, ventricles = (subject[name].data[0].numpy() for name in MAPS)
        assert np.array_equal(subject["map_csf"].affine, subject["image"].affine)
        brain = subject["image"].data[0].numpy() > 0
        assert np.abs((grey + white + csf)[brain] - 1).mean() < 0.15  # the outermost voxels hold less than a brain
        assert (ventricles <= csf + 0.05).all()
        assert min(part.min() for part in (grey, white, csf)) == 0
        assert max(part.max() for part in (grey, white, csf)) <= 1 + 1e-6


def test_volumes_are_the_sums_of_the_maps(cohort: SimulatedAtrophy, volumes: pd.DataFrame) -> None:
    for subject in cohort.subjects():
        row = volumes.loc[f"sub-{subject['subject_id']}"]
        for name in ("grey_matter", "white_matter", "csf"):
            assert 64 * float(subject[f"map_{name}"].data.sum()) == pytest.approx(row[name], rel=0.01)
        both = row["Left-Lateral-Ventricle"] + row["Right-Lateral-Ventricle"]
        assert 64 * float(subject["map_ventricles"].data.sum()) == pytest.approx(both, rel=0.01)
        assert row["grey_matter"] + row["white_matter"] + row["csf"] == pytest.approx(row["brain"], rel=1e-6)
        assert 1.0e6 < row["brain"] < 2.4e6  # mm^3; the template's brain mask holds 1.9e6


def test_disease_shrinks_the_diseased_structures_only() -> None:
    # Each axis is 35 % shorter at severity 1, so that about half of a volume is left at 0.6.
    cohort, grid = Cohort(("AD",), 4.0, 1.0, "none", 0, 0.15), image_grid(4.0)
    person = replace(draw_person(cohort, 0), severity=0.6, sides=(0.6, 0.0))
    ill, well = tissue(person, grid).volumes, tissue(replace(person, severity=0.0, sides=(0.0, 0.0)), grid).volumes
    shares = {name: ill[name] / well[name] for name in STRUCTURES}
    for name in ("Left-Hippocampus", "Left-Amygdala", "ctx-lh-entorhinal"):
        assert 0.4 < shares[name] < 0.75, name
    for name in ("Right-Hippocampus", "Right-Amygdala", "ctx-rh-entorhinal"):
        assert shares[name] == 1, name
    for name in ("Left-Lateral-Ventricle", "Right-Lateral-Ventricle"):
        assert shares[name] == pytest.approx(1, abs=0.02), name


def test_structures_are_about_as_large_on_both_sides_and_ventricles_grow_with_age() -> None:
    cohort, grid = Cohort(("CN",), 4.0, 0.0, "none", 0, 0.0), image_grid(4.0)
    young = replace(draw_person(cohort, 0), ventricle_widening=10.0, sulcus_widening=1.0)
    old = replace(young, ventricle_widening=50.0, sulcus_widening=8.0)
    first, second = tissue(young, grid).volumes, tissue(old, grid).volumes
    for left, right in zip(STRUCTURES[::2], STRUCTURES[1::2], strict=True):
        assert first[left] == pytest.approx(first[right], rel=0.12), left
    assert second["Left-Lateral-Ventricle"] > 1.1 * first["Left-Lateral-Ventricle"]
    assert second["Right-Lateral-Ventricle"] > 1.1 * first["Right-Lateral-Ventricle"]


def test_layout_is_a_bids_derivative(cohort: SimulatedAtrophy, volumes: pd.DataFrame) -> None:
    root = cohort.cohort_folder / "derivatives" / "tissue"
    description = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    assert description["DatasetType"] == "derivative"
    names = sorted(path.name for path in (root / "sub-002" / "anat").iterdir())
    assert names == [f"sub-002_label-{label}_probseg.nii.gz" for label in ("CSF", "GM", "LV", "WM")]
    about = json.loads((root / "volumes.json").read_text(encoding="utf-8"))
    assert list(about) == list(volumes.columns)
    assert all(entry["Units"] == "mm^3" for entry in about.values())
    image = nib.load(root / "sub-002" / "anat" / "sub-002_label-GM_probseg.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert image.dataobj.slope == pytest.approx(1 / 255)
