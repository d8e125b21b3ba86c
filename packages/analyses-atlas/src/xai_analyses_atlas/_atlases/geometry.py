"""Where regions lie, left and right of the midline of MNI space (x = 0, the left is negative)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

if TYPE_CHECKING:
    from .._grids import Grid
    from .atlas import Region

__all__ = ["check_sides", "extents", "sides_by_place", "x_of_voxels"]

Array = npt.NDArray[Any]

# mm: names whose region lies about the midline (vermis, brain stem) say nothing on how the image is turned.
_CLEAR = 2.0


def x_of_voxels(grid: Grid) -> npt.NDArray[np.float32]:
    """Return the world x of every voxel in mm, [D, H, W]."""
    i, j, k = (np.arange(size, dtype=np.float32) for size in grid.shape)
    a, b, c, d = (np.float32(value) for value in grid.affine[0])
    x: npt.NDArray[np.float32] = a * i[:, None, None] + b * j[None, :, None] + c * k + d
    return x


def extents(labels: Array, grid: Grid, count: int) -> npt.NDArray[np.float64]:
    """Return the lowest, mean and highest x of each region in mm, [count, 3]; NaN where it has no voxel.

    Args:
        labels: Position + 1, 0: none.
        grid: Of ``labels``.
        count: Number of regions.
    """
    inside = labels > 0
    place, x = labels[inside].astype(np.int64) - 1, x_of_voxels(grid)[inside].astype(np.float64)
    voxels = np.bincount(place, minlength=count)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, place, x)
    np.maximum.at(high, place, x)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, x, minlength=count) / voxels
    found = np.stack([low, mean, high], axis=1)
    found[voxels == 0] = np.nan
    return found


def check_sides(regions: Sequence[Region], centres: npt.NDArray[np.float64], what: str) -> list[str]:
    """Return the names of regions whose name says one side while their centre lies on the other.

    Args:
        regions: With the sides that their names say.
        centres: Mean x in mm of each; NaN where it has no voxel.
        what: Names the atlas in a message.

    Raises:
        InputError: More than half of those whose side is clear lie on the other side: the image is flipped.
    """
    clear = [
        (region, x) for region, x in zip(regions, centres.tolist(), strict=True)
        if region.hemisphere is not None and abs(x) > _CLEAR
    ]  # fmt: skip
    wrong = [region.name for region, x in clear if (x < 0) != (region.hemisphere == "L")]
    if len(wrong) * 2 > len(clear):
        raise InputError(
            f"{what}: {len(wrong)} of {len(clear)} regions lie on the other side than their names say (such as "
            f"{', '.join(wrong[:3])}; in MNI space x is negative on the left). The image is flipped or in another "
            "space, or the table belongs to another image."
        )
    return wrong


def sides_by_place(regions: Sequence[Region], extent: npt.NDArray[np.float64]) -> list[Region]:
    """Give the side to regions whose name says none and all of whose voxels lie left or right of the midline."""
    found = []
    for region, (low, _, high) in zip(regions, extent.tolist(), strict=True):
        if region.hemisphere is None and high < 0:
            region = replace(region, hemisphere="L")
        elif region.hemisphere is None and low > 0:
            region = replace(region, hemisphere="R")
        found.append(region)
    return found
