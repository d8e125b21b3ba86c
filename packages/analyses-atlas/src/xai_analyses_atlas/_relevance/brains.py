"""Where the brain is: the dataset's mask, or the template's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._atlases import Placed, Region
from .._atlases.overlaps import entries_of_labels
from .._grids import Grid
from .._maps import read_stored

__all__ = ["brain_of_file", "brain_of_template", "share_outside"]

Array = npt.NDArray[Any]


def brain_of_file(path: Path, grid: Grid) -> Placed:
    """Return a mask file on a grid, as an atlas of one region.

    Raises:
        InputError: It cannot be read, or not one voxel of the grid is in it.
    """
    data, own = read_stored(path)
    volume = data.max(axis=3) if data.ndim == 4 else data
    brain = _one_region((volume > 0).astype(np.int16), own, grid)
    if not len(brain.entries.voxels):
        raise InputError(f"The mask {path} has no voxel on the map's grid: {grid}. Do they lie in the same space?")
    return brain


def brain_of_template(grid: Grid) -> Placed:
    """Return nilearn's ICBM152 brain mask on a grid in MNI space, as an atlas of one region."""
    return _one_region(*_template(), grid)


def _one_region(mask: Array, own: Grid, grid: Grid) -> Placed:
    return Placed(grid, (Region(1, "brain", None, "brain"),), entries_of_labels(mask, own, grid, 1, partial=True))


@lru_cache(maxsize=1)
def _template() -> tuple[Array, Grid]:
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=1)
    mask = (np.asarray(image.dataobj) > 0).astype(np.int16)
    shape = (int(mask.shape[0]), int(mask.shape[1]), int(mask.shape[2]))
    return mask, Grid(shape, np.asarray(image.affine, dtype=np.float64))


def share_outside(values: Array, absolute: float, brain: Placed) -> float:
    """Return which share of a map's absolute relevance lies outside of a brain mask; NaN where the map is all zero.

    Args:
        values: [D, H, W].
        absolute: Sum of its absolute values.
        brain: The mask on the map's grid.
    """
    if not absolute > 0:
        return float("nan")
    inside = np.abs(brain.gathered(values))
    weights = brain.entries.weights
    within = float(inside.sum() if weights is None else (inside * weights).sum())
    return min(max(1 - within / absolute, 0.0), 1.0)
