"""What makes an image's header unusable: lies about scaling, two positions in one file, a sheared grid.

Each function returns one sentence or two about a file that the caller names ("<name>: the image <path> " comes before
it), or None. A network sees what ITK reads (through TorchIO), a viewer shows what nibabel or its own reader makes of
the same header; where those differ a relevance map would lie beside the anatomy, or the intensities would be others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torchio as tio

__all__ = ["ANALYZE", "affine_problem", "grid_problem", "header_problem", "position_problem", "shear"]

ANALYZE = "is an Analyze file, which does not say where left is. Convert it to NIfTI, and check left and right."

_CODES = range(6)  # of NIfTI's sform_code and qform_code (nifti1.h, and 5 from NIfTI-2)
_MILLIMETRE, _UNKNOWN = 2, 0  # NIFTI_UNITS_* in the lowest three bits of xyzt_units
_UNITS = {1: "metres", 3: "micrometres"}
_PIXDIM_TOLERANCE = 0.01  # of the spacing: rounding of a few digits, not another spacing
_SHEAR_TOLERANCE = 0.1  # degrees; over 200 mm 0.35 mm
_EXCESS = 0.01  # of the voxels' bytes that may follow them, beside a block of padding
_BLOCK = 4096


def header_problem(image: Any, path: Path, size: int | None) -> str | None:
    """Return what a NIfTI header claims that cannot be so.

    Args:
        image: As nibabel loaded it, with any header.
        path: Its file, read again because nibabel repairs a header while loading it.
        size: Bytes of the file without compression; None where voxels lie in a file of their own.
    """
    if not isinstance(image, nib.Nifti1Pair):
        if not isinstance(image, nib.AnalyzeImage):
            return None
        return ANALYZE
    raw = _raw_header(image, path)
    return _scaling(raw) or _codes(raw) or _units(raw) or _pixdim(raw, image) or _length(image, size)


def _raw_header(image: Any, path: Path) -> Any:
    """Return the header as it stands in the file: nibabel's own loading replaces values that make no sense."""
    file = Path(image.file_map["header"].filename) if "header" in image.file_map else path
    with nib.openers.ImageOpener(str(file)) as stream:
        return type(image).header_class.from_fileobj(stream, check=False)


def _scaling(raw: Any) -> str | None:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        return (
            f"has a scaling that is no number (scl_slope {slope}, scl_inter {intercept}): its intensities are not "
            "known. Convert it again from its source."
        )
    if slope == 0 and intercept != 0:
        return (
            f"has scl_slope 0 beside scl_inter {intercept:g}: some readers add it, others do not. Set both to 0 where "
            "the stored numbers are the intensities."
        )
    return None


def _codes(raw: Any) -> str | None:
    for field in ("sform_code", "qform_code"):
        code = int(raw[field])
        if code not in _CODES:
            return f"has the {field} {code}, which NIfTI does not know (0 to 5): readers ignore that affine. Repair it."
    return None


def _units(raw: Any) -> str | None:
    unit = int(raw["xyzt_units"]) & 7
    if unit in (_MILLIMETRE, _UNKNOWN):
        return None
    return (
        f"gives its lengths in {_UNITS.get(unit, f'an unknown unit ({unit})')}: some readers convert them, others take "
        "them for mm. Convert spacing and affine to mm."
    )


def _pixdim(raw: Any, image: Any) -> str | None:
    """The sform says by itself how large a voxel is; ITK takes the size from pixdim all the same."""
    if int(raw["sform_code"]) == 0 and int(raw["qform_code"]) == 0:
        return None  # pixdim is all there is
    stored = np.asarray(raw["pixdim"][1:4], dtype=float)
    spacing = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    if not (np.isfinite(spacing).all() and spacing.all()):
        return None  # the affine itself is wrong
    if np.allclose(stored, spacing, rtol=_PIXDIM_TOLERANCE, atol=0):
        return None
    return (
        f"has voxels of {_mm(stored)} mm by its pixdim and of {_mm(spacing)} mm by its affine. Find out which is right "
        "and write it to both (nibabel: image.header.set_zooms, image.set_sform)."
    )


def _mm(spacing: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)


def _length(image: Any, size: int | None) -> str | None:
    if size is None:
        return None
    offset, voxels = int(image.dataobj.offset), int(np.prod(image.shape)) * image.header.get_data_dtype().itemsize
    rest = size - offset - voxels
    if rest <= max(_BLOCK, _EXCESS * voxels):
        return None
    sizes = " x ".join(map(str, image.shape))
    return (
        f"holds {voxels + rest} bytes of voxels, but {sizes} of {image.header.get_data_dtype()} are {voxels}: size or "
        "data type in its header is wrong. Convert it again from its source."
    )


def affine_problem(affine: Any) -> str | None:
    """Return what is wrong with a voxel to world matrix (4 x 4)."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return "has no usable affine (voxel to world matrix). Repair its header."
    angle = shear(affine)
    if angle > _SHEAR_TOLERANCE:
        return (
            f"has a sheared grid: its axes are {90 - angle:.1f} degrees apart in place of 90. The brain would be "
            "sheared for the network. Resample it: nibabel.processing.resample_to_output(image)."
        )
    return None


def shear(affine: Any) -> float:
    """Return by how many degrees the axes of a grid miss being perpendicular, at most."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(axes.T @ axes - np.eye(3))
    return float(np.degrees(np.arcsin(np.clip(cosines, 0, 1))).max())


def position_problem(path: Path, shape: tuple[int, ...], affine: Any) -> str | None:
    """Refuse a header that readers understand differently.

    TorchIO reads through ITK, which prefers the qform, where nibabel and viewers take the sform; and with neither the
    guesses differ. The network would see the brain at one place and a viewer show the scan and its map at another.
    """
    other = np.asarray(tio.ScalarImage(path).affine)
    distance = _distance(shape, other, affine)
    if distance <= 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min():
        return None
    return (
        f"has no clear position: its header can be read as two places up to {distance:.1f} mm apart (its sform "
        "and qform differ, or it has none). Check left and right, and save it with one affine: nibabel.save("
        "nibabel.Nifti1Image(image.get_fdata(), image.affine), 'new.nii.gz')."
    )


def grid_problem(shape: tuple[int, ...], affine: Any, image_shape: tuple[int, ...], image_affine: Any) -> str | None:
    """Return how the grid of a mask or a channel differs from its image's."""
    if shape != image_shape:
        sizes = (" x ".join(map(str, sides)) for sides in (shape, image_shape))
        return "has {} voxels, its image {}. Resample it onto the image's grid.".format(*sizes)
    distance = _distance(shape, affine, image_affine)
    if distance <= 0.1 * np.linalg.norm(image_affine[:3, :3], axis=0).min():
        return None
    return f"lies up to {distance:.1f} mm beside its image. Resample it onto the image's grid."


def _distance(shape: tuple[int, ...], one: Any, other: Any) -> float:
    """Return how far apart two affines put a corner of a grid, in mm."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
