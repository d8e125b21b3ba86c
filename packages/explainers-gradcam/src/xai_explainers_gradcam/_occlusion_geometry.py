"""Which part of a feature map a change of the input can reach, and which part is computed again for it.

Positions count voxels of one feature map along its three axes. Arrays hold one row for each change of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Boxes", "Extent", "Grid", "Positions", "Stencil", "as_grid", "boxes_around", "union"]

Positions: TypeAlias = NDArray[np.int64]
Grid: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Extent:
    """What each change reaches: ``first <= position < last``, int64 [B, 3]. Nothing: ``last <= first`` on all axes."""

    first: Positions
    last: Positions


@dataclass(frozen=True)
class Boxes:
    """What is computed again: for each change a box of the same size, so that a batch can be made of them.

    Attributes:
        start: int64 [B, 3], its first voxel, inside the feature map.
        size: Voxels along each axis.
    """

    start: Positions
    size: Grid


def as_grid(values: Any) -> Grid:
    """Return three plain integers."""
    first, second, third = (int(value) for value in values)
    return first, second, third


def boxes_around(extent: Extent, grid: Grid) -> Boxes:
    """Return the smallest boxes of one size that hold the extents and do not leave the grid."""
    size = np.clip((extent.last - extent.first).max(axis=0), 1, grid)
    return Boxes(np.clip(extent.first, 0, np.asarray(grid) - size), as_grid(size))


def union(extents: list[Extent]) -> Extent:
    """Return what any of the extents reaches. An empty one begins behind the grid and ends at 0: it adds nothing."""
    first = np.minimum.reduce([extent.first for extent in extents])
    last = np.maximum.reduce([extent.last for extent in extents])
    return Extent(first, last)


@dataclass(frozen=True)
class Stencil:
    """Which inputs a convolution or a pooling reads for the output at ``o``.

    These are the inputs from ``o * stride - padding`` on, ``reach`` of them, along each axis.

    Attributes:
        reach: Size of the kernel with its gaps, ``dilation * (kernel - 1) + 1``.
        stride: Step.
        padding: Voxels added before the first one; may be negative.
    """

    reach: Grid
    stride: Grid
    padding: Grid

    def affected(self, extent: Extent, grid: Grid) -> Extent:
        """Return the outputs, on a grid of this size, that read any of the inputs."""
        reach, stride, padding = (np.asarray(each) for each in (self.reach, self.stride, self.padding))
        first = -((reach - 1 - padding - extent.first) // stride)  # rounded up
        last = (extent.last - 1 + padding) // stride + 1
        first, last = np.maximum(first, 0), np.minimum(last, grid)
        nothing = ((last <= first) | (extent.last <= extent.first)).any(axis=1, keepdims=True)
        return Extent(np.where(nothing, np.asarray(grid), first), np.where(nothing, 0, last))

    def read(self, boxes: Boxes) -> Boxes:
        """Return the inputs that boxes of outputs read; they may leave the grid of the input."""
        reach, stride, padding = (np.asarray(each) for each in (self.reach, self.stride, self.padding))
        size = (np.asarray(boxes.size) - 1) * stride + reach
        return Boxes(boxes.start * stride - padding, as_grid(size))
