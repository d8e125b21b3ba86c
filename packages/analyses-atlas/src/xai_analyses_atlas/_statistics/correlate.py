"""Correlations between the columns of two tables of the same people, plain and given covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = [
    "CORRELATIONS", "CorrelationMethod", "Correlations", "columns", "correlation", "correlations",
    "partial_correlation", "residuals", "student", "unit_columns",
]  # fmt: skip

Array = npt.NDArray[np.float64]
CorrelationMethod = Literal["pearson", "spearman", "percentage-bend"]
CORRELATIONS: tuple[CorrelationMethod, ...] = get_args(CorrelationMethod)

# What is left of a column, relative to the column, below which it is rounding: the covariates explain all of it.
NOTHING_LEFT = 1e-9
_BEND = 0.2  # of the values at most are bent, as in Wilcox 1994


@dataclass(frozen=True)
class Correlations:
    """Correlations [R, F] of R columns with F columns.

    Attributes:
        n: People.
        df: n - 2 - number of covariates.
        estimate: In [-1, 1]; NaN where a column is constant, or the covariates explain all of it.
        low: Lower end of the confidence interval; NaN for the percentage-bend correlation, which has no known one.
        high: Upper end.
        statistic: t with ``df`` degrees of freedom; infinite where the estimate is 1 or -1.
        p: Two-sided.
    """

    n: int
    df: int
    estimate: Array
    low: Array
    high: Array
    statistic: Array
    p: Array


def correlation(
    y: npt.ArrayLike, x: npt.ArrayLike, method: CorrelationMethod = "pearson", *, confidence: float = 0.95
) -> Correlations:
    """Correlate two vectors [n], or each column of y [n, R] with each column of x [n, F].

    The interval is Fisher's z; Spearman's with the standard error of Bonett and Wright 2000 (sqrt((1 + r^2 / 2) /
    (n - 3))), since Fisher's is too short for ranks. p is from Student's t with n - 2 degrees of freedom, as in SciPy
    and, for the percentage-bend correlation (Wilcox 1994; up to 20 % of each variable's values are bent), pingouin.

    Args:
        y: Finite.
        x: Finite, the same people in the same order.
        method: Kind of the correlation.
        confidence: Level of the interval, in (0, 1).

    Returns:
        Arrays [R, F]; [1, 1] for two vectors.

    Raises:
        ValueError: Fewer than 4 people, another number of them in x, or values that are not finite.
    """
    return _correlated(columns(y), columns(x), None, method, confidence)


def partial_correlation(
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    covariates: npt.ArrayLike,
    method: Literal["pearson", "spearman"] = "pearson",
    *,
    confidence: float = 0.95,
) -> Correlations:
    """Correlate what covariates leave of two vectors [n], or of the columns of y [n, R] and x [n, F].

    Spearman's is Pearson's of the ranks of y and x and of the covariates *as they are given*: give ranks of
    covariates (``Design.matrix(ranks=True)``) for what is usually called the partial rank correlation. The interval is
    that of ``correlation`` with n - k in place of n, and p has n - 2 - k degrees of freedom, as in pingouin.

    Args:
        y: Finite.
        x: Finite.
        covariates: Finite [n, k] without a constant column.
        method: Kind of the correlation.
        confidence: Level of the interval, in (0, 1).

    Raises:
        ValueError: Fewer than k + 4 people, or values that are not finite.
    """
    return _correlated(columns(y), columns(x), columns(covariates), method, confidence)


def correlations(y: Array, x: Array, covariates: Array | None, method: CorrelationMethod) -> Array:
    """Return the estimates [R, F] alone; nothing is checked. NaN where a column is constant.

    Args:
        y: [n, R].
        x: [n, F].
        covariates: [n, k] or None; not for the percentage-bend correlation.
        method: Kind of the correlation.
    """
    return np.clip(unit_columns(y, covariates, method).T @ unit_columns(x, covariates, method), -1, 1)


def unit_columns(values: Array, covariates: Array | None, method: CorrelationMethod) -> Array:
    """Return columns [n, C] of length one whose products are the correlations; NaN where nothing is left of one."""
    if method == "percentage-bend":
        return _bent(values)
    used = stats.rankdata(values, axis=0) if method == "spearman" else values
    about = used - used.mean(axis=0)
    spread = np.linalg.norm(about, axis=0)
    left_over = residuals(used, covariates)
    length = np.linalg.norm(left_over, axis=0)
    # A column of 0.1 has a spread of 1e-17 about its mean: rounding is no variation.
    constant = spread <= 1e-13 * np.abs(used).max(axis=0) * np.sqrt(len(used))
    return left_over / np.where(constant | (length <= NOTHING_LEFT * spread), np.nan, length)


def residuals(values: Array, covariates: Array | None) -> Array:
    """Return what a least-squares fit of an intercept and covariates [n, k] leaves of columns [n, C]."""
    about = values - values.mean(axis=0)
    if covariates is None or not covariates.shape[1]:
        return cast(Array, about)
    basis = np.linalg.qr(covariates - covariates.mean(axis=0))[0]
    return cast(Array, about - basis @ (basis.T @ about))


def student(estimate: Array, df: int) -> Array:
    """Return Student's t of correlations with ``df`` degrees of freedom; infinite for 1 and -1."""
    with np.errstate(divide="ignore"):
        found: Array = estimate * np.sqrt(df / (1 - estimate**2))
        return found


def columns(values: npt.ArrayLike) -> Array:
    """Return a vector [n] as one column, and a table [n, C] as it is.

    Raises:
        ValueError: It has other dimensions, or values that are not finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim not in (1, 2):
        raise ValueError(f"the values have the shape {found.shape}, but must be [n] or [n, columns]")
    if not np.isfinite(found).all():
        raise ValueError(f"{int((~np.isfinite(found)).sum())} values are not finite")
    return found[:, None] if found.ndim == 1 else found


def _correlated(
    y: Array, x: Array, covariates: Array | None, method: CorrelationMethod, confidence: float
) -> Correlations:
    count = 0 if covariates is None else covariates.shape[1]
    n = len(y)
    if len(x) != n or (covariates is not None and len(covariates) != n):
        raise ValueError(f"y has {n} people, x {len(x)}" + ("" if covariates is None else f", and {len(covariates)}"))
    if n < count + 4:
        raise ValueError(f"{n} people are too few for a correlation given {count} covariates: {count + 4} are needed")
    estimate = correlations(y, x, covariates, method)
    df = n - 2 - count
    statistic = student(estimate, df)
    p: Array = 2 * stats.t.sf(np.abs(statistic), df)
    low, high = _interval(estimate, n - count, method, confidence)
    return Correlations(n, df, estimate, low, high, statistic, p)


def _interval(estimate: Array, n: int, method: CorrelationMethod, confidence: float) -> tuple[Array, Array]:
    if method == "percentage-bend":
        return np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    spread = 1.0 if method == "pearson" else np.sqrt(1 + estimate**2 / 2)
    half = stats.norm.ppf((1 + confidence) / 2) * spread / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        z = np.arctanh(estimate)
    return cast(Array, np.tanh(z - half)), cast(Array, np.tanh(z + half))


def _bent(values: Array) -> Array:
    n = len(values)
    centre = np.median(values, axis=0)
    size = np.sort(np.abs(values - centre), axis=0)[max(int((1 - _BEND) * n), 1) - 1]
    scale = np.where(size > 0, size, np.nan)  # NaN: most of the values are one and the same
    far = np.abs(values - centre) > scale
    above, below = (far & (values > centre)).sum(axis=0), (far & (values < centre)).sum(axis=0)
    location = (np.where(far, 0, values).sum(axis=0) + scale * (above - below)) / (n - above - below)
    bent = np.clip((values - location) / scale, -1, 1)
    return cast(Array, bent / np.linalg.norm(bent, axis=0))
