"""How two maps differ, as numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "compare", "cosine", "pearson"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """Differences of a map B from a map A; None where a number is not defined.

    Attributes:
        voxels: How many values were compared.
        identical: Whether every value is the same.
        pearson: Correlation over voxels in [-1, 1]; None where a map is constant.
        spearman: Correlation of ranks, ties with their mean rank; None where a map is constant or it was not asked for.
        cosine: Of the angle between the maps, in [-1, 1]; None where a map is zero everywhere.
        l1_relative: sum |B - A| / sum |A|; None where A is zero everywhere and B is not.
        largest_relative: max |B - A| / max |A|; None likewise.
        largest_difference: max |B - A|, in units of the maps.
        largest_a: max |A|.
        largest_b: max |B|.
        sum_a: Sum of A.
        sum_b: Sum of B.
        sum_difference: Sum of B minus sum of A.
    """

    voxels: int
    identical: bool
    pearson: float | None
    spearman: float | None
    cosine: float | None
    l1_relative: float | None
    largest_relative: float | None
    largest_difference: float
    largest_a: float
    largest_b: float
    sum_a: float
    sum_b: float
    sum_difference: float

    def exceeds(self, tolerance: float) -> bool:
        """Return whether the largest relative difference is above a tolerance; one that is not defined is."""
        return self.largest_relative is None or not self.largest_relative <= tolerance

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return asdict(self)


def compare(first: Array, second: Array, *, spearman: bool = False) -> Comparison:
    """Compare two maps.

    Args:
        first: A, float64, finite, at least one value.
        second: B, of the same shape.
        spearman: Whether ranks are compared too.
    """
    a, b = first.ravel(), second.ravel()
    difference = b - a
    largest, largest_a = float(np.abs(difference).max()), float(np.abs(a).max())
    sum_a, sum_b = float(a.sum()), float(b.sum())
    return Comparison(
        voxels=a.size,
        identical=bool((a == b).all()),
        pearson=pearson(a, b),
        spearman=_spearman(a, b) if spearman else None,
        cosine=cosine(a, b),
        l1_relative=_ratio(float(np.abs(difference).sum()), float(np.abs(a).sum())),
        largest_relative=_ratio(largest, largest_a),
        largest_difference=largest,
        largest_a=largest_a,
        largest_b=float(np.abs(b).max()),
        sum_a=sum_a,
        sum_b=sum_b,
        sum_difference=sum_b - sum_a,
    )


def pearson(a: Array, b: Array) -> float | None:
    """Return Pearson's correlation of two vectors; None where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return None
    a, b = _scaled(a), _scaled(b)
    return cosine(a - a.mean(), b - b.mean())


def cosine(a: Array, b: Array) -> float | None:
    """Return the cosine of the angle between two vectors; None where one is zero."""
    if not a.any() or not b.any():
        return None
    a, b = _scaled(a), _scaled(b)
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def _scaled(values: Array) -> Array:
    """Divide by the largest absolute value: squares of 1e-200 or 1e200 would leave the range of float64."""
    scaled: Array = values / np.abs(values).max()
    return scaled


def _spearman(a: Array, b: Array) -> float | None:
    from scipy.stats import rankdata

    return pearson(rankdata(a), rankdata(b))


def _ratio(part: float, whole: float) -> float | None:
    if whole == 0:
        return 0.0 if part == 0 else None
    return part / whole
