"""The relation of two maps, or of a map and a number of each person, across people and voxel by voxel."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from xai_core import InputError

from .._contrasts.models import Estimates
from .._contrasts.shuffles import Shuffles

__all__ = ["Association"]

Array = npt.NDArray[np.float64]

# Variation below this share of a voxel's own sum of squares is rounding of float32 maps, not a difference of people.
_NOISE = 1e-12
_CLOSEST = 1 - 1e-12  # of r squared: t of a perfect relation stays a number
_VOXELS = 256  # at a time, so that a shuffled block stays in the processor's cache
_EXACT = 16  # up to so many people in float64
_ROUNDED = 1 + 5e-6
_THREADS = 8
_CONFIDENCE = 0.95


class Association:
    """Least squares: map ~ feature + covariates, each voxel by itself; or the same with ranks.

    Its ``effect`` is the partial correlation given the covariates, ``difference`` the slope (of the ranks, for
    Spearman's). The interval is Fisher's; for ranks with the standard error of Bonett and Wright 2000. Rows of a table
    [M, V] that it is given are, without ``tested``, of one person after another: first the relevance, then the feature
    map (M = 2 N); with ``tested`` the relevance alone (M = N).

    Args:
        covariates: [N, k] without an intercept, columns independent of each other and of a constant; k may be 0.
        tested: A number of each person [N]; None: a feature map, with a value for each voxel.
        method: ``"pearson"`` or ``"spearman"``: ranks over people of relevance and feature; give ranks as covariates.
        least: A voxel is tested where at least this many people have relevance other than 0, and a feature other than
            0; where the feature is 0 or 1 for everybody, at least this many people must have 0, too.

    Raises:
        InputError: There are not more people than columns, or what is tested follows from the covariates.
    """

    def __init__(
        self, covariates: Array, tested: Array | None, method: Literal["pearson", "spearman"], *, least: int
    ) -> None:
        people, columns = covariates.shape
        df = people - columns - 2
        if df < 1:
            raise InputError(
                f"{people} people are too few for a relation with {columns} columns of covariates: at least "
                f"{columns + 3} are needed."
            )
        self.df: float | None = float(df)
        self._df = df
        self._ranks = method == "spearman"
        self.name = "rank correlation" if self._ranks else "t test of a linear model"
        self._basis = np.linalg.qr(np.column_stack([np.ones(people), _scaled(covariates)]))[0]
        self._least = least
        self._tested = None if tested is None else self._column(tested)

    def _column(self, tested: Array) -> Array:
        values = stats.rankdata(tested) if self._ranks else tested / (np.abs(tested).max() or 1.0)
        left = self._residuals(values[:, None])[:, 0]
        if float(left @ left) <= 1e-10 * float(values @ values):
            raise InputError("column: what is tested is constant, or follows from the covariates. Leave one out.")
        self._unit = 1.0 if self._ranks else float(np.abs(tested).max())
        return np.asarray(left)

    def observed(self, y: Array, *, two_sided: bool) -> Estimates:
        """Return what is found in the rows [M, V]."""
        relevance, feature = self._halves(y)
        counted = self._counted(relevance, feature)
        left, right = self._left_over(relevance), self._right(feature)
        own, other = (left**2).sum(axis=0), (right**2).sum(axis=0)
        tested = counted & (own > _NOISE * self._whole(relevance))
        if feature is not None:
            tested &= other > _NOISE * self._whole(feature)
        other = np.broadcast_to(other, own.shape)
        product = (left * right).sum(axis=0)
        r = product / np.sqrt(np.where(tested, own * other, 1.0))
        slope = product / np.where(tested, other, 1.0)
        if feature is None:
            slope = slope / self._unit
        t = self._t(r)
        p = 2 * special.stdtr(self._df, -np.abs(t)) if two_sided else special.stdtr(self._df, -t)
        low, high = self._interval(r)
        zero = [np.where(tested, values, 0.0) for values in (slope, t, r, low, high)]
        none = np.zeros_like(tested)  # a correlation of one is tested, by its largest t
        return Estimates(zero[0], zero[1], np.where(tested, p, 1.0), zero[2], zero[3], zero[4], tested, none)

    def prepared(self, y: Array) -> Array:
        """Return what covariates leave: of the relevance [N, V], and below it of the feature, of length one."""
        relevance, feature = self._halves(y)
        left = self._left_over(relevance)
        if feature is None:
            return left
        right = self._right(feature)
        length = np.sqrt((right**2).sum(axis=0))
        flat = length**2 <= _NOISE * self._whole(feature)
        return np.vstack([left, np.where(flat, 0.0, right) / np.where(flat, 1.0, length)])

    def shuffled(self, prepared: Array, shuffles: Shuffles) -> Array:
        """Freedman and Lane 1983: what the covariates leave of the relevance is permuted, and the model fitted anew.

        All voxels follow the same permutation, so that their dependence is kept.
        """
        people = len(self._basis)
        left = prepared[:people]
        whole = (left**2).sum(axis=0)
        rest = np.broadcast_to(whole, (len(shuffles.table), len(whole))).copy()
        for column in self._basis.T:
            if np.ptp(column) > 1e-12:  # the intercept stays what it is in another order
                rest -= (shuffles.weights(column) @ left) ** 2
        if self._tested is None:
            product = _paired(left, prepared[people:], shuffles.table)
        else:
            product = shuffles.weights(self._tested / np.linalg.norm(self._tested)) @ left
        usable = rest > _NOISE * whole
        return self._t(np.where(usable, product, 0.0) / np.sqrt(np.where(usable, rest, 1.0)))

    def _halves(self, y: Array) -> tuple[Array, Array | None]:
        return (y, None) if self._tested is not None else (y[0::2], y[1::2])

    def _left_over(self, values: Array) -> Array:
        return self._residuals(stats.rankdata(values, axis=0) if self._ranks else values)

    def _right(self, feature: Array | None) -> Array:
        if feature is not None:
            return self._left_over(feature)
        if self._tested is None:
            raise ValueError("neither a number nor a feature map is given")
        return self._tested[:, None]

    def _residuals(self, values: Array) -> Array:
        return np.asarray(values - self._basis @ (self._basis.T @ values))

    def _whole(self, values: Array) -> Array:
        """Return the sum of squares [V] that rounding is measured by."""
        return np.full(values.shape[1], float(len(values)) ** 3) if self._ranks else (values**2).sum(axis=0)

    def _counted(self, relevance: Array, feature: Array | None) -> npt.NDArray[np.bool_]:
        enough: npt.NDArray[np.bool_] = (relevance != 0).sum(axis=0) >= self._least
        if feature is None:
            return enough
        present = (feature != 0).sum(axis=0)
        binary = ((feature == 0) | (feature == 1)).all(axis=0)
        return np.asarray(enough & (present >= self._least) & (~binary | (len(feature) - present >= self._least)))

    def _t(self, r: Array) -> Array:
        return np.asarray(r * np.sqrt(self._df / (1 - np.minimum(r**2, _CLOSEST))))

    def _interval(self, r: Array) -> tuple[Array, Array]:
        if self._df < 2:
            return np.full_like(r, -1.0), np.ones_like(r)
        error = np.sqrt((1 + r**2 / 2 if self._ranks else 1.0) / (self._df - 1))
        reach = float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) * error
        z = np.arctanh(np.clip(r, -_CLOSEST, _CLOSEST))
        return np.tanh(z - reach), np.tanh(z + reach)


def _paired(left: Array, right: Array, orders: npt.NDArray[Any]) -> Array:
    """Return [P, V]: for each order the product over people of the reordered left with the right.

    Of many people in float32, which halves the time; products are then made larger by what rounding may have taken, so
    that a shuffle which ties with the people as they are is not taken for a smaller one (p errs upwards). Every block
    of voxels is the same work wherever it is done, so the number of threads changes no digit.
    """
    kind: Any = np.float32 if len(left) > _EXACT else np.float64
    upwards = _ROUNDED if kind is np.float32 else 1.0
    size = np.sqrt((left**2).sum(axis=0))
    scale = np.where(size > 0, size, 1.0)  # so that tiny relevance keeps its digits in float32
    products = np.empty((len(orders), left.shape[1]))

    def fill(start: int) -> None:
        part = slice(start, start + _VOXELS)
        one, other = (left[:, part] / scale[part]).astype(kind), np.ascontiguousarray(right[:, part], dtype=kind)
        moved: npt.NDArray[Any] = np.empty_like(one)
        for number, order in enumerate(orders):
            np.take(one, order, axis=0, out=moved, mode="clip")
            products[number, part] = np.einsum("nv,nv->v", moved, other)

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(fill, range(0, left.shape[1], _VOXELS)))
    return np.asarray(products * (scale * upwards))


def _scaled(columns: Array) -> Array:
    sizes = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(sizes > 0, sizes, 1.0))
