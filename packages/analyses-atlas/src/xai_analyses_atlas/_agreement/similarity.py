"""How alike two maps are, voxel by voxel; nothing here depends on their scales."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

__all__ = ["MEASURES", "Prepared", "Sign", "Similarity", "prepared", "signed", "similarity", "top_weights"]

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Sign = Literal["signed", "absolute", "positive"]
MEASURES = ("pearson", "spearman", "dice")

_CHUNK = 2**18


@dataclass(frozen=True)
class Prepared:
    """A map within the brain, ready for many comparisons.

    Attributes:
        unit: [V] centred, of length one; None where the map is constant there.
        ranks: [V] of its ranks (ties share their mean rank), likewise.
        top: [V] in 0..1, how far a voxel is among the top share; None where the map is constant.
    """

    unit: Single | None
    ranks: Single | None
    top: Single | None

    @property
    def voxels(self) -> int:
        """V; 0 of a constant map."""
        return 0 if self.unit is None else len(self.unit)


@dataclass(frozen=True)
class Similarity:
    """Of two maps; None where one of them is constant.

    Attributes:
        pearson: Correlation over voxels.
        spearman: Of their ranks.
        dice: 2 |A and B| / (|A| + |B|) of their top shares; of unrelated maps it is the share itself on average.
    """

    pearson: float | None
    spearman: float | None
    dice: float | None


def signed(values: Array, sign: Sign) -> Array:
    """Return values as they are, their sizes, or only those above zero (0 elsewhere)."""
    if sign == "signed":
        return values
    found: Array = np.abs(values) if sign == "absolute" else np.maximum(values, 0)
    return found


def prepared(values: Array, top: float) -> Prepared:
    """Prepare a map.

    Args:
        values: [V], finite.
        top: Share of voxels with the largest values, in (0, 1).
    """
    if values.min() == values.max():
        return Prepared(None, None, None)
    return Prepared(_unit(values), _unit(rankdata(values)), top_weights(values, top))


def top_weights(values: Array, top: float) -> Single:
    """Return how far each voxel [V] is among the k = ceil(top V) largest values; the sum is k.

    Voxels above the k-th largest value count 1. Those that have this value share the places that are left: a coarse map
    has thousands of them, and picking some by their position would be chance.
    """
    count = max(1, ceil(round(top * len(values), 6)))
    limit = np.partition(values, len(values) - count)[len(values) - count]
    above, same = values > limit, values == limit
    weights: Single = above.astype(np.float32)
    weights[same] = (count - int(above.sum())) / int(same.sum())
    return weights


def similarity(first: Prepared, second: Prepared) -> Similarity:
    """Compare two maps of the same voxels."""
    dice = None
    if first.top is not None and second.top is not None:
        shared = float(np.minimum(first.top, second.top).sum(dtype=np.float64))
        dice = 2 * shared / float(first.top.sum(dtype=np.float64) + second.top.sum(dtype=np.float64))
    return Similarity(_product(first.unit, second.unit), _product(first.ranks, second.ranks), dice)


def _unit(values: Array) -> Single:
    about: Array = values / np.abs(values).max()  # squares of 1e-200 would be zero
    about -= about.mean()
    about /= np.linalg.norm(about)
    return np.asarray(about, dtype=np.float32)


def _product(first: Single | None, second: Single | None) -> float | None:
    if first is None or second is None:
        return None
    # In float64, a piece at a time: two million products in float32 lose the sixth digit.
    total = sum(
        float(np.dot(first[start : start + _CHUNK].astype(np.float64), second[start : start + _CHUNK]))
        for start in range(0, len(first), _CHUNK)
    )
    return float(np.clip(total, -1, 1))
