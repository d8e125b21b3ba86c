"""Writes what the simulation knows of a person's tissue: maps and volumes, as a BIDS derivative."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ._files import ImageFiles
from ._simulation_image import Grid, Tissue
from ._simulation_volumes import STRUCTURES

__all__ = ["DERIVATIVE", "TISSUE_README", "tissue_files", "tissue_volumes", "write_tissue_maps", "write_volumes"]

DERIVATIVE = "tissue"

TISSUE_README = """\
What the simulation knows of the tissue of each person, and a real study would have to measure.

label-<GM, WM, CSF, LV>_probseg: the fraction of each voxel that is grey matter, white matter, cerebrospinal fluid (with
the ventricles) or lateral ventricle, with age and disease. volumes.tsv: volumes of tissues and structures in mm^3.
The hippocampus, the amygdala and the entorhinal cortex are the ellipsoids that the simulated disease contracts; they
hold some white matter and fluid, so that they are larger than in a segmentation of a real scan.
"""

# Name of the map in a study, its BIDS label, the field of ``Tissue``.
_MAPS = (
    ("grey_matter", "GM", "grey"),
    ("white_matter", "WM", "white"),
    ("csf", "CSF", "fluid"),
    ("ventricles", "LV", "ventricles"),
)


def tissue_files(root: Path) -> dict[str, ImageFiles]:
    """Return where a cohort's maps are, by the keys (``map_<name>``) that its people have them under."""
    return {
        f"map_{name}": ImageFiles(
            f"maps.{name}", root=root, derivative=DERIVATIVE, suffix="probseg", entities={"label": (label,)}
        )
        for name, label, _ in _MAPS
    }


def write_tissue_maps(folder: Path, identifier: str, anatomy: Tissue, grid: Grid) -> None:
    """Write a person's maps, fractions in steps of 1/255."""
    folder.mkdir(parents=True)
    for _, label, field in _MAPS:
        _fractions(folder / f"{identifier}_label-{label}_probseg.nii.gz", getattr(anatomy, field), grid)


def _fractions(path: Path, values: npt.NDArray[Any], grid: Grid) -> None:
    steps = np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    image = nib.Nifti1Image(steps, grid.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(grid.affine, code="scanner")
    image.set_sform(grid.affine, code="scanner")
    image.header.set_slope_inter(1 / 255, 0)
    nib.save(image, path)


def tissue_volumes(anatomy: Tissue, grid: Grid) -> dict[str, float]:
    """Return a person's volumes in mm^3: of the brain, its tissues and structures."""
    cubic = grid.spacing**3
    fields = {"brain": anatomy.mask, **{name: getattr(anatomy, field) for name, _, field in _MAPS[:3]}}
    volumes = {name: cubic * float(values.sum()) for name, values in fields.items()}
    return {name: round(value, 1) for name, value in {**volumes, **anatomy.volumes}.items()}


def write_volumes(root: Path, people: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Write volumes.tsv and the description of its columns."""
    tissues = {
        "brain": "Brain, with fluid.",
        "grey_matter": "Grey matter.",
        "white_matter": "White matter.",
        "csf": "Cerebrospinal fluid, with the ventricles.",
    }
    about = {**tissues, **{name: f"{name} (FreeSurfer's name)." for name in STRUCTURES}}
    lines = ["\t".join(["participant_id", *about])]
    lines += ["\t".join([identifier, *(str(volumes[name]) for name in about)]) for identifier, volumes in people]
    (root / "volumes.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = {name: {"Description": text, "Units": "mm^3"} for name, text in about.items()}
    (root / "volumes.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
