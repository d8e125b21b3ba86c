"""By which share the voxels of a map lie in a region."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .._grids import Grid, resampled_labels
from .placing import Entries, voxel_volume

__all__ = ["Overlaps", "coarser", "entries_of_labels", "entries_of_volumes"]

Array = npt.NDArray[Any]
Part = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]

# Of a voxel of the atlas: how far the axes of two grids may run apart and still count as parallel.
_PARALLEL = 0.02


def entries_of_labels(labels: Array, own: Grid, grid: Grid, count: int, *, partial: bool) -> Entries:
    """Lay a label image on a grid.

    Args:
        labels: Position of a voxel's region + 1, 0: none; integers [A, B, C].
        own: The grid of ``labels``.
        grid: Of the map.
        count: Number of regions.
        partial: Whether a voxel belongs to labels by the shares of its volume, where the grid is coarser.
    """
    volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.float64) * voxel_volume(own)
    if partial and coarser(grid, own):
        overlaps = Overlaps(own, grid)
        boxes = ndimage.find_objects(labels, max_label=count)
        parts = [_NOTHING if box is None else overlaps.of(labels[box] == k + 1, box) for k, box in enumerate(boxes)]
        return _joined(parts, volumes, grid)
    nearest = resampled_labels(labels, own, grid).ravel()
    inside = np.flatnonzero(nearest)
    order = np.argsort(nearest[inside], kind="stable")
    voxels = np.bincount(nearest[inside] - 1, minlength=count)
    starts = np.concatenate([[0], np.cumsum(voxels)]).astype(np.int64)
    return Entries(inside[order].astype(np.int32), starts, None, volumes, _share(voxels * voxel_volume(grid), volumes))


def entries_of_volumes(images: Iterable[tuple[Array, Grid]], grid: Grid) -> Entries:
    """Lay a probabilistic atlas on a grid, one volume in memory at a time.

    Where the probabilities of a voxel add up to more than 1 (regions of different post-mortem brains overlap), they are
    divided by their sum, so that no relevance counts twice.

    Args:
        images: Each region's probabilities in 0..1, float32 [A, B, C], and their grid, the same for all.
        grid: Of the map.
    """
    parts, volumes = [], []
    overlaps: Overlaps | None = None
    for values, own in images:
        overlaps = overlaps or Overlaps(own, grid)
        volumes.append(float(values.sum(dtype=np.float64)) * voxel_volume(own))
        box = _filled(values)
        parts.append(_NOTHING if box is None else overlaps.of(values[box], box))
    joined = _joined(parts, np.asarray(volumes), grid)
    total = np.bincount(joined.voxels, joined.weights, minlength=int(np.prod(grid.shape)))
    return replace(joined, weights=(joined.weights / np.maximum(total, 1)[joined.voxels]).astype(np.float32))


def coarser(grid: Grid, own: Grid) -> bool:
    """Return whether the voxels of ``grid`` are longer along any axis than the shortest side of those of ``own``."""
    return max(grid.spacing) > 1.05 * min(own.spacing)


class Overlaps:
    """Shares of the voxels of one grid that lie in regions given on another.

    Where the axes of the grids are parallel, shares are exact: a voxel is a box, and the volume that two boxes share is
    the product of what they share along each axis. Otherwise regions are interpolated linearly at several points in
    each voxel, as far from each other as the atlas' voxels are, and averaged.

    Args:
        own: The atlas' grid.
        grid: Of the map.
    """

    def __init__(self, own: Grid, grid: Grid) -> None:
        self.own = own
        self.grid = grid
        self._to_own = np.linalg.inv(own.affine) @ grid.affine

    def of(self, values: Array, box: tuple[slice, ...]) -> Part:
        """Return the voxels that meet a region and its shares of them.

        Args:
            values: 1 or True within the region, or its probability, [a, b, c].
            box: Where ``values`` lie in the atlas' grid.

        Returns:
            Flat indices, ascending, and shares above 0.
        """
        own = Grid(_shape(values), self.own.affine @ _shifted([side.start for side in box]))
        cut = self._reached(box)
        if cut is None:
            return _NOTHING
        corner, grid = cut
        shares = self._exact(values, box, corner, grid) if self._parallel else _sampled(values, own, grid)
        # Rounding leaves shares of 1e-9 beside the region.
        places = np.nonzero(shares > 1e-6)
        flat = np.ravel_multi_index(tuple(p + c for p, c in zip(places, corner, strict=True)), self.grid.shape)
        return flat.astype(np.int32), np.minimum(shares[places], 1).astype(np.float32)

    def _reached(self, box: tuple[slice, ...]) -> tuple[tuple[int, ...], Grid] | None:
        """Return the part of the grid that a box of the atlas can reach: its first voxel and its own grid."""
        sides = [(side.start - 1.0, side.stop + 0.0) for side in box]
        corners = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
        to_grid = np.linalg.inv(self._to_own)
        there = corners @ to_grid[:3, :3].T + to_grid[:3, 3]
        low = np.maximum(np.floor(there.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(there.max(axis=0)).astype(int) + 1, self.grid.shape)
        if (low >= high).any():
            return None
        a, b, c = (int(size) for size in high - low)
        return tuple(low.tolist()), Grid((a, b, c), self.grid.affine @ _shifted(low))

    @cached_property
    def _axes(self) -> npt.NDArray[np.intp]:
        """Which axis of the atlas runs most along each axis of the map."""
        return np.asarray(np.abs(self._to_own[:3, :3] * np.asarray(self.grid.shape)).argmax(axis=0))

    @cached_property
    def _parallel(self) -> bool:
        axes = self._axes
        if len(set(axes.tolist())) < 3:
            return False
        aside = np.abs(self._to_own[:3, :3]) * np.asarray(self.grid.shape)
        aside[axes, [0, 1, 2]] = 0
        return bool(aside.max() <= _PARALLEL)

    @cached_property
    def _along(self) -> list[npt.NDArray[np.float32]]:
        """For each axis of the map the share of each of its voxels in each voxel of the atlas."""
        return [
            _shares_along(size, self.own.shape[axis], self._to_own[axis, n], self._to_own[axis, 3])
            for n, (size, axis) in enumerate(zip(self.grid.shape, self._axes.tolist(), strict=True))
        ]

    def _exact(self, values: Array, box: tuple[slice, ...], corner: tuple[int, ...], grid: Grid) -> Array:
        found = np.asarray(values, dtype=np.float32).transpose(self._axes)
        for n, axis in enumerate(self._axes.tolist()):
            shares = self._along[n][corner[n] : corner[n] + grid.shape[n], box[axis]]
            # The axis that is done goes to the end, so that after three of them the order is as before.
            found = np.tensordot(found, shares, axes=(0, 1))
        return found


def _shares_along(size: int, own_size: int, step: float, first: float) -> npt.NDArray[np.float32]:
    """Return the share [size, own_size] of each interval of a line in each interval of length 1 of another.

    Args:
        size: Number of intervals of length |step|.
        own_size: Number of intervals of length 1, the first about 0.
        step: From the middle of one interval to the next.
        first: Middle of the first.
    """
    middle, half = first + step * np.arange(size)[:, None], abs(step) / 2
    own = np.arange(own_size)[None]
    shared = np.minimum(middle + half, own + 0.5) - np.maximum(middle - half, own - 0.5)
    return np.asarray(shared.clip(min=0) / abs(step), dtype=np.float32)


def _sampled(values: Array, own: Grid, grid: Grid) -> Array:
    finest = min(own.spacing)
    steps = [max(1, ceil(size / finest - 0.05)) for size in grid.spacing]
    to_own = np.linalg.inv(own.affine) @ grid.affine
    source = np.asarray(values, dtype=np.float32)
    total = np.zeros(grid.shape, dtype=np.float32)
    for step in np.ndindex(*steps):
        within = (np.asarray(step) + 0.5) / steps - 0.5
        offset = to_own[:3, :3] @ within + to_own[:3, 3]
        total += ndimage.affine_transform(
            source, to_own[:3, :3], offset, output_shape=grid.shape, order=1, mode="grid-constant", cval=0
        )
    return total / np.float32(np.prod(steps))


def _filled(values: Array) -> tuple[slice, slice, slice] | None:
    """Return the box around what is not 0; None where everything is."""
    found = []
    for axis in range(3):
        places = np.flatnonzero(values.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(places):
            return None
        found.append(slice(int(places[0]), int(places[-1]) + 1))
    return found[0], found[1], found[2]


def _joined(parts: list[Part], volumes: Array, grid: Grid) -> Entries:
    starts = np.concatenate([[0], np.cumsum([len(voxels) for voxels, _ in parts])]).astype(np.int64)
    voxels, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    there = np.array([float(own.sum(dtype=np.float64)) for _, own in parts]) * voxel_volume(grid)
    return Entries(voxels, starts, weights, volumes.astype(np.float64), _share(there, volumes))


def _share(there: Array, volumes: Array) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(there / volumes, dtype=np.float64)


def _shifted(first: Any) -> Array:
    matrix = np.eye(4)
    matrix[:3, 3] = first
    return matrix


def _shape(values: Array) -> tuple[int, int, int]:
    return int(values.shape[0]), int(values.shape[1]), int(values.shape[2])


_NOTHING: Part = (np.zeros(0, np.int32), np.zeros(0, np.float32))
