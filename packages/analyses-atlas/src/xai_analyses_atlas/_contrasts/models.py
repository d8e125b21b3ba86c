"""The t statistics of a contrast, voxel by voxel, for the people as they are and for shuffled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from xai_core import InputError

from .shuffles import Shuffles

__all__ = ["Estimates", "Linear", "Model", "Welch"]

Array = npt.NDArray[np.float64]

# Variation below this share of a voxel's own size is rounding of float32 maps, not a difference between people.
_NOISE = 1e-12
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimates:
    """What is found at V voxels. All arrays are [V], and 0 (``p``: 1) where ``tested`` is not set.

    Attributes:
        difference: Mean of the first group minus that of the second, mean against zero, or slope; adjusted for
            covariates.
        t: Student's or Welch's statistic.
        p: Two-sided, of the t distribution; one-sided where the test is.
        effect: Hedges' g, or the partial correlation of a slope.
        low: Of the effect's 95 % interval.
        high: Of the effect's 95 % interval.
        tested: Voxels in which people differ otherwise than by what is tested; elsewhere t does not exist.
        separated: Voxels that are not tested because what is tested explains all of them: people differ between groups
            and not within, or have one value that is not 0. There t would be infinite; elsewhere it would be 0 / 0.
    """

    difference: Array
    t: Array
    p: Array
    effect: Array
    low: Array
    high: Array
    tested: npt.NDArray[np.bool_]
    separated: npt.NDArray[np.bool_]


class Model(Protocol):
    """A test that can be repeated on shuffled people."""

    name: str
    df: float | None
    """Degrees of freedom; None where they differ from voxel to voxel."""

    def observed(self, y: Array, *, two_sided: bool) -> Estimates:
        """Return what is found in maps [N, V] of N people."""

    def prepared(self, y: Array) -> Array:
        """Return what is shuffled, [N, V]: the maps without what the covariates explain."""

    def shuffled(self, prepared: Array, shuffles: Shuffles) -> Array:
        """Return t [P, V] of P shuffles."""


class Linear:
    """Ordinary least squares: map ~ tested + nuisance, with one variance for all people.

    Args:
        tested: [N]: 1 and 0 for two groups, a column of numbers for a slope, ones for a mean against zero.
        nuisance: [N, k]: the intercept (not for a mean against zero) and the covariates; k may be 0.
        slope: Whether the effect size is a partial correlation; otherwise Hedges' g.
        names: Of the nuisance columns, for messages.

    Raises:
        InputError: Columns depend on each other, or there are not more people than columns.
    """

    def __init__(self, tested: Array, nuisance: Array, *, slope: bool, names: Sequence[str] = ()) -> None:
        people, columns = nuisance.shape
        if columns and np.linalg.matrix_rank(_scaled(nuisance), tol=1e-10) < columns:
            raise InputError(f"the covariates depend on each other: {_listed(names)}. Leave one out.")
        basis, _ = np.linalg.qr(_scaled(nuisance))
        self._basis = basis
        self._tested = tested - basis @ (basis.T @ tested)
        self._square = float(self._tested @ self._tested)
        if self._square <= 1e-10 * float(tested @ tested):
            raise InputError(f"what is tested follows from the covariates: {_listed(names)}. Leave one out.")
        self._people = people
        self._slope = slope
        df = people - columns - 1
        if df < 1:
            raise InputError(f"{people} people are too few for a test with {columns} other columns of the design.")
        self.df: float | None = float(df)
        self._df = float(df)
        self.name = "t test of a linear model" if columns > 1 or slope else "Student's t test"

    def observed(self, y: Array, *, two_sided: bool) -> Estimates:
        """Return what is found; the interval of g is that of Hedges and Olkin 1985, of a correlation Fisher's."""
        left_over = self.prepared(y)
        beta = self._tested @ left_over / self._square
        residual = left_over - self._tested[:, None] * beta
        squares = (residual**2).sum(axis=0)
        noise = _NOISE * (y**2).sum(axis=0)
        tested = squares > noise
        spread = np.sqrt(np.where(tested, squares, 1.0) / self._df)
        t = beta * np.sqrt(self._square) / spread
        if self._slope:
            effect, low, high = _correlation(t, self._df)
        else:
            effect, low, high = _hedges(beta / spread, self._df, 1 / self._square, self._people)
        p = _p(t, self._df, two_sided=two_sided)
        separated = ~tested & (beta**2 * self._square > noise)
        return _masked(Estimates(beta, t, p, effect, low, high, tested, separated))

    def prepared(self, y: Array) -> Array:
        """Return residuals of the nuisance columns."""
        return y - self._basis @ (self._basis.T @ y)

    def shuffled(self, prepared: Array, shuffles: Shuffles) -> Array:
        """Freedman and Lane 1983: the residuals of the reduced model are shuffled, and the full model fitted anew."""
        whole = (prepared**2).sum(axis=0)
        beta = shuffles.weights(self._tested) @ prepared
        left = whole - beta**2 / self._square
        for column in self._basis.T:
            if not (shuffles.orders and np.ptp(column) <= 1e-12):  # a constant stays constant in another order
                left -= (shuffles.weights(column) @ prepared) ** 2
        np.maximum(left, _NOISE * whole, out=left)
        return _quotient(beta, np.sqrt(self._square * left / self._df))


class Welch:
    """The t test for two groups whose variances may differ (Welch 1947), without covariates.

    Its permutation test keeps its error rate in large samples where variances differ, which that of the difference of
    means does not (Janssen 1997).

    Args:
        first: bool [N], who is in the first group; the others are in the second.

    Raises:
        InputError: A group has fewer than two people.
    """

    name = "Welch's t test"
    df: float | None = None

    def __init__(self, first: npt.NDArray[np.bool_]) -> None:
        self._first = np.asarray(first, dtype=np.float64)
        self._sizes = (float(self._first.sum()), float(len(first) - self._first.sum()))
        if min(self._sizes) < 2:
            raise InputError("a group has fewer than two people, so it has no variance.")

    def observed(self, y: Array, *, two_sided: bool) -> Estimates:
        """Return what is found; g stands on the pooled standard deviation."""
        (n1, n2), chosen = self._sizes, self._first.astype(bool)
        means = [y[chosen].mean(axis=0), y[~chosen].mean(axis=0)]
        squares = [((y[mine] - mean) ** 2).sum(axis=0) for mine, mean in zip((chosen, ~chosen), means, strict=True)]
        noise = _NOISE * (y**2).sum(axis=0)
        tested = squares[0] + squares[1] > noise
        v1, v2 = squares[0] / (n1 - 1) / n1, squares[1] / (n2 - 1) / n2
        error = np.where(tested, v1 + v2, 1.0)
        difference = means[0] - means[1]
        t = difference / np.sqrt(error)
        df = np.where(tested, error**2 / np.where(tested, v1**2 / (n1 - 1) + v2**2 / (n2 - 1), 1.0), 1.0)
        pooled = np.sqrt(np.where(tested, squares[0] + squares[1], 1.0) / (n1 + n2 - 2))
        effect, low, high = _hedges(difference / pooled, n1 + n2 - 2, 1 / n1 + 1 / n2, int(n1 + n2))
        separated = ~tested & (difference**2 * n1 * n2 / (n1 + n2) > noise)
        return _masked(Estimates(difference, t, _p(t, df, two_sided=two_sided), effect, low, high, tested, separated))

    def prepared(self, y: Array) -> Array:
        """Return the maps about their mean, so that no digits are lost in squares."""
        centred: Array = y - y.mean(axis=0)
        return centred

    def shuffled(self, prepared: Array, shuffles: Shuffles) -> Array:
        """Return t of groups to which people are assigned anew."""
        n1, n2 = self._sizes
        labels, squared = shuffles.weights(self._first), prepared**2
        sums, squares = labels @ prepared, labels @ squared
        total, whole = prepared.sum(axis=0), squared.sum(axis=0)
        spread = (squares - sums**2 / n1) / (n1 - 1) / n1
        spread += (whole - squares - (total - sums) ** 2 / n2) / (n2 - 1) / n2
        np.maximum(spread, _NOISE * whole / (n1 + n2), out=spread)
        return _quotient(sums / n1 - (total - sums) / n2, np.sqrt(spread))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name for name in names if name != "intercept")


def _scaled(columns: Array) -> Array:
    """Bring columns to one length, so that the unit of a covariate does not decide what counts as dependent."""
    sizes = np.linalg.norm(columns, axis=0)
    scaled: Array = columns / np.where(sizes > 0, sizes, 1.0)
    return scaled


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Divide where there is something to divide by; a voxel in which everybody is equal has 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _p(t: Array, df: Array | float, *, two_sided: bool) -> Array:
    p: Array = 2 * special.stdtr(df, -np.abs(t)) if two_sided else special.stdtr(df, -t)
    return p


def _hedges(d: Array, df: float, variance: float, people: int) -> tuple[Array, Array, Array]:
    """Return Hedges' g of d and its interval.

    Args:
        d: Difference in standard deviations.
        df: Of that deviation.
        variance: Of a difference, in units of the variance of one map: 1 / n1 + 1 / n2 for two groups.
        people: All of them.
    """
    g = d * (1 - 3 / (4 * df - 1))
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, df)) * np.sqrt(variance + g**2 / (2 * people))
    return g, g - reach, g + reach


def _correlation(t: Array, df: float) -> tuple[Array, Array, Array]:
    """Return the partial correlation that belongs to t, and Fisher's interval."""
    r = t / np.sqrt(t**2 + df)
    if df < 2:
        return r, np.full_like(r, -1.0), np.ones_like(r)
    reach = float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) / np.sqrt(df - 1)
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return r, np.tanh(z - reach), np.tanh(z + reach)


def _masked(found: Estimates) -> Estimates:
    def zero(values: Any, other: float = 0.0) -> Array:
        return np.where(found.tested, values, other)

    return Estimates(
        zero(found.difference), zero(found.t), zero(found.p, 1.0), zero(found.effect), zero(found.low),
        zero(found.high), found.tested, found.separated,
    )  # fmt: skip
