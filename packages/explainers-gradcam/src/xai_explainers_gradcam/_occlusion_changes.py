"""Changes of a volume: windows or regions of it replaced by a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._occlusion_geometry import Boxes, Extent, Grid, Positions, as_grid
from ._occlusion_local import paste

__all__ = ["Regions", "Windows", "everything"]


def everything(number: int, volume: Tensor) -> Boxes:
    """Return boxes that hold the whole of a volume [1, C, D, H, W]."""
    return Boxes(np.zeros((number, 3), np.int64), as_grid(volume.shape[2:]))


def _crop(volume: Tensor, start: Sequence[int], size: Grid) -> Tensor:
    """Return a view [C, *size] of a volume [1, C, D, H, W]."""
    along = [slice(first, first + length) for first, length in zip(start, size, strict=True)]
    return volume[0, :, along[0], along[1], along[2]]


class Windows:
    """A window slides over the volume; in all its channels the baseline is put in its place.

    The windows are those of ``captum.attr.Occlusion``: the last one along an axis begins at a multiple of the stride
    too and ends at the border, so it may be smaller.

    Args:
        volume: [1, C, D, H, W].
        baseline: The same shape.
        window: Voxels along each axis, at most the volume's.
        stride: Voxels from window to window.

    Attributes:
        extent: Where each window lies.
        changed: bool [W], whether the volume differs from the baseline anywhere in the window.
    """

    def __init__(self, volume: Tensor, baseline: Tensor, window: Grid, stride: Grid) -> None:
        self._volume, self._baseline = volume, baseline
        grid = as_grid(volume.shape[2:])
        starts = [
            np.arange(-(-(size - width) // step) + 1, dtype=np.int64) * step
            for size, width, step in zip(grid, window, stride, strict=True)
        ]
        first = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
        self.extent = Extent(first, np.minimum(first + np.asarray(window), np.asarray(grid)))
        self.changed = _sums(_differs(volume, baseline), self.extent) > 0

    def crops(self, which: Sequence[int], boxes: Boxes) -> Tensor:
        """See ``_occlusion_local.Changes``."""
        rows = []
        for index, start in zip(which, boxes.start.tolist(), strict=True):
            row = _crop(self._volume, start, boxes.size).clone()
            first, last = self.extent.first[index], self.extent.last[index]
            paste(row, start, _crop(self._baseline, first.tolist(), as_grid(last - first)), first.tolist())
            rows.append(row)
        return torch.stack(rows)

    def mean_over_windows(self, values: Tensor) -> Tensor:
        """Return for each voxel the mean of the values [W] of the windows that hold it, [D, H, W].

        A voxel that no window holds gets 0.
        """
        total = torch.zeros(self._volume.shape[2:], dtype=torch.float64)
        count = torch.zeros_like(total)
        for value, first, last in zip(
            values.tolist(), self.extent.first.tolist(), self.extent.last.tolist(), strict=True
        ):
            box = tuple(map(slice, first, last))
            total[box] += value
            count[box] += 1
        return total / count.clamp(min=1)


class Regions:
    """Each region of a parcellation is replaced by the baseline, in all channels.

    Args:
        volume: [1, C, D, H, W].
        baseline: The same shape.
        labels: int64 [D, H, W], 0 for voxels of no region.

    Attributes:
        extent: The box around each region.
        changed: bool [R], whether the volume differs from the baseline anywhere in the region.
        names: The label of each region.
        voxels: The number of its voxels.
    """

    def __init__(self, volume: Tensor, baseline: Tensor, labels: Tensor) -> None:
        self._volume, self._baseline = volume, baseline
        names, index, voxels = torch.unique(labels[labels > 0], return_inverse=True, return_counts=True)
        self.names: list[int] = names.tolist()
        self.voxels: list[int] = voxels.tolist()
        self._index = torch.full_like(labels, -1)
        self._index[labels > 0] = index
        self.extent = _boxes_of(labels > 0, index, len(names))
        differs = _differs(volume, baseline)[labels > 0]
        self.changed = torch.bincount(index[differs], minlength=len(names)).cpu().numpy() > 0

    def crops(self, which: Sequence[int], boxes: Boxes) -> Tensor:
        """See ``_occlusion_local.Changes``."""
        rows = []
        for region, start in zip(which, boxes.start.tolist(), strict=True):
            inside = _crop(self._index[None, None], start, boxes.size) == region
            volume, baseline = (_crop(each, start, boxes.size) for each in (self._volume, self._baseline))
            rows.append(torch.where(inside, baseline, volume))
        return torch.stack(rows)

    def spread(self, values: Tensor) -> Tensor:
        """Return for each voxel the value of its region [R], 0 where it has none, [D, H, W]."""
        padded = torch.cat([values, values.new_zeros(1)])  # -1, no region, is the last
        return padded[self._index.cpu()]


def _differs(volume: Tensor, baseline: Tensor) -> Tensor:
    return (volume != baseline).any(dim=1)[0]


def _sums(mask: Tensor, extent: Extent) -> Positions:
    """Return the number of voxels of a mask [D, H, W] in each box, by a summed-area table."""
    table = mask.cpu().numpy().astype(np.int64)
    for axis in range(3):
        table = np.cumsum(table, axis=axis)
    table = np.pad(table, ((1, 0), (1, 0), (1, 0)))
    total = np.zeros(len(extent.first), np.int64)
    for corner in np.ndindex(2, 2, 2):
        at = np.where(np.asarray(corner) == 1, extent.last, extent.first)
        total += (-1) ** (3 - sum(corner)) * table[at[:, 0], at[:, 1], at[:, 2]]
    return total


def _boxes_of(mask: Tensor, index: Tensor, number: int) -> Extent:
    """Return the box around the voxels of a mask that have each index."""
    places = mask.nonzero()
    where = index[:, None].expand(-1, 3)
    first = places.new_full((number, 3), torch.iinfo(torch.int64).max).scatter_reduce_(0, where, places, "amin")
    last = places.new_zeros((number, 3)).scatter_reduce_(0, where, places + 1, "amax")
    return Extent(first.cpu().numpy(), last.cpu().numpy())
