"""Intraclass correlation coefficients of single measurements, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import f as fisher

__all__ = ["Icc", "Kind", "intraclass"]

Array = npt.NDArray[np.float64]
Kind = Literal["ICC(2,1)", "ICC(3,1)"]

_LEAST = 3
# Mean squares below this share of the values' squares are rounding.
_EXACT = 1e-24


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation.

    Attributes:
        kind: ``ICC(2,1)``: absolute agreement, McGraw and Wong's ICC(A,1): a rater who is always higher counts against
            it. ``ICC(3,1)``: consistency, their ICC(C,1): it does not.
        n: People.
        k: Raters.
        value: At most 1; it can be below 0.
        low: Lower end of the 95 % interval.
        high: Upper end.
        f: Mean square of people / of error; infinite where there is no error.
        df1: Of ``f``.
        df2: Of ``f``.
        p: That ``f`` is as large by chance (the coefficient is 0).
    """

    kind: Kind
    n: int
    k: int
    value: float
    low: float
    high: float
    f: float
    df1: int
    df2: int
    p: float


def intraclass(values: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[Icc, Icc] | str:
    """Return ICC(2,1) and ICC(3,1) of people by raters.

    Coefficients: Shrout and Fleiss, Intraclass correlations: uses in assessing rater reliability, Psychological
    Bulletin 1979. Intervals: McGraw and Wong, Forming inferences about some intraclass correlation coefficients,
    Psychological Methods 1996.

    Args:
        values: [n, k], finite: each of k raters measured each of n people once.
        confidence: Level of the intervals, in (0, 1).

    Returns:
        Both, or why they are not defined: too few people or raters, or every value is the same.
    """
    table = np.asarray(values, dtype=np.float64)
    n, k = table.shape
    if n < _LEAST or k < 2:
        return f"{n} people and {k} raters; {_LEAST} and 2 are needed"
    size = float(np.abs(table).max())
    if table.min() == table.max():
        return f"every value is {size:.6g}"
    about = table / size - (table / size).mean()
    people, raters, error = _mean_squares(about)
    df1, df2 = n - 1, (n - 1) * (k - 1)
    f = people / error if error > 0 else np.inf
    p = float(fisher.sf(f, df1, df2))
    levels = ((1 + confidence) / 2, df1, df2)
    consistent = (people - error) / (people + (k - 1) * error)
    absolute = (people - error) / (people + (k - 1) * error + k * (raters - error) / n)
    low, high = _consistency_interval(f, k, *levels)
    first = Icc("ICC(2,1)", n, k, absolute, *_absolute_interval(people, raters, error, n, k, levels[0]), f, df1, df2, p)
    return first, Icc("ICC(3,1)", n, k, consistent, low, high, f, df1, df2, p)


def _mean_squares(about: Array) -> tuple[float, float, float]:
    """Return the mean squares of people, raters and error of values [n, k] about their mean."""
    n, k = about.shape
    rows, columns = about.mean(axis=1), about.mean(axis=0)
    rest = about - rows[:, None] - columns
    people = k * float(rows @ rows) / (n - 1)
    raters = n * float(columns @ columns) / (k - 1)
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    return people, raters, error if error > _EXACT else 0.0


def _consistency_interval(f: float, k: int, level: float, df1: int, df2: int) -> tuple[float, float]:
    if np.isinf(f):
        return 1.0, 1.0
    low, high = f / fisher.ppf(level, df1, df2), f * fisher.ppf(level, df2, df1)
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def _absolute_interval(people: float, raters: float, error: float, n: int, k: int, level: float) -> tuple[float, float]:
    """McGraw and Wong 1996, table 7: the degrees of freedom of the denominator are Satterthwaite's."""
    value = (people - error) / (people + (k - 1) * error + k * (raters - error) / n)
    if value == 1:
        return 1.0, 1.0
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    weighted = a * raters, b * error
    df = sum(weighted) ** 2 / (weighted[0] ** 2 / (k - 1) + weighted[1] ** 2 / ((n - 1) * (k - 1)))
    other = k * raters + (k * n - k - n) * error
    lower, upper = fisher.ppf(level, n - 1, df), fisher.ppf(level, df, n - 1)
    low = n * (people - lower * error) / (lower * other + n * people)
    high = n * (upper * people - error) / (other + n * upper * people)
    return float(low), float(high)
