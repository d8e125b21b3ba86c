"""Maps on disk, one row for each scan, and the rows of people that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xai_core import InputError

from .._grids import Grid, resampled_labels, same_grid
from .._groups import Scan
from .._maps import read_image
from .._mean import relevance_on
from .._stack import Stack, filled
from .normalise import Normalisation, divisor
from .samples import Sample

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["Maps", "brain_mask", "mask_on", "people_stack", "read_maps"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Maps:
    """The maps of one explainer.

    Attributes:
        stack: A row for each map, normalised.
        rows: The row of each scan and fold.
        records: The maps by scan and fold.
        unusable: Scans and folds whose map cannot be normalised, with the reason.
    """

    stack: Stack
    rows: Mapping[Scan, int]
    records: Mapping[Scan, MapRecord]
    unusable: Mapping[Scan, str]


def read_maps(
    records: Mapping[Scan, MapRecord],
    mask: Mask | None,
    grid: Grid,
    scratch: Path,
    *,
    normalise: Normalisation,
    resample: bool,
    mni: bool,
) -> Maps:
    """Read maps, one at a time, divide each by its own size, and keep the voxels of a mask on disk.

    Args:
        records: Maps by scan and fold.
        mask: On ``grid``; None: everywhere. A map is divided by its size in the whole volume, not only in the mask.
        grid: That all maps must lie on.
        scratch: See ``stack_maps``.
        normalise: See ``divisor``.
        resample: See ``stack_maps``.
        mni: See ``stack_maps``.

    Raises:
        InputError: See ``stack_maps``.
    """
    inside = np.ones(grid.shape, dtype=bool) if mask is None else mask
    unusable: dict[Scan, str] = {}

    def rows() -> Iterator[Array]:
        for scan, record in records.items():
            data, _ = relevance_on(record, grid, resample=resample, mni=mni)
            size, reason = divisor(data, record, normalise)
            if reason is not None:
                unusable[scan] = reason
            yield data[inside] / size

    stack = filled(rows(), len(records), inside, grid, scratch, tuple(records.values()))
    return Maps(stack, {scan: row for row, scan in enumerate(records)}, dict(records), unusable)


def people_stack(sample: Sample, plus: Maps, minus: Maps, scratch: Path) -> Stack:
    """Return one row for each person of a sample: the mean over its scans of the mean over the folds.

    Args:
        sample: Who takes part.
        plus: Maps that are added up.
        minus: Maps that are subtracted where people are compared with themselves.
        scratch: An existing folder.
    """

    def rows() -> Iterator[Array]:
        for added, taken in zip(sample.plus, sample.minus, strict=True):
            row = _mean(added, plus)
            yield row - _mean(taken, minus) if taken else row

    return filled(rows(), len(sample.people), plus.stack.mask, plus.stack.grid, scratch)


def _mean(scans: Sequence[Scan], maps: Maps) -> Array:
    total: Array = np.zeros(maps.stack.values.shape[1])
    names = list(dict.fromkeys(scan for scan, _ in scans))
    for name in names:
        mine = [maps.rows[scan] for scan in scans if scan[0] == name]
        total += sum((maps.stack.values[row].astype(np.float64) for row in mine), start=np.zeros_like(total)) / len(
            mine
        )
    mean: Array = total / len(names)
    return mean


def brain_mask(grid: Grid) -> Mask:
    """Return nilearn's mask of the ICBM152 brain on a grid in MNI space.

    Raises:
        InputError: It has no voxel there.
    """
    from nilearn.datasets import load_mni152_brain_mask

    image: Any = load_mni152_brain_mask(resolution=1)
    data = np.asarray(image.dataobj) > 0
    shape = (int(data.shape[0]), int(data.shape[1]), int(data.shape[2]))
    return _nearest(data, Grid(shape, np.asarray(image.affine, dtype=np.float64)), grid, "within: the MNI brain")


def mask_on(path: Path, grid: Grid) -> Mask:
    """Return a mask file on a grid: its voxels above one half, by the nearest voxel.

    Raises:
        InputError: It cannot be read, has channels, or has no voxel there.
    """
    data, found = read_image(path)
    if data.ndim != 3:
        raise InputError(f"mask: {path} has the shape {data.shape}; a mask has one volume.")
    return _nearest(data > 0.5, found, grid, f"mask: {path}")


def _nearest(data: Mask, found: Grid, grid: Grid, what: str) -> Mask:
    if not data.any():
        raise InputError(f"{what} has no voxel above one half.")
    box = ndimage.find_objects(data.view(np.uint8))[0]
    moved = data if same_grid(found, grid) else resampled_labels(data.view(np.uint8), found, grid) > 0
    if not moved.any():
        first, last = ([getattr(axis, end) for axis in box] for end in ("start", "stop"))
        raise InputError(f"{what} (voxels {first} to {last} of {found}) has no voxel on the maps' grid, {grid}.")
    return np.asarray(moved, dtype=bool)
