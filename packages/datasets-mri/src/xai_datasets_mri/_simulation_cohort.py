"""Writes a simulated cohort as a BIDS dataset with the ground truth as its derivative, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from xai_core.engine.progress import track
from xai_core.errors import InputError

from ._simulation_image import Grid, image_grid, scan, tissue
from ._simulation_maps import DERIVATIVE, TISSUE_README, tissue_volumes, write_tissue_maps, write_volumes
from ._simulation_person import SCANNERS, Cohort, Person, draw_person

__all__ = ["write_cohort"]

_BIDS = "1.10.0"
_ABANDONED = 3600.0  # seconds without a new person, after which a hidden folder belongs to a writer that was killed
_README = """\
Simulated T1-weighted scans of brains with and without atrophy of the medial temporal lobe.

Nobody was scanned. Every image is the ICBM152 2009a template (Fonov et al., NeuroImage 54, 2011; copyright
1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University), deformed
at random, aged, and passed through a model of a scanner. In the people with a disease the hippocampus, the amygdala
and the entorhinal cortex have contracted and fluid fills the space.

derivatives/ground-truth holds what a real study would not know: for each person the voxels that the disease changed
(desc-atrophy_mask: 1 where the image without noise differs by more than 5 % of white matter from the same person
without the disease; often empty in CN) and, in its participants.tsv, how severe the disease is.
"""
_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "age": {"Description": "Age of the simulated person.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated person.", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {
        "Description": "Simulated diagnosis.",
        "Levels": {"CN": "cognitively normal", "MCI": "mild cognitive impairment", "AD": "Alzheimer's disease"},
    },
    "site": {"Description": "Simulated scanner.", "Levels": {name: name for name in SCANNERS}},
}
_TRUTH: Mapping[str, Mapping[str, Any]] = {
    "severity": {
        "Description": "Severity of the disease: each axis of the diseased structures is shorter by this times 35 %.",
        "Units": "arbitrary",
    }
}


def write_cohort(cohort: Cohort, subjects: int, folder: Path, *, tissue_maps: bool = False) -> None:
    """Write people 1 to ``subjects`` as a BIDS dataset at ``folder``, which appears only when it is whole.

    The same arguments give the same bytes, in any number of threads or processes at once. With ``tissue_maps`` the
    derivative ``tissue`` holds everybody's true maps and volumes; nothing else changes.

    Raises:
        InputError: The folder cannot be written.
    """
    try:
        with _published(folder) as draft:
            _write(cohort, subjects, draft, tissue_maps=tissue_maps)
    except OSError as error:
        raise InputError(
            f"The simulated cohort cannot be written to {folder}: {error.strerror or error}. "
            "Give another place with the parameter 'folder', or make room there."
        ) from error


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``folder`` that takes its name at the end and is removed on any error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    for old in folder.parent.glob(f"{prefix}*"):
        if time.time() - old.stat().st_mtime > _ABANDONED:
            shutil.rmtree(old, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes it private; a cohort is shared like any other study
        draft.replace(folder)
    except OSError as error:
        # Another process may have published the same cohort meanwhile: its bytes are the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(cohort: Cohort, subjects: int, root: Path, *, tissue_maps: bool) -> None:
    truth = root / "derivatives" / "ground-truth"
    maps = root / "derivatives" / DERIVATIVE if tissue_maps else None
    grid = image_grid(cohort.resolution)
    made: list[tuple[Person, dict[str, float]]] = []
    # Threads suffice: interpolation, compression and writing run outside of Python's lock.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        futures = [pool.submit(_write_person, cohort, index, grid, root, truth, maps) for index in range(subjects)]
        try:
            made.extend(future.result() for future in track(futures, "Simulated people"))
        except BaseException:
            _cancel(futures)
            raise
    people = [person for person, _ in made]
    about = {"BIDSVersion": _BIDS, "Authors": ["xai-datasets-mri, simulated-atrophy"]}
    maker = [{"Name": "simulated-atrophy", "Description": json.dumps({**_told(cohort), "subjects": subjects})}]
    _json(
        root / "dataset_description.json",
        {"Name": "Simulated medial temporal atrophy", "DatasetType": "raw", **about, "GeneratedBy": maker},
    )
    _json(
        truth / "dataset_description.json",
        {"Name": "What the simulated disease changed", "DatasetType": "derivative", **about, "GeneratedBy": maker},
    )
    (root / "README").write_text(_README, encoding="utf-8")
    (truth / "README").write_text(_README, encoding="utf-8")
    _table(root, _COLUMNS, people)
    _table(truth, _TRUTH, people)
    if maps is not None:
        derived = {"Name": "Tissue of simulated people", "DatasetType": "derivative", **about, "GeneratedBy": maker}
        _json(maps / "dataset_description.json", derived)
        (maps / "README").write_text(TISSUE_README, encoding="utf-8")
        write_volumes(maps, [(person.identifier, volumes) for person, volumes in made])


def _told(cohort: Cohort) -> dict[str, Any]:
    """Return the parameters; one that came later only where it is used, so that earlier cohorts keep their bytes."""
    told = asdict(cohort)
    if cohort.shape_variation == 1:
        del told["shape_variation"]
    return told


def _cancel(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _write_person(
    cohort: Cohort, index: int, grid: Grid, root: Path, truth: Path, maps: Path | None
) -> tuple[Person, dict[str, float]]:
    """Write the files of one person; return who it is, and the volumes."""
    person = draw_person(cohort, index)
    anatomy = tissue(person, grid)
    name = Path(person.identifier, "anat")
    for folder in (root / name, truth / name):
        folder.mkdir(parents=True)
    _image(root / name / f"{person.identifier}_T1w.nii.gz", scan(person, anatomy, grid), grid)
    sidecar = {"Manufacturer": "simulated", "ManufacturersModelName": person.site, "SkullStripped": True}
    _json(root / name / f"{person.identifier}_T1w.json", sidecar)
    mask = truth / name / f"{person.identifier}_desc-atrophy_mask.nii.gz"
    _image(mask, anatomy.changed.astype(np.uint8), grid)
    source = f"bids:raw:{(name / f'{person.identifier}_T1w.nii.gz').as_posix()}"
    _json(mask.with_name(mask.name.replace(".nii.gz", ".json")), {"Type": "Lesion", "Sources": [source]})
    if maps is not None:
        write_tissue_maps(maps / name, person.identifier, anatomy, grid)
    return person, tissue_volumes(anatomy, grid)


def _image(path: Path, voxels: npt.NDArray[Any], grid: Grid) -> None:
    image = nib.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(grid.affine, code="scanner")
    image.set_sform(grid.affine, code="scanner")
    nib.save(image, path)  # writes the compressed stream without a time, so equal images are equal files


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _table(root: Path, columns: Mapping[str, Mapping[str, Any]], people: Sequence[Person]) -> None:
    """Write participants.tsv and the description of its columns, which are named like fields of a person."""
    lines = ["\t".join(["participant_id", *columns])]
    lines += ["\t".join([person.identifier, *(str(getattr(person, name)) for name in columns)]) for person in people]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _json(root / "participants.json", columns)
