"""How alike two maps are, voxel by voxel, as products of two profiles.

Each measure is a product of a profile of the relevance with a profile of the feature map, and a formula of that product
and of the profiles' sums. So the scores of everybody's relevance with everybody's feature map are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["MEASURES", "Measure", "density_ratio", "measures_for", "score", "top"]

Array = npt.NDArray[Any]
Profile = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: Column of the tables.
        left: Profile [V] of relevance [V], given the top percent.
        right: Profile [V] of a feature map [V].
        formula: The score of the profiles' product, the sum of the left one, that of the right one, and V.
        binary: Whether the feature must be a map of zeros and ones.
        strength: Whether relevance must not be negative.
        what: In words.
    """

    name: str
    left: Profile
    right: Profile
    formula: Callable[[Array, Array, Array, int], Array]
    what: str
    binary: bool = False
    strength: bool = False


def measures_for(*, binary: bool, signed: bool) -> list[Measure]:
    """Return the measures that are defined.

    Args:
        binary: Whether every feature map holds zeros and ones only.
        signed: Whether relevance may be below zero.
    """
    chosen = [m for m in MEASURES if (binary or not m.binary) and not (signed and m.strength)]
    return [m for m in chosen if not (binary and m.name == "dice" and not m.binary)]


def score(measure: Measure, relevance: Array, feature: Array, percent: float) -> float:
    """Return how alike two maps are.

    Args:
        measure: One of ``measures_for``.
        relevance: float64 [V], not constant.
        feature: float64 [V], not constant.
        percent: See ``top``.
    """
    left, right = measure.left(relevance, percent), measure.right(feature, percent)
    product = np.asarray(left @ right)
    return float(measure.formula(product, np.asarray(left.sum()), np.asarray(right.sum()), relevance.size))


def top(values: Array, percent: float) -> Array:
    """Return 1 for the voxels of the largest values, 0 for the others.

    Where several voxels have the value at which the line falls, each gets the chance with which a draw would take it,
    so that the sum is the number of voxels wanted, whatever their order.

    Args:
        values: [V].
        percent: Of the voxels, in (0, 100]; at least one voxel.

    Returns:
        float64 [V] in [0, 1].
    """
    wanted = max(1, round(values.size * percent / 100))
    limit = np.partition(values, values.size - wanted)[values.size - wanted]
    above, level = values > limit, values == limit
    return cast(Array, above + level * ((wanted - above.sum()) / level.sum()))


def density_ratio(share: float, inside: float, voxels: int) -> float:
    """Return relevance per voxel inside over outside; infinite where there is none outside.

    Args:
        share: Of the relevance that lies inside, in [0, 1].
        inside: Voxels inside.
        voxels: All voxels.
    """
    outside = (1 - share) / (voxels - inside)
    # A share of 1 - 1e-16 is rounding: all of the relevance lies inside.
    return float(share / inside / outside) if 1 - share > 1e-12 else float("inf")


def _plain(values: Array, _percent: float) -> Array:
    return values


def _ranks(values: Array, _percent: float) -> Array:
    return cast(Array, stats.rankdata(values))


def _shares(values: Array, _percent: float) -> Array:
    return cast(Array, values / values.sum())


def _direction(values: Array, _percent: float) -> Array:
    # Squares of 1e-200 or 1e200 would leave the range of float64.
    scaled = values / np.abs(values).max()
    return cast(Array, scaled / np.sqrt(scaled @ scaled))


def _deviation(values: Array, percent: float) -> Array:
    scaled = values / np.abs(values).max()
    return _direction(scaled - scaled.mean(), percent)


def _rank_deviation(values: Array, percent: float) -> Array:
    return _deviation(stats.rankdata(values), percent)


def _product(product: Array, _left: Array, _right: Array, _voxels: int) -> Array:
    return product


def _cosine(product: Array, _left: Array, _right: Array, _voxels: int) -> Array:
    return np.clip(product, -1, 1)


def _enrichment(product: Array, _left: Array, right: Array, voxels: int) -> Array:
    return cast(Array, product * voxels / right)


def _auc(product: Array, _left: Array, right: Array, voxels: int) -> Array:
    return cast(Array, (product - right * (right + 1) / 2) / (right * (voxels - right)))


def _dice(product: Array, left: Array, right: Array, _voxels: int) -> Array:
    return cast(Array, 2 * product / (left + right))


MEASURES = (
    Measure("pearson", _deviation, _deviation, _cosine, "Pearson's correlation over voxels"),
    Measure("spearman", _rank_deviation, _rank_deviation, _cosine, "Spearman's correlation over voxels, mean ranks"),
    Measure("cosine", _direction, _direction, _cosine, "cosine of the angle between the maps"),
    Measure("share", _shares, _plain, _product, "share of the relevance inside of the map", True, True),
    Measure("enrichment", _shares, _plain, _enrichment, "relevance per voxel inside over that of all voxels", True,
            True),
    Measure("auc", _ranks, _plain, _auc, "chance that a voxel inside has more relevance than one outside", True),
    Measure("dice", top, _plain, _dice, "Dice of the top percent of the relevance with the map", True),
    Measure("dice", top, top, _dice, "Dice of the top percent of both maps"),
)  # fmt: skip
