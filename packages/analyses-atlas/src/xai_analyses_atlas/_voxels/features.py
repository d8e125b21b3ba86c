"""A map that a person brings along, on the grid of a relevance map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid, resampled, same_grid, turned_like
from .._maps import read_image
from .prepare import Preparation, prepared

__all__ = ["FeatureMap", "NotUsableError", "feature_on", "held", "mask_on", "moved_to"]

Array = npt.NDArray[Any]

_ROUNDING = 1e-4  # of a voxel, in the product of two affines
_COVERAGE = 0.95  # of the voxels that are compared; below, a map is not of them


class NotUsableError(Exception):
    """This person's map cannot be compared; the message says why. The others' can."""


@dataclass(frozen=True)
class FeatureMap:
    """A prepared map.

    Attributes:
        values: float64 [D, H, W], finite.
        coverage: Share of the compared voxels that the file's field of view holds, in [0, 1]; the others are 0.
    """

    values: Array
    coverage: float


def feature_on(
    path: Path,
    grid: Grid,
    inside: Array,
    steps: Preparation,
    labels: Sequence[int] | None,
    moved: Array | None,
    *,
    covering: bool = True,
) -> FeatureMap:
    """Read a map and bring it to a grid: linearly, and what is 0 or 1 (or a label) as a probability cut at 0.5.

    Args:
        path: A NIfTI file of three dimensions.
        grid: Of the relevance.
        inside: bool [D, H, W], the voxels that are compared.
        steps: See ``Preparation``; applied on ``grid``.
        labels: Take the map for a label image, and these labels for 1, all others for 0.
        moved: 4 x 4, scan to MNI (mm) where the relevance is looked at in MNI space and the scan was registered within
            the run; None: the file lies where the relevance does.
        covering: Whether its field of view must hold the compared voxels; otherwise it is 0 outside of it.

    Raises:
        InputError: The file is missing, cannot be read or has several volumes; clusters or margins are wanted of a map
            that is neither binary nor thresholded.
        NotUsableError: It holds NaN or does not cover the compared voxels.
    """
    data, found = _volume(path, moved)
    known = np.isfinite(data)
    values = np.where(known, data, 0.0)
    if labels is not None:
        values = np.isin(values, list(labels)).astype(np.float64)
    if steps.threshold is None and _two_valued(values):
        values = values / (values.max() or 1.0)
        steps = replace(steps, threshold=0.5)
    if steps.shapes and steps.threshold is None:
        raise InputError(
            f"prepare: {path} is not a map of zeros and ones, so it has no clusters and no border. Set threshold."
        )
    covered = _coverage(known, found, grid, inside, _COVERAGE if covering else 0.0)
    return FeatureMap(prepared(moved_to(values, found, grid), grid, steps), covered)


def mask_on(path: Path, grid: Grid, moved: Array | None = None) -> npt.NDArray[np.bool_]:
    """Return where a mask (not zero) lies on a grid: as a probability, at 0.5 and above.

    Raises:
        InputError: The file is missing, cannot be read, has several volumes or NaN.
    """
    data, found = _volume(path, moved)
    if not np.isfinite(data).all():
        raise InputError(f"{path} has NaN or infinite values, so it is no mask.")
    return moved_to((data != 0).astype(np.float64), found, grid) >= 0.5


def _volume(path: Path, moved: Array | None) -> tuple[Array, Grid]:
    data, grid = read_image(path)
    if data.ndim == 4:
        raise InputError(f"{path} has {data.shape[3]} volumes. Give a map of one volume.")
    return data, grid if moved is None else Grid(grid.shape, np.asarray(moved, dtype=np.float64) @ grid.affine)


def _two_valued(values: Array) -> bool:
    """Return whether a map is a mask: 0 and one other value, which is above 0."""
    return bool(((values == 0) | (values == values.max())).all() and values.min() >= 0)


def _coverage(known: Array, found: Grid, grid: Grid, inside: Array, least: float) -> float:
    """Return the share of the compared voxels that lie in the field of view of a map.

    Args:
        known: bool, where the map is finite.
        found: Its grid.
        grid: Of ``inside``.
        inside: bool [D, H, W], the voxels that are compared.
        least: Share that is needed.

    Raises:
        NotUsableError: Too few do, or the map is not finite there.
    """
    if not known.all():
        unknown = int(((moved_to(~known, found, grid) > 0) & inside).sum())
        if unknown:
            total = int(inside.sum())
            raise NotUsableError(f"the map has NaN or infinite values at {unknown} of the {total} voxels compared")
    covered = float(held(found, grid)[inside].mean())
    if covered < least:
        raise NotUsableError(f"the map's field of view holds {covered:.0%} of the voxels compared ({least:.0%} needed)")
    return covered


def held(found: Grid, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return which voxels [D, H, W] of ``grid`` have their centre in the field of view of ``found``."""
    mapping = np.linalg.inv(found.affine) @ grid.affine
    inside = np.ones(grid.shape, dtype=bool)
    for axis, size in enumerate(found.shape):
        steps = [mapping[axis, k] * np.arange(n) for k, n in enumerate(grid.shape)]
        position = steps[0][:, None, None] + steps[1][None, :, None] + steps[2][None, None, :] + mapping[axis, 3]
        inside &= (position >= -0.5 - _ROUNDING) & (position <= size - 0.5 + _ROUNDING)
    return inside


def moved_to(values: Array, found: Grid, grid: Grid) -> Array:
    """Return values [D, H, W] of one grid on another as float64: linearly, 0 outside; unchanged where it is one."""
    turned, like = turned_like(values, found, grid)
    if same_grid(like, grid):
        return np.ascontiguousarray(turned, dtype=np.float64)
    return resampled(values, found, grid)
