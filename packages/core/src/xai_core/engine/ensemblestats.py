"""Relevance maps of several networks of one scan, as one: mean, median, spread and agreement, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import InputError

__all__ = ["Aggregate", "Normalise", "Voxels", "aggregate"]

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Normalise = Literal["none", "sum", "max"]

_SLAB_VALUES = 32_000_000  # float32 values of all members together that the median holds at a time: 128 MB


class Voxels(Protocol):
    """What a NumPy array, a memory map and nibabel's ``dataobj`` have in common: read as a whole or by slabs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the map."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return a part."""


@dataclass(frozen=True)
class Aggregate:
    """Maps of several members, voxel by voxel.

    Attributes:
        mean: float32, weighted where weights were given.
        median: float32, unweighted.
        sd: float32, standard deviation between members (n - 1; with weights n_eff as of reliability weights).
        agreement: float32 in 0..1, the share of members on the side of the more frequent sign; 0 where all are 0.
        mean_agreement: Mean of ``agreement`` over voxels where any member is not 0; None: there are none.
        pearson: Mean correlation between two members over those voxels; None: a member is constant there.
        spearman: The same of ranks.
        divisors: What each member's map was divided by.
        sums: Sum of each member's map before that.
    """

    mean: npt.NDArray[np.float32]
    median: npt.NDArray[np.float32]
    sd: npt.NDArray[np.float32]
    agreement: npt.NDArray[np.float32]
    mean_agreement: float | None
    pearson: float | None
    spearman: float | None
    divisors: tuple[float, ...]
    sums: tuple[float, ...]


def aggregate(
    maps: Sequence[Voxels],
    *,
    weights: Sequence[float] | None = None,
    normalise: Normalise = "none",
    slab_values: int = _SLAB_VALUES,
) -> Aggregate:
    """Aggregate maps that lie on one grid.

    Mean and standard deviation are updated map by map (West 1979, the weighted form of Welford's update), the median
    is taken slab by slab, and the mean correlation of all pairs follows from the sum of the standardised maps: no more
    than a few maps are in memory, however many members there are.

    Args:
        maps: One for each member, all of one shape; a channel axis may come last.
        weights: One positive number for each member, for mean and standard deviation; default: equal.
        normalise: Members on other scales weigh more in a mean. ``none`` keeps the mean of the members' relevance (of
            logits), ``sum`` divides each map by the sum of its absolute values, ``max`` by the largest of them.
        slab_values: How many values of all maps together the median may hold at a time.

    Raises:
        InputError: Fewer than two maps, other shapes, or a value that is NaN or infinite.
    """
    shapes = {tuple(one.shape) for one in maps}
    if len(maps) < 2 or len(shapes) > 1:
        told = "is nothing to aggregate" if len(maps) < 2 else f"have the shapes {sorted(shapes)}"
        raise InputError(f"{len(maps)} maps {told}. Give two or more maps on one grid.")
    shape = shapes.pop()
    shares = [1.0] * len(maps) if weights is None else [float(weight) for weight in weights]
    mean, squares = np.zeros(shape), np.zeros(shape)
    positive, negative = np.zeros(shape, dtype=np.uint16), np.zeros(shape, dtype=np.uint16)
    total = 0.0
    divisors, sums = [], []
    for number, (one, weight) in enumerate(zip(maps, shares, strict=True)):
        values = _values(one, number)
        sums.append(float(values.sum()))
        divisors.append(_divisor(values, normalise))
        values /= divisors[-1]
        positive += values > 0
        negative += values < 0
        total += weight
        delta = values - mean
        mean += delta * (weight / total)
        delta *= values - mean
        squares += weight * delta
    any_relevance = (positive > 0) | (negative > 0)
    agreement = np.maximum(positive, negative).astype(np.float32) / np.float32(len(maps))
    pearson, spearman = _correlations(maps, any_relevance)
    freedom = total - sum(weight**2 for weight in shares) / total
    return Aggregate(
        mean=mean.astype(np.float32),
        median=_median(maps, divisors, slab_values),
        sd=np.sqrt(np.maximum(squares, 0) / freedom).astype(np.float32),
        agreement=agreement,
        mean_agreement=float(agreement[any_relevance].mean(dtype=np.float64)) if any_relevance.any() else None,
        pearson=pearson,
        spearman=spearman,
        divisors=tuple(divisors),
        sums=tuple(sums),
    )


def _values(one: Voxels, number: int) -> Doubles:
    values = np.array(one[...], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"The map of member {number + 1} holds NaN or infinite values. Make it again.")
    return values


def _divisor(values: Doubles, normalise: Normalise) -> float:
    """Return what a map is divided by; 1 for a map of zeros, which stays one."""
    if normalise == "none":
        return 1.0
    size = np.abs(values).sum() if normalise == "sum" else np.abs(values).max(initial=0)
    return float(size) or 1.0


def _correlations(maps: Sequence[Voxels], where: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return the mean of Pearson's and of Spearman's coefficient over all pairs of maps, in the voxels ``where``.

    With z-scores of unit length the sum of all pairs' products is that of the squared sum less its diagonal.
    """
    if int(where.sum()) < 2:
        return None, None
    sums: list[Doubles | None] = [np.zeros(int(where.sum())), np.zeros(int(where.sum()))]
    for number, one in enumerate(maps):
        values = _values(one, number)[where]
        for kind in (0, 1):
            unit, found = (
                _unit(values if kind == 0 else np.asarray(stats.rankdata(values), dtype=np.float64)),
                sums[kind],
            )
            sums[kind] = None if unit is None or found is None else found + unit
    pairs = len(maps) * (len(maps) - 1)
    pearson, spearman = (None if found is None else float((found @ found - len(maps)) / pairs) for found in sums)
    return pearson, spearman


def _unit(values: Doubles) -> Doubles | None:
    """Return values with mean 0 and length 1; None where they are all the same."""
    if values.min() == values.max():
        return None
    centred: Doubles = values - values.mean()
    return centred / np.linalg.norm(centred)


def _median(maps: Sequence[Voxels], divisors: Sequence[float], slab_values: int) -> npt.NDArray[np.float32]:
    """Return the median of the members, taken along slabs of the third axis (the last spatial one)."""
    shape = tuple(maps[0].shape)
    median = np.zeros(shape, dtype=np.float32)
    depth = shape[2]
    slabs = max(1, min(depth, ceil(len(maps) * float(np.prod(shape)) / slab_values)))
    for part in np.array_split(np.arange(depth), slabs):
        slab = slice(int(part[0]), int(part[-1]) + 1)
        stack = np.stack([
            np.asarray(one[:, :, slab], dtype=np.float64) / divisor
            for one, divisor in zip(maps, divisors, strict=True)
        ])  # fmt: skip
        median[:, :, slab] = np.median(stack, axis=0)
    return median
