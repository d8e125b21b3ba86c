"""The straight line of a scatter plot, with covariates held constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from xai_core import InputError

__all__ = ["LinearFit", "linear_fit"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LinearFit:
    """Least-squares line of y on x, covariates held at their means.

    Attributes:
        n: People with a value of everything.
        left_out: People without.
        slope: Of y on x, adjusted for the covariates.
        slope_low, slope_high: Interval of the slope (Student's t).
        r: Correlation of x and y; with covariates the partial one.
        r_low, r_high: Interval of r by Fisher's z (with k covariates its variance is 1 / (n - k - 3)); NaN below 4 + k.
        p: Two-sided, of slope = 0 (t test).
        freedom: Its degrees of freedom.
        level: Of the intervals.
        kept: Who has values of everything, bool [N].
        x: Of those, [n].
        partial: Partial residuals of y: residuals of the whole model plus the line, [n]. Without covariates y itself.
    """

    n: int
    left_out: int
    slope: float
    slope_low: float
    slope_high: float
    r: float
    r_low: float
    r_high: float
    p: float
    freedom: int
    level: float
    kept: npt.NDArray[np.bool_]
    x: Array
    partial: Array
    _sigma: float
    _error: float
    _centre: tuple[float, float]

    def line(self, at: Array) -> tuple[Array, Array, Array]:
        """Return the line at x positions [K] and the interval of its mean, for covariates at their means."""
        x, y = self._centre
        middle = y + self.slope * (at - x)
        reach = stats.t.ppf((1 + self.level) / 2, self.freedom)
        reach = reach * np.sqrt(self._sigma**2 / self.n + (self._error * (at - x)) ** 2)
        return middle, middle - reach, middle + reach


def linear_fit(x: Array, y: Array, covariates: Array | None = None, *, level: float = 0.95) -> LinearFit:
    """Fit y = a + b x + covariates by least squares.

    Partial residuals as in Larsen and McCleary, The use of partial residual plots in regression analysis,
    Technometrics 1972; here about the mean of y, so that the axis keeps its unit.

    Args:
        x: [N]; NaN where it is not known.
        y: [N].
        covariates: Columns of numbers [N, K], or None.
        level: Of the intervals, in (0, 1).

    Raises:
        InputError: Fewer than three people more than covariates, or x or y is constant (also: given the covariates).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    extra = np.empty((len(x), 0)) if covariates is None else np.asarray(covariates, np.float64).reshape(len(x), -1)
    kept = np.isfinite(x) & np.isfinite(y) & np.isfinite(extra).all(axis=1)
    n, k = int(kept.sum()), extra.shape[1]
    freedom = n - 2 - k
    if freedom < 1:
        raise InputError(f"a line with {k} covariates needs at least {3 + k} people with all values; there are {n}.")
    centre = float(x[kept].mean()), float(y[kept].mean())
    own, others = x[kept] - centre[0], extra[kept] - extra[kept].mean(axis=0)
    # What covariates explain is taken from both sides (Frisch-Waugh-Lovell): the slope is that of the whole model.
    rest_x, rest_y = (values - others @ np.linalg.lstsq(others, values)[0] for values in (own, y[kept] - centre[1]))
    _require_spread(rest_x, own, "x", k)
    _require_spread(rest_y, y[kept] - centre[1], "y", k)
    square = float(rest_x @ rest_x)
    slope = float(rest_x @ rest_y) / square
    residuals = rest_y - slope * rest_x
    sigma = float(np.sqrt(residuals @ residuals / freedom))
    error = sigma / np.sqrt(square)
    r = float(np.clip(rest_x @ rest_y / np.sqrt(square * (rest_y @ rest_y)), -1, 1))
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, freedom)) if error > 0 else 0.0
    r_low, r_high = _fisher(r, n - k, level)
    return LinearFit(
        n=n, left_out=len(x) - n, slope=slope, slope_low=slope - reach, slope_high=slope + reach, r=r, r_low=r_low,
        r_high=r_high, p=p, freedom=freedom, level=level, kept=kept, x=x[kept],
        partial=residuals + centre[1] + slope * own, _sigma=sigma, _error=error, _centre=centre,
    )  # fmt: skip


def _require_spread(rest: Array, whole: Array, name: str, covariates: int) -> None:
    if np.sqrt((rest**2).sum()) <= 1e-10 * max(float(np.sqrt((whole**2).sum())), np.finfo(float).tiny):
        why = " once the covariates are taken out of it" if covariates and np.ptp(whole) > 0 else ""
        raise InputError(f"{name} is constant{why}: no line can be fitted. Leave it, or a covariate, out.")


def _fisher(r: float, n: int, level: float) -> tuple[float, float]:
    if n < 4:
        return float("nan"), float("nan")
    if abs(r) >= 1:
        return r, r
    reach = float(stats.norm.ppf((1 + level) / 2)) / np.sqrt(n - 3)
    return float(np.tanh(np.arctanh(r) - reach)), float(np.tanh(np.arctanh(r) + reach))
