"""Relevance by region of many maps: time and memory, and nilearn's NiftiLabelsMasker for each map.

Run it as ``python benchmarks/regions.py [--maps 1000] [--spacing 1] [--threads 2] [--theirs 10] [--folder DIR]``. It
writes a run of so many people, each with a scan and a relevance map of 182 x 218 x 182 voxels at 1 mm (.nii.gz, values
within the brain, as after a mask, or everywhere with ``--everywhere``), and measures them in an atlas of 100 regions.
A few files stand for all: each is written once and linked, and reading one again is as slow as the first time but for
the disk. Goal: 1,000 maps in under 5 minutes on two cores and under 2 GB. The scans are read, too: whether the head
lies over the atlas is part of the work; ``--no-scans`` leaves it out, as nilearn does.

The ratio is time for a map of nilearn's masker (sums alone; fitted once, then one map after the other in one process)
to time for a map here (all measures, in ``--threads`` threads). Sums of both are compared. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from nilearn.datasets import load_mni152_brain_mask
from nilearn.image import resample_to_img
from nilearn.maskers import NiftiLabelsMasker

from xai_analyses_atlas._atlases import load_atlas
from xai_analyses_atlas._relevance import region_table
from xai_core.engine.results import RunResults

_DIFFERENT = 4


def main() -> None:
    """Time both and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--spacing", type=float, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--theirs", type=int, default=10, help="maps that nilearn measures")
    parser.add_argument("--everywhere", action="store_true", help="relevance also outside of the brain")
    parser.add_argument("--no-scans", action="store_true", help="do not look where the head lies")
    parser.add_argument("--folder", type=Path, help="where the run is written; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        run, atlas_file = written(folder, options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        start = time.perf_counter()
        table = region_table(run, load_atlas(atlas_file), threads=options.threads)
        ours = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{options.maps} maps, {options.threads} threads: {ours:.1f} s, {1e3 * ours / options.maps:.0f} ms a map")
        print(f"memory: {peak:.2f} GB at most ({before:.2f} GB before)")
        records = run.maps()[: options.theirs]
        masker = NiftiLabelsMasker(atlas_file, strategy="sum", standardize=None).fit()
        start = time.perf_counter()
        theirs = [masker.transform(record.path).ravel() for record in records]
        each = (time.perf_counter() - start) / len(records)
        print(f"NiftiLabelsMasker: {1e3 * each:.0f} ms a map, {each / (ours / options.maps):.1f} times ours")
        sums = table.set_index("scan_id")
        inside = [sums.loc[record.scan_id].query("index != 0") for record in records]
        worst = max(
            float((np.abs(mine["sum"].to_numpy() - other) / mine["absolute"].to_numpy()).max())
            for mine, other in zip(inside, theirs, strict=True)
        )
        print(f"largest difference of a sum: {worst:.1e} of the region's absolute relevance")


def written(folder: Path, options: argparse.Namespace) -> tuple[RunResults, Path]:
    """Write the run and the atlas."""
    affine = np.diag([-options.spacing, options.spacing, options.spacing, 1.0])
    affine[:3, 3] = (90, -126, -72)
    shape = tuple(round(size / options.spacing) for size in (182, 218, 182))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        like = nib.Nifti1Image(np.zeros(shape, np.int8), affine)
        mask = resample_to_img(load_mni152_brain_mask(resolution=1), like, interpolation="nearest")
    brain = np.asarray(mask.dataobj) > 0
    atlas = _atlas(brain, affine, folder)
    files = [_files(folder, number, brain, affine, everywhere=options.everywhere) for number in range(_DIFFERENT)]
    run = folder / "run"
    run.mkdir(parents=True)
    config = {"version": 1, "name": "regions", "explainers": [{"id": "lrp", "name": "lrp", "params": {}}]}
    (run / "pipeline.resolved.yaml").write_text(yaml.safe_dump(config))
    (run / "run.json").write_text(json.dumps({"task": "regression", "classes": None}))
    subjects, predictions, splits = ["scan_id\tsubject_id\ttarget\timage"], [], ["fold\tpart\tsubject_id"]
    predictions.append("fold\tscan_id\tsubject_id\ttarget\tprediction")
    for person in range(options.maps):
        scan, (image, relevance) = f"sub-{person:05d}", files[person % _DIFFERENT]
        anat = run / "derivatives" / scan / "anat"
        anat.mkdir(parents=True)
        os.link(relevance, anat / f"{scan}_desc-lrp_relevance.nii.gz")
        sidecar = {"scan_id": scan, "subject_id": scan, "explainer_id": "lrp", "fold": 0}
        (anat / f"{scan}_desc-lrp_relevance.json").write_text(json.dumps(sidecar))
        subjects.append(f"{scan}\t{scan}\t50\t{'n/a' if options.no_scans else image}")
        predictions.append(f"0\t{scan}\t{scan}\t50\t51")
        splits.append(f"0\ttest\t{scan}")
    for name, lines in (("subjects", subjects), ("predictions", predictions), ("splits", splits)):
        (run / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return RunResults(run), atlas


def _atlas(brain: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
    """Cut the brain into 100 regions of about one size: those nearest to 100 of its voxels."""
    from scipy.spatial import cKDTree

    voxels = np.argwhere(brain)
    seeds = voxels[np.random.default_rng(0).choice(len(voxels), 100, replace=False)]
    labels = np.zeros(brain.shape, np.uint8)
    labels[tuple(voxels.T)] = 1 + cKDTree(seeds).query(voxels)[1]
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    (folder / "atlas.tsv").write_text("index\tname\n" + "".join(f"{i}\tregion {i}\n" for i in range(1, 101)))
    return folder / "atlas.nii.gz"


def _files(folder: Path, number: int, brain: np.ndarray, affine: np.ndarray, *, everywhere: bool) -> tuple[Path, Path]:
    generator = np.random.default_rng(number)
    relevance = generator.normal(size=brain.shape).astype(np.float32)
    if not everywhere:
        relevance[~brain] = 0
    scan = np.where(brain, generator.normal(600, 100, brain.shape), 0).astype(np.int16)
    paths = folder / f"scan-{number}.nii.gz", folder / f"map-{number}.nii.gz"
    for path, data in zip(paths, (scan, relevance), strict=True):
        nib.save(nib.Nifti1Image(data, affine), path)
    return paths


if __name__ == "__main__":
    main()
