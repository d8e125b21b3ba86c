"""Regions on the voxels of a map: their sizes, sums, weights and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from xai_core import InputError

if TYPE_CHECKING:
    from .._grids import Grid
    from .atlas import Atlas, Region

__all__ = ["LEAST", "Entries", "Placed", "in_memory_order", "placed", "voxel_volume"]

Array = npt.NDArray[Any]

# A voxel belongs to a region's mask where no other region has more of it and this one has at least this share: the
# threshold of FSL's maximum-probability images (thr25).
LEAST = 0.25


@dataclass(frozen=True)
class Entries:
    """Which voxels belong to which region, sorted by region and then by voxel.

    Attributes:
        voxels: int32 [M], flat index of a voxel in C order.
        starts: int64 [R + 1]: region k has the entries from ``starts[k]`` up to ``starts[k + 1]``.
        weights: float32 [M] in (0, 1], or None where all are 1.
        volumes: float64 [R], the regions' volumes in mm3 in the atlas' own image.
        kept: float64 [R], the share of that volume that lies on the grid; NaN where a region has no volume.
    """

    voxels: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None
    volumes: npt.NDArray[np.float64]
    kept: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """The regions of an atlas on one grid. A voxel belongs to regions by weights whose sum is at most 1.

    Attributes:
        grid: Of the map, [D, H, W].
        regions: R regions, in the atlas' order; one may have no voxel.
        entries: Their voxels and weights.
    """

    grid: Grid
    regions: tuple[Region, ...]
    entries: Entries
    _orders: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def sizes(self) -> npt.NDArray[np.float64]:
        """Voxels of each region, or the sum of its weights, [R]."""
        starts, weights = self.entries.starts, self.entries.weights
        return np.diff(starts).astype(np.float64) if weights is None else self.added(weights.astype(np.float64))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel of the grid in mm3."""
        return voxel_volume(self.grid)

    @property
    def covered(self) -> npt.NDArray[np.float64]:
        """Weight of all regions in each voxel, float64 [D, H, W], 0 outside of the atlas."""
        size = int(np.prod(self.grid.shape))
        total = np.bincount(self.entries.voxels, self.entries.weights, minlength=size).astype(np.float64)
        return total.reshape(self.grid.shape)

    def sums(self, values: Array) -> npt.NDArray[np.float64]:
        """Return the weighted sum of values [D, H, W] over each region, [R], added up in float64."""
        found = self.gathered(values)
        return self.added(found if self.entries.weights is None else found * self.entries.weights)

    def gathered(self, values: Array) -> npt.NDArray[np.float64]:
        """Return the value of each entry, float64 [M], not weighted.

        Raises:
            ValueError: ``values`` has another shape than the grid.
        """
        if values.shape != self.grid.shape:
            raise ValueError(f"values has the shape {values.shape}, the grid {self.grid.shape}")
        flat, order = in_memory_order(values)
        return flat[self.in_order(self.entries.voxels, "entries", order)].astype(np.float64)

    def in_order(self, voxels: Array, name: str, order: Literal["C", "F"]) -> Array:
        """Return flat indices in C order as those in another order; kept under a name."""
        if order == "C":
            return voxels
        if name not in self._orders:
            places = np.unravel_index(voxels, self.grid.shape)
            self._orders[name] = np.ravel_multi_index(places, self.grid.shape, order="F").astype(np.int32)
        return self._orders[name]

    def added(self, entries: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the sum over each region [R] of one value for each entry [M]."""
        starts = self.entries.starts
        sums = np.zeros(len(self.regions))
        filled = np.diff(starts) > 0
        if filled.any():
            sums[filled] = np.add.reduceat(entries, starts[:-1][filled])
        return sums

    def weights(self, k: int) -> npt.NDArray[np.float32]:
        """Return by which share each voxel belongs to the region at position ``k``, float32 [D, H, W] in 0..1."""
        part = slice(*self.entries.starts[k : k + 2])
        volume = np.zeros(int(np.prod(self.grid.shape)), dtype=np.float32)
        volume[self.entries.voxels[part]] = 1 if self.entries.weights is None else self.entries.weights[part]
        return volume.reshape(self.grid.shape)

    @cached_property
    def winners(self) -> npt.NDArray[np.int32]:
        """Position of the region that each voxel belongs to most, int32 [D, H, W]; -1: none has a quarter of it."""
        size = int(np.prod(self.grid.shape))
        winner, best = np.full(size, -1, dtype=np.int32), np.zeros(size, dtype=np.float32)
        for k, (start, end) in enumerate(pairwise(self.entries.starts.tolist())):
            voxels = self.entries.voxels[start:end]
            own = self.entries.weights
            weights = np.ones(end - start, np.float32) if own is None else own[start:end]
            wins = (weights > best[voxels]) & (weights >= LEAST)
            winner[voxels[wins]] = k
            best[voxels[wins]] = weights[wins]
        return winner.reshape(self.grid.shape)

    def mask(self, k: int) -> npt.NDArray[np.bool_]:
        """Return the voxels of the region at position ``k``, bool [D, H, W].

        They are those that it has at least a quarter of, and no other region more; of two with the same share the
        first has it.
        """
        return np.asarray(self.winners == k)

    def label_at(self, index: tuple[int, ...]) -> str | None:
        """Return the name of the region whose mask holds a voxel, or None."""
        k = int(self.winners[tuple(int(i) for i in index[:3])])
        return None if k < 0 else self.regions[k].name


def voxel_volume(grid: Grid) -> float:
    """Return the volume of a voxel in mm3; of whole millimetres it is whole."""
    a, b, c = grid.affine[:3, :3].T
    return abs(float(np.dot(np.cross(a, b), c)))


def in_memory_order(values: Array) -> tuple[Array, Literal["C", "F"]]:
    """Return an array flat without copying it, where it lies in one piece, and the order of its elements."""
    if values.flags.f_contiguous and not values.flags.c_contiguous:
        return values.ravel(order="F"), "F"
    return values.ravel(), "C"


def placed(atlas: Atlas, grid: Grid, entries: Entries) -> Placed:
    """Return an atlas on a grid.

    Raises:
        InputError: Not one voxel belongs to a region.
    """
    if not len(entries.voxels):
        raise InputError(
            f"The atlas {atlas.name} ({atlas.source}) has no voxel on the map's grid: {grid}. They lie in different "
            f"places. The atlas is in the space {atlas.space!r}; are the scans registered to it?"
        )
    return Placed(grid, atlas.regions, entries)
