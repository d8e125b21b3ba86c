"""What lies in each region of one map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._atlases.placing import in_memory_order
from .._grids import first_in_world
from .._regions import OUTSIDE
from .heads import HeadCheck

if TYPE_CHECKING:
    from .._atlases import Placed

__all__ = ["OUTSIDE", "REGION_COLUMNS", "Measurer", "Sums"]

Array = npt.NDArray[Any]

REGION_COLUMNS = [
    "voxels", "volume", "sum", "positive", "negative", "absolute", "mean", "density", "share", "size_corrected",
    "peak", "peak_x", "peak_y", "peak_z",
]  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """A map in the regions of an atlas; the last of the R + 1 values is what lies outside of it.

    Attributes:
        positive: Weighted sum of what is above zero, float64 [R + 1].
        negative: Weighted sum of what is below zero, float64 [R + 1].
        peaks: Flat index (C order) of the voxel with the largest |relevance| in a region's mask, int64 [R + 1]; -1
            where there is none or it is 0.
        values: The relevance there, with its sign, float64 [R + 1].
    """

    positive: npt.NDArray[np.float64]
    negative: npt.NDArray[np.float64]
    peaks: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """Sums of the values as they are."""
        return self.positive + self.negative

    @property
    def absolute(self) -> npt.NDArray[np.float64]:
        """Sums of the absolute values."""
        return self.positive - self.negative

    @property
    def finite(self) -> bool:
        """Whether the map is: one NaN or infinite value makes a sum NaN or infinite."""
        return bool(np.isfinite(self.positive).all() and np.isfinite(self.negative).all())


class Measurer:
    """Measures maps on one grid. What does not depend on the map is prepared once.

    Args:
        placed: The atlas on the grid.
        mni: Whether they lie in MNI space.

    Attributes:
        placed: See above.
        head: For the scans on the same grid.
    """

    def __init__(self, placed: Placed, *, mni: bool) -> None:
        self.placed = placed
        winners = placed.winners.ravel()
        voxels, starts = placed.entries.voxels, placed.entries.starts
        own = np.repeat(np.arange(len(placed.regions)), np.diff(starts))
        self._in_mask = winners[voxels] == own
        self._keep_heaviest()
        self._touched = np.unique(voxels)
        self._rest = (1 - placed.covered.ravel()[self._touched]).clip(min=0).astype(np.float32)
        self.head = HeadCheck(placed, mni=mni)
        self._won = np.flatnonzero(winners >= 0).astype(np.int32)

    def _keep_heaviest(self) -> None:
        """Look for the peak of a region that outweighs others nowhere where its share is largest."""
        weights, starts = self.placed.entries.weights, self.placed.entries.starts
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if end > start and not self._in_mask[start:end].any():
                shares = np.ones(end - start) if weights is None else weights[start:end]
                self._in_mask[start:end] = shares == shares.max()

    def sums(self, values: Array) -> Sums:
        """Measure a map.

        Args:
            values: Relevance, [D, H, W], float32 or float64; one that is not finite shows in ``Sums.finite``.
        """
        entries, regions = self.placed.entries, len(self.placed.regions)
        found = self.placed.gathered(values)
        weighted = found if entries.weights is None else found * entries.weights
        rest, outside = self._outside(values)
        positive = np.append(self.placed.added(np.maximum(weighted, 0)), rest[0])
        negative = np.append(self.placed.added(np.minimum(weighted, 0)), rest[1])
        peaks = np.full(regions + 1, -1, dtype=np.int64)
        sizes = np.where(self._in_mask, np.abs(found), -1.0)
        for k in range(regions):
            mine = slice(int(entries.starts[k]), int(entries.starts[k + 1]))
            if mine.stop > mine.start and (largest := sizes[mine].max()) > 0:
                peaks[k] = self._first(entries.voxels[mine][sizes[mine] == largest])
        peaks[-1] = outside
        there = np.unravel_index(np.maximum(peaks, 0), self.placed.grid.shape)
        return Sums(positive, negative, peaks, np.where(peaks < 0, np.nan, values[there].astype(np.float64)))

    def _outside(self, values: Array) -> tuple[tuple[float, float], int]:
        """Return the positive and the negative sum outside of the atlas, and the voxel of the peak there or -1."""
        flat, order = in_memory_order(values)
        rest = flat.copy()
        with np.errstate(invalid="ignore"):  # infinite times nothing: said of the whole map
            rest[self.placed.in_order(self._touched, "touched", order)] *= self._rest
        sums = float(np.maximum(rest, 0).sum(dtype=np.float64)), float(np.minimum(rest, 0).sum(dtype=np.float64))
        # A region's own voxel is no peak of what lies outside, though a part of it may.
        rest[self.placed.in_order(self._won, "won", order)] = 0
        largest = np.abs(rest, out=rest).max()
        if not largest > 0:
            return sums, -1
        places = np.unravel_index(np.flatnonzero(rest == largest), values.shape, order=order)
        return sums, self._first(np.ravel_multi_index(places, values.shape))

    def _first(self, voxels: npt.NDArray[Any]) -> int:
        """Return one of several flat indices (C order) whose relevance is equal."""
        if len(voxels) == 1:
            return int(voxels[0])
        places = np.stack(np.unravel_index(voxels, self.placed.grid.shape), axis=1)
        return int(voxels[first_in_world(places, self.placed.grid)])

    def columns(self, sums: Sums) -> dict[str, npt.NDArray[np.float64]]:
        """Return the columns of the table of regions, [R + 1] each; see ``region_table``."""
        placed = self.placed
        outside = float(np.prod(placed.grid.shape)) - placed.sizes.sum()
        voxels = np.append(placed.sizes, max(outside, 0.0))
        volume = voxels * placed.voxel_volume
        whole = float(sums.absolute.sum())
        x, y, z = self._world(sums.peaks)
        empty = voxels <= 0
        with np.errstate(invalid="ignore", divide="ignore"):
            share = sums.absolute / whole if whole > 0 else np.full(len(voxels), np.nan)
            corrected = share / (volume / volume[:-1].sum())
            corrected[-1] = np.nan  # what lies outside is no part of the atlas' volume
            found = {
                "voxels": voxels, "volume": volume, "sum": sums.total, "positive": sums.positive,
                "negative": sums.negative, "absolute": sums.absolute, "mean": sums.total / voxels,
                "density": sums.absolute / volume, "share": share, "size_corrected": corrected,
                "peak": np.where((sums.peaks < 0) & ~empty, 0.0, sums.values), "peak_x": x, "peak_y": y, "peak_z": z,
            }  # fmt: skip
        return {name: column if name in ("voxels", "volume") else np.where(empty, np.nan, column)
                for name, column in found.items()}  # fmt: skip

    def _world(self, peaks: npt.NDArray[np.int64]) -> Array:
        places = np.stack([*np.unravel_index(np.maximum(peaks, 0), self.placed.grid.shape), np.ones(len(peaks))])
        world = self.placed.grid.affine[:3] @ places
        return np.where(peaks < 0, np.nan, np.round(world, 3) + 0.0)
