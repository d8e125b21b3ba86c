"""Bootstrap intervals, people drawn with replacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["BootstrapIntervals", "bootstrap_intervals"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of P estimates.

    Attributes:
        low: [P]; NaN where the interval is not defined (see ``bootstrap_intervals``).
        high: [P].
        usable: int [P], resamples in which the estimate was defined.
    """

    low: Array
    high: Array
    usable: npt.NDArray[np.int64]


def bootstrap_intervals(
    estimate: Callable[[npt.NDArray[np.int64]], Array],
    people: int,
    resamples: int,
    generator: np.random.Generator,
    method: Literal["bca", "percentile"] = "bca",
    *,
    confidence: float = 0.95,
    least: float = 0.9,
) -> BootstrapIntervals:
    """Draw people with replacement and return an interval for each of P estimates.

    The interval is the quantiles of the resamples (Efron 1979), or these corrected for bias and acceleration (BCa,
    Efron 1987), as in ``scipy.stats.bootstrap``. A resample in which an estimate is NaN (only one value of a column
    was drawn) does not count for it; where fewer than the share ``least`` are left, or the resamples lie on one side
    of the estimate, there is no interval.

    Args:
        estimate: Takes row numbers [m] and returns the estimates [P] of these rows.
        people: Rows that there are.
        resamples: How many times they are drawn.
        generator: Draws them; all estimates share the draws.
        method: ``"bca"`` or ``"percentile"``.
        confidence: Level, in (0, 1).
        least: Share of the resamples that must be usable, in (0, 1].
    """
    whole = estimate(np.arange(people))
    drawn = generator.integers(0, people, (resamples, people))
    found = np.stack([estimate(rows) for rows in drawn])
    usable = np.isfinite(found).sum(axis=0)
    tail = (1 - confidence) / 2
    levels = np.tile([[tail], [1 - tail]], (1, len(whole)))
    if method == "bca":
        left_out = np.stack([estimate(np.delete(np.arange(people), row)) for row in range(people)])
        levels = _corrected(levels, whole, found, usable, left_out)
    defined = (usable >= least * resamples) & np.isfinite(levels).all(axis=0) & np.isfinite(whole)
    ends = np.full((2, len(whole)), np.nan)
    for place in np.flatnonzero(defined):
        values = found[:, place]
        ends[:, place] = np.quantile(values[np.isfinite(values)], levels[:, place])
    return BootstrapIntervals(ends[0], ends[1], usable.astype(np.int64))


def _corrected(levels: Array, whole: Array, found: Array, usable: npt.NDArray[Any], left_out: Array) -> Array:
    """Return the levels [2, P] that bias and acceleration make of the plain ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        below = ((found < whole).sum(axis=0) + (found <= whole).sum(axis=0)) / (2 * usable)
        bias = stats.norm.ppf(below)
        influence = left_out.mean(axis=0) - left_out
        cubes, squares = (influence**3).sum(axis=0), (influence**2).sum(axis=0)
        acceleration = cubes / (6 * squares**1.5)
        z = bias + stats.norm.ppf(levels)
        corrected = stats.norm.cdf(bias + z / (1 - acceleration * z))
    return cast(Array, np.where(np.isfinite(bias), corrected, np.nan))
