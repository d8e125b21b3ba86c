"""How long the report of many people takes to write, and how large it is; run by hand on a quiet machine.

    python benchmarks/report_people.py --people 1000
    SLURM_CPUS_PER_TASK=1 python benchmarks/report_people.py --people 1000
    python benchmarks/report_people.py --people 200 --processes 1 2 4

A synthetic run of people with one scan and two maps each (45 x 55 x 47 voxels of 4 mm, noise with a strong region; all
people share a few files, so that the disk is not what is measured). Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_reports_html import _artists

SHAPE = (45, 55, 47)
FILES = 8  # different scans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--processes", type=int, nargs="+", help="compare numbers of processes that draw, by CPU time")
    parser.add_argument("--output", type=Path, help="keep the run and its reports here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.output or Path(temporary)
        run = synthetic(root / "run", arguments.people)
        if arguments.processes:
            compare(run, root, arguments.processes)
            return
        for mode in ("single", "folder"):
            output = root / mode
            output.mkdir()
            start = time.perf_counter()
            page = create("report", "html", mode=mode).write(run, output)
            seconds = time.perf_counter() - start
            files = [path for path in output.rglob("*") if path.is_file()]
            whole = sum(path.stat().st_size for path in files) / 1e6
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            print(f"{mode}: {seconds:.1f} s, index.html {page.stat().st_size / 1e6:.2f} MB, "
                  f"{len(files)} files of {whole:.0f} MB, peak memory {peak:.0f} MB")  # fmt: skip


def compare(run: RunResults, root: Path, processes: Sequence[int]) -> None:
    """Write the folder with each number of processes; the pages must be the same bytes."""
    known: dict[str, bytes] | None = None
    for number in processes:
        _artists.cores = lambda number=number: number
        output = root / f"folder-{number}"
        output.mkdir()
        start, before = time.perf_counter(), _cpu()
        create("report", "html", mode="folder").write(run, output)
        seconds, (own, others) = time.perf_counter() - start, np.subtract(_cpu(), before)
        found = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        same = "" if known is None else f", same bytes: {found == known}"
        known = known or found
        print(f"{number} processes: {seconds:.1f} s, CPU {own:.1f} s here and {others:.1f} s in the others{same}")


def _cpu() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own, others = (one.ru_utime + one.ru_stime for one in usage)
    return own, others


def synthetic(folder: Path, people: int) -> RunResults:
    """Write the run folder."""
    generator = np.random.default_rng(0)
    affine = np.diag([-4.0, 4, 4, 1])
    affine[:3, 3] = (88, -124, -70)
    files = folder.parent / "files"
    files.mkdir(parents=True)
    grid = np.indices(SHAPE).reshape(3, -1).T - (np.array(SHAPE) - 1) / 2
    head = (((grid / (np.array(SHAPE) * 0.42)) ** 2).sum(1) < 1).reshape(SHAPE)
    for number in range(FILES):
        scan = (head * (500 + 80 * generator.standard_normal(SHAPE))).astype(np.int16)
        nib.save(nib.Nifti1Image(scan, affine), files / f"scan-{number}.nii.gz")
        for explainer in ("lrp", "gradcam"):
            relevance = head * generator.standard_normal(SHAPE) * 1e-4
            relevance[20:26, 20 + number : 28 + number, 15:20] += 5e-4
            nib.save(nib.Nifti1Image(relevance.astype(np.float32), affine), files / f"{explainer}-{number}.nii.gz")
    ids = [f"{number:05}" for number in range(people)]
    p = generator.beta(0.7, 0.7, people)
    target = np.where(generator.random(people) < p, "AD", "CN")
    said = np.where(p > 0.5, "AD", "CN")
    scans = [f"sub-{one}" for one in ids]
    subjects = pd.DataFrame({
        "scan_id": scans, "subject_id": ids, "session_id": "n/a", "site": generator.choice(["a", "b", "c"], people),
        "target": target, "image": [str(files / f"scan-{i % FILES}.nii.gz") for i in range(people)],
        "ground_truth": "n/a", "age": generator.integers(55, 90, people), "sex": generator.choice(["F", "M"], people),
    })  # fmt: skip
    predictions = pd.DataFrame({
        "fold": 0, "scan_id": scans, "subject_id": ids, "target": target, "prediction": said,
        "probability_CN": 1 - p, "probability_AD": p,
    })  # fmt: skip
    folder.mkdir()
    splits = pd.DataFrame({"fold": 0, "part": "test", "subject_id": ids})
    for name, table in (("subjects", subjects), ("predictions", predictions), ("splits", splits)):
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    for number, scan in enumerate(scans):
        anat = folder / "derivatives" / scan / "anat"
        anat.mkdir(parents=True)
        for explainer in ("lrp", "gradcam"):
            stem = f"{scan}_desc-{explainer}_relevance"
            (anat / f"{stem}.nii.gz").symlink_to(files / f"{explainer}-{number % FILES}.nii.gz")
            sidecar = {
                "scan_id": scan, "subject_id": ids[number], "session_id": None, "explainer_id": explainer,
                "explainer": explainer, "params": {}, "fold": 0, "target": 1, "target_name": str(said[number]),
                "output": 1.0, "sum_of_relevance": 1.0, "details": {}, "versions": {},
            }  # fmt: skip
            (anat / f"{stem}.json").write_text(json.dumps(sidecar), encoding="utf-8")
    config = (
        "version: 1\nname: many\ndata: {name: participants, params: {}}\nsplit: {name: holdout, params: {}}\n"
        "model: {name: resnet3d, params: {}}\ntraining: {name: lightning, params: {}}\n"
        "explainers: [{id: lrp, name: lrp, params: {}}, {id: gradcam, name: gradcam, params: {}}]\n"
    )
    (folder / "pipeline.resolved.yaml").write_text(config, encoding="utf-8")
    info = {"task": "classification", "classes": ["CN", "AD"], "versions": {}, "components": {}, "people": people}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return RunResults(folder)


if __name__ == "__main__":
    main()
