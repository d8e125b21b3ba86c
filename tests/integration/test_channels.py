"""A study of two channels, a mask and maps of lesions, from a BIDS folder to maps and a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core import Pipeline, registry
from xai_core.engine.results import RunResults

Xai = Callable[..., Any]

PIPELINE = """version: 1
name: channels
seed: 1
device: cpu
data:
  name: participants
  params:
    bids: study
    target: TARGET
    channels: {t1w: {}, flair: {suffix: FLAIR}}
    mask: {derivative: prep}
    maps: {lesions: {derivative: lst, suffix: mask}}
    missing_image: drop
  transforms: [{name: to-canonical}, {name: z-normalization}]
split: {name: holdout, params: {test: 0.34, validation: 0.2}}
model: {name: resnet3d, params: {depth: 10, width: 4}}
training: {name: lightning, params: {epochs: 1, batch_size: 4, bootstrap: 100}}
explainers: [{name: lrp}]
reports: [{name: html}]
"""
SHAPE = (12, 14, 10)


def save(path: Path, data: Any, *, step: float = 4.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-step, step, step, 1.0])
    affine[:3, 3] = (30, -40, -30)
    nib.save(nib.Nifti1Image(data, affine), path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Eighteen people of three classes; one has no FLAIR; lesions lie on a grid of their own, and not all have them."""
    root, generator = tmp_path / "study", np.random.default_rng(0)
    rows = ["participant_id\tdiagnosis\tage"]
    for n in range(18):
        name = f"sub-{n:02d}"
        for suffix in ("T1w", "FLAIR"):
            if (n, suffix) != (17, "FLAIR"):
                data = generator.normal(100, 20, SHAPE) + (n % 3) * 40 * (suffix == "FLAIR")
                save(root / name / "anat" / f"{name}_{suffix}.nii.gz", data.astype(np.float32))
        at = root / "derivatives"
        save(at / "prep" / name / "anat" / f"{name}_mask.nii.gz", np.ones(SHAPE, np.uint8))
        if n % 2:
            lesions = np.ones((5, 5, 5), np.uint8)
            save(at / "lst" / name / "anat" / f"{name}_label-lesion_mask.nii.gz", lesions, step=9)
        rows.append(f"{name}\t{('CN', 'MCI', 'AD')[n % 3]}\t{60 + n}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(study: Path, xai: Xai, target: str) -> RunResults:
    (study / "p.yaml").write_text(PIPELINE.replace("TARGET", target))
    done = xai("run", study / "p.yaml", "--output", study / "out")
    assert done.code == 0, done.err
    return RunResults(study / "out" / "channels")


def test_three_classes(study: Path, xai: Xai) -> None:
    results = run(study, xai, "diagnosis")
    assert results.classes == ("CN", "AD", "MCI")
    assert results.channels == ("t1w", "flair")
    table = results.subjects()
    assert len(table) == 17
    first, second = (table.iloc[n] for n in (0, 1))
    assert first["image"] == first["image_t1w"] == str(study / "study/sub-00/anat/sub-00_T1w.nii.gz")
    assert first["image_flair"].endswith("sub-00_FLAIR.nii.gz")
    assert first["mask"].endswith("prep/sub-00/anat/sub-00_mask.nii.gz")
    assert second["map_lesions"].endswith("sub-01_label-lesion_mask.nii.gz")
    assert table["map_lesions"].notna().sum() == 8
    left = (results.folder / "left-out.tsv").read_text().splitlines()
    assert left == ["subject_id\tsession_id\treason", "17\tn/a\tno FLAIR image (anat)"]

    records = results.maps("lrp")
    assert len(records) == len(results.predictions())
    for record in records:
        relevance = np.asanyarray(nib.load(record.path).dataobj)
        assert relevance.shape == (*SHAPE, 2)
        assert np.allclose(nib.load(record.path).affine, nib.load(record.image).affine)
        about = record.sidecar
        assert about["channels"] == [f"{record.scan_id}_T1w.nii.gz", f"{record.scan_id}_FLAIR.nii.gz"]
        # Reorientation keeps every value, so the two channels of the map sum up as they did in the network.
        assert np.allclose(relevance.sum((0, 1, 2), dtype=float), about["sum_of_relevance_by_channel"], atol=1e-5)
        assert about["sum_of_relevance"] == pytest.approx(sum(about["sum_of_relevance_by_channel"]), abs=1e-5)
    assert (results.folder / "report" / "index.html").stat().st_size > 10_000

    before = [record.path.read_bytes() for record in records]
    again = xai("run", study / "p.yaml", "--output", study / "out")
    assert "training is done already" in again.err
    assert [record.path.read_bytes() for record in results.maps("lrp")] == before


def test_the_channels_of_a_regression_decide_it_and_are_part_of_the_keys(study: Path, xai: Xai) -> None:
    results = run(study, xai, "age")
    assert results.task == "regression"
    row = results.predictions().iloc[0]
    person = row["scan_id"]
    files = [study / "study" / person / "anat" / f"{person}_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR")]

    def predicted(*paths: Path) -> float:
        done = xai("predict", results.folder, "--json", "--image", ",".join(map(str, paths)))
        assert done.code == 0, done.err
        return float(json.loads(done.out)[0]["prediction"])

    assert predicted(*files) == pytest.approx(row["prediction"], rel=1e-5)
    assert predicted(*reversed(files)) != pytest.approx(row["prediction"], rel=1e-5)
    alone = xai("predict", results.folder, "--image", files[0])
    assert alone.code == 2
    assert "the network was trained on 2 (t1w, flair)" in alone.err

    data = np.asanyarray(nib.load(files[1]).dataobj) + 1
    save(files[1], data * np.linspace(1, 2, SHAPE[0])[:, None, None].astype(np.float32))
    assert run(study, xai, "age").predictions().iloc[0]["prediction"] != row["prediction"]


def test_two_modalities_vote(study: Path, xai: Xai) -> None:
    data = np.random.default_rng(5).normal(100, 20, SHAPE).astype(np.float32)
    save(study / "study/sub-17/anat/sub-17_FLAIR.nii.gz", data)
    both = "{t1w: {}, flair: {suffix: FLAIR}}"
    for name, channels in (("t1w", "{t1w: {}}"), ("flair", "{flair: {suffix: FLAIR}}")):
        text = (
            PIPELINE.replace("TARGET", "diagnosis").replace(both, channels).replace("name: channels", f"name: {name}")
        )
        (study / f"{name}.yaml").write_text(text)
        done = xai("run", study / f"{name}.yaml", "--output", study / "out")
        assert done.code == 0, done.err
    done = xai("ensemble", study / "out/t1w", study / "out/flair", "--output", study / "out/joined")
    assert done.code == 0, done.err
    members = [RunResults(study / "out" / name).predictions().set_index("scan_id") for name in ("t1w", "flair")]
    joined = RunResults(study / "out/joined")
    votes = joined.predictions().set_index("scan_id")
    columns = [f"probability_{name}" for name in ("CN", "AD", "MCI")]
    expected = (members[0][columns] + members[1].loc[members[0].index, columns]) / 2
    np.testing.assert_allclose(votes.loc[expected.index, columns], expected, atol=1e-9)
    record = joined.maps("lrp")[0]
    found = np.asanyarray(nib.load(record.path).dataobj)
    target = record.sidecar["target_name"]
    each = []
    for name in ("t1w", "flair"):
        suffix = "T1w" if name == "t1w" else "FLAIR"
        image = study / "study" / record.scan_id / "anat" / f"{record.scan_id}_{suffix}.nii.gz"
        explained = Pipeline.from_folder(study / "out" / name).explain(image, target=target)["lrp"]
        each.append(np.asanyarray(explained.image.dataobj))
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-5 * np.abs(each).max())


def test_channels_of_two_grids_are_told_before_anything_long_starts(study: Path, xai: Xai) -> None:
    for n in (2, 3):
        flair = study / "study" / f"sub-0{n}" / "anat" / f"sub-0{n}_FLAIR.nii.gz"
        save(flair, np.random.default_rng(n).normal(size=(12, 14, 11)).astype(np.float32))
    (study / "p.yaml").write_text(PIPELINE.replace("TARGET", "diagnosis"))
    done = xai("run", study / "p.yaml", "--output", study / "out")
    assert done.code == 2
    for n in (2, 3):
        assert f"sub-0{n}_FLAIR.nii.gz is a channel beside sub-0{n}_T1w.nii.gz, but has 12 x 14 x 11 voxels" in done.err
    assert not (study / "out").exists()


def test_a_mask_of_another_grid_is_told_before_anything_long_starts(study: Path, xai: Xai) -> None:
    save(study / "study/derivatives/prep/sub-04/anat/sub-04_mask.nii.gz", np.ones((12, 14, 11), np.uint8))
    (study / "p.yaml").write_text(PIPELINE.replace("TARGET", "diagnosis"))
    done = xai("run", study / "p.yaml", "--output", study / "out")
    assert done.code == 2
    assert "sub-04: the mask " in done.err
    assert "12 x 14 x 11 voxels" in done.err


def test_nothing_is_read_while_the_study_is_listed(study: Path) -> None:
    channels = {"t1w": {"suffix": "T1w"}, "flair": {"suffix": "FLAIR"}}
    made = registry.create("dataset", "participants", bids=str(study / "study"), target="age", channels=channels,
                           missing_image="drop")  # fmt: skip
    subjects = made.subjects()
    assert {s["image"].shape for s in subjects} == {(2, *SHAPE)}
    assert not any(s["image"]._loaded for s in subjects)
