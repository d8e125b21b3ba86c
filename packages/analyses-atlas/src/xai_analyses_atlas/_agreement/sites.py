"""Whether maps of one scanner are more alike than maps of different ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import orth

from .._statistics import is_number
from .similarity import Sign, signed

if TYPE_CHECKING:
    from .._stack import Stack

__all__ = ["Covariation", "SiteTest", "correlations_between", "covariation", "site_test"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SiteTest:
    """Similarity of people's maps within and between sites.

    Attributes:
        within: Mean similarity of two people of one site.
        between: Of two people of different sites.
        adjusted: ``within - between`` between pairs that are alike in the covariates: the coefficient of "same site" in
            a linear model of the similarity.
        t: Of that coefficient, as a statistic only: pairs that share a person are not independent.
        p: Two-sided, by permutation of people; at least 1 / (permutations + 1).
    """

    within: float
    between: float
    adjusted: float
    t: float
    p: float


@dataclass(frozen=True)
class Covariation:
    """How people differ otherwise.

    Attributes:
        pairs: [M, q] columns of the M pairs of people, those above the diagonal of [N, N] row by row. A category gives
            one for each pair of its levels (two patients may be more alike than two controls), a number |a - b| and
            a + b.
        strata: [N] people who share all categories have the same number.
    """

    pairs: Array
    strata: npt.NDArray[np.int64]


def correlations_between(stack: Stack, sign: Sign) -> Array:
    """Return Pearson's correlations [N, N] of a stack's maps over its voxels; NaN where a map is constant."""
    n, voxels = stack.values.shape
    total, products = np.zeros(n), np.zeros((n, n))
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for _part, raw in stack.chunks():
        values = signed(raw, sign)
        total += values.sum(axis=1)
        products += values @ values.T
        low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    covariance = products - np.outer(total, total) / voxels
    spread = np.sqrt(np.where(low < high, np.diag(covariance), np.nan))
    return cast(Array, np.clip(covariance / np.outer(spread, spread), -1, 1))


def covariation(people: pd.DataFrame, covariates: Sequence[str]) -> Covariation:
    """Return columns and strata of covariates, none of them missing."""
    first, second = np.triu_indices(len(people), 1)
    columns = []
    strata = np.zeros(len(people), dtype=np.int64)
    for name in covariates:
        if is_number(people[name]):
            numbers = people[name].to_numpy(np.float64)
            columns += [np.abs(numbers[first] - numbers[second]), numbers[first] + numbers[second]]
            continue
        codes, levels = pd.factorize(people[name].astype(str), sort=True)
        kinds = np.sort(np.stack([codes[first], codes[second]]), axis=0)
        kind = kinds[0] * len(levels) + kinds[1]
        columns += [(kind == each).astype(np.float64) for each in np.unique(kind)[1:]]
        strata = np.unique(strata * len(levels) + codes, return_inverse=True)[1]
    return Covariation(np.column_stack(columns) if columns else np.zeros((len(first), 0)), strata)


def site_test(
    similarity: Array, sites: Sequence[str], others: Covariation, permutations: int, generator: np.random.Generator
) -> SiteTest | None:
    """Test whether two people of one site have maps that are more alike, given how they differ otherwise.

    A multiple regression of the matrix of similarities on "same site" and the covariates; what these leave of "same
    site" is permuted by people (double semi-partialing: Dekker, Krackhardt and Snijders, Sensitivity of MRQAP tests to
    collinearity and autocorrelation conditions, Psychometrika 2007), among people of the same categories only: exact
    for categories, which sites often differ in, and an approximation for numbers.

    Args:
        similarity: [N, N], symmetric, finite.
        sites: [N]; two at least, one of them with two people.
        others: Of the same people.
        permutations: Of people.
        generator: Draws them.

    Returns:
        The test; None where the covariates say who is of one site.
    """
    n = len(sites)
    upper = np.triu_indices(n, 1)
    names = np.asarray(sites, dtype=object)
    same = (names[upper[0]] == names[upper[1]]).astype(np.float64)
    alike = similarity[upper]
    basis = _basis(others.pairs)
    y, x = _rest(alike, basis), _rest(same, basis)
    if np.linalg.norm(x) <= 1e-9 * np.linalg.norm(same):
        return None
    df = len(same) - basis.shape[1] - 1
    square = np.zeros((n, n))
    square[upper] = x
    square += square.T
    coefficient, t = _slope(y, x, df)
    extreme = 0
    for _ in range(permutations):
        order = _shuffled(others.strata, generator)
        extreme += abs(_slope(y, _rest(square[np.ix_(order, order)][upper], basis), df)[1]) >= abs(t) * (1 - 1e-9)
    p = (extreme + 1) / (permutations + 1)
    return SiteTest(float(alike[same == 1].mean()), float(alike[same == 0].mean()), coefficient, t, p)


def _basis(columns: Array) -> Array:
    """Return an orthonormal basis [M, r] of an intercept and columns, which may repeat each other."""
    spread = columns.std(axis=0)
    scaled = (columns - columns.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    return cast(Array, orth(np.column_stack([np.ones(len(columns)), scaled]), rcond=1e-9))


def _shuffled(strata: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    order = np.arange(len(strata))
    for stratum in np.unique(strata):
        places = np.flatnonzero(strata == stratum)
        order[places] = generator.permutation(places)
    return order


def _rest(values: Array, basis: Array) -> Array:
    return values - basis @ (basis.T @ values)


def _slope(y: Array, x: Array, df: int) -> tuple[float, float]:
    """Return the coefficient of x in a regression of y on it and its t; both are free of the other columns."""
    size = float(x @ x)
    if size == 0:
        return 0.0, 0.0
    slope = float(x @ y) / size
    left = float(y @ y) - slope**2 * size
    return slope, slope / np.sqrt(max(left, 0.0) / df / size) if left > 0 else float(np.copysign(np.inf, slope))
