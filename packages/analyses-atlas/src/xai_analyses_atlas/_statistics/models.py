"""Linear models of one outcome: least squares, robust covariances, robust regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from .correlate import NOTHING_LEFT, correlations, residuals

__all__ = [
    "LINEAR_MODELS",
    "LinearModel",
    "ModelFit",
    "left_over",
    "linear_model",
    "model_fit",
    "standardised_design",
    "standardised_slopes",
]

Array = npt.NDArray[np.float64]
LinearModel = Literal["ols", "hc3", "rlm"]
LINEAR_MODELS: tuple[LinearModel, ...] = get_args(LinearModel)

_ITERATIONS = 500


@dataclass(frozen=True)
class ModelFit:
    """The coefficient of one variable in a linear model.

    Attributes:
        n: Rows.
        groups: People of a mixed model, otherwise ``n``.
        df: Degrees of freedom of t; None where the statistic is z (asymptotic: too small a p for few people).
        slope: In units of y per unit of x.
        error: Standard error of the slope.
        low: Lower end of the slope's confidence interval.
        high: Upper end.
        beta: Slope times SD(x) / SD(y): both standardised over the rows.
        beta_low: Lower end of the same interval, standardised.
        beta_high: Upper end.
        statistic: t or z.
        p: Two-sided.
        partial_r_squared: Share of what the covariates leave of y that x explains, of the least-squares fit; None for
            robust regression and mixed models.
        note: What the reader must know, or an empty string.
    """

    n: int
    groups: int
    df: int | None
    slope: float
    error: float
    low: float
    high: float
    beta: float
    beta_low: float
    beta_high: float
    statistic: float
    p: float
    partial_r_squared: float | None
    note: str = ""


def linear_model(
    y: Array, x: Array, covariates: Array | None = None, kind: LinearModel = "ols", *, confidence: float = 0.95
) -> ModelFit:
    """Fit y ~ 1 + x + covariates and return what it says of x.

    Args:
        y: Finite [n].
        x: Finite [n].
        covariates: Finite [n, k] or None.
        kind: Least squares with the usual standard errors (``"ols"``) or with those of MacKinnon and White 1985 that
            hold where the scatter differs between people (``"hc3"``, with t and n - 2 - k degrees of freedom), or
            Huber's M-estimator (``"rlm"``: statsmodels' RLM, tuning constant 1.345, scale by the median absolute
            deviation, z) that single people far off cannot carry away.
        confidence: Level of the intervals, in (0, 1).

    Raises:
        ValueError: Fewer than k + 3 people, or nothing is left of y or of x given the covariates; for ``"hc3"`` also
            a person whom the covariates fit alone (leverage 1); for ``"rlm"`` also no convergence.
    """
    count = 0 if covariates is None else covariates.shape[1]
    df = len(y) - 2 - count
    if df < 1:
        raise ValueError(f"{len(y)} people are too few for {count + 2} columns")
    left, right = left_over(y, covariates, "the outcome"), left_over(x, covariates, "the variable")
    if kind == "rlm":
        return _huber(y, x, covariates, confidence)
    spread = float(right @ right)
    slope = float(right @ left) / spread
    error_of = left - slope * right
    if kind == "ols":
        error = float(np.sqrt(error_of @ error_of / df / spread))
    else:
        leverage = _leverage(covariates, len(y)) + right**2 / spread
        if (leverage > 1 - 1e-9).any():
            raise ValueError("a person has a leverage of 1 (the only one of a category?), so HC3 is not defined")
        error = float(np.sqrt(((right * error_of / (1 - leverage)) ** 2).sum()) / spread)
    share = float(right @ left) ** 2 / spread / float(left @ left)
    return model_fit(y, x, len(y), slope, error, df, confidence, share)


def standardised_slopes(y: Array, x: Array, covariates: Array | None) -> Array:
    """Return the standardised slopes [R, F] of ``linear_model`` for every column of y [n, R] and x [n, F].

    Nothing is checked; NaN where a column is constant or the covariates explain all of it.
    """
    r = correlations(y, x, covariates, "pearson")
    left, right = (np.linalg.norm(residuals(values, covariates), axis=0) / values.std(axis=0) for values in (y, x))
    return cast(Array, r * left[:, None] / right)


def _huber(y: Array, x: Array, covariates: Array | None, confidence: float) -> ModelFit:
    from statsmodels.robust.norms import HuberT
    from statsmodels.robust.robust_linear_model import RLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = RLM(_standardised(y), standardised_design(x, covariates), M=HuberT()).fit(maxiter=_ITERATIONS, tol=1e-10)
    beta, error = float(fit.params[1]), float(fit.bse[1])
    converged = fit.fit_history["iteration"] < _ITERATIONS and fit.scale > 0
    if not converged or not np.isfinite([beta, error]).all() or error <= 0:
        raise ValueError("the robust regression did not converge")
    ratio = float(y.std() / x.std())
    return model_fit(y, x, len(y), beta * ratio, error * ratio, None, confidence, None)


def model_fit(
    y: Array,
    x: Array,
    groups: int,
    slope: float,
    error: float,
    df: int | None,
    confidence: float,
    share: float | None,
    note: str = "",
) -> ModelFit:
    """Return the fit that follows from a slope and its standard error; ``df`` None: with the normal distribution."""
    known = stats.norm if df is None else stats.t(df)
    half = float(known.ppf((1 + confidence) / 2)) * error
    with np.errstate(divide="ignore"):
        statistic = float(np.float64(slope) / np.float64(error))
    ratio = float(x.std() / y.std())
    return ModelFit(
        n=len(y), groups=groups, df=df, slope=slope, error=error, low=slope - half, high=slope + half,
        beta=slope * ratio, beta_low=(slope - half) * ratio, beta_high=(slope + half) * ratio,
        statistic=statistic, p=float(2 * known.sf(abs(statistic))), partial_r_squared=share, note=note,
    )  # fmt: skip


def left_over(values: Array, covariates: Array | None, what: str) -> Array:
    """Return what an intercept and covariates [n, k] leave of values [n].

    Raises:
        ValueError: Nothing; ``what`` names the values.
    """
    spread = float(np.linalg.norm(values - values.mean()))
    if values.max() == values.min() or spread <= 1e-13 * float(np.abs(values).max()) * np.sqrt(len(values)):
        raise ValueError(f"{what} is constant")
    left = residuals(values[:, None], covariates)[:, 0]
    if float(np.linalg.norm(left)) <= NOTHING_LEFT * spread:
        raise ValueError(f"the covariates explain all of {what}")
    return left


def _leverage(covariates: Array | None, n: int) -> Array:
    if covariates is None or not covariates.shape[1]:
        return np.full(n, 1 / n)
    basis = np.linalg.qr(covariates - covariates.mean(axis=0))[0]
    return cast(Array, 1 / n + (basis**2).sum(axis=1))


def _standardised(values: Array) -> Array:
    return cast(Array, (values - values.mean(axis=0)) / values.std(axis=0))


def standardised_design(x: Array, covariates: Array | None) -> Array:
    """Return intercept, x and covariates; standardised, so that the iterations do not depend on units."""
    parts = [np.ones((len(x), 1)), _standardised(x)[:, None]]
    if covariates is not None and covariates.shape[1]:
        parts.append(_standardised(covariates))
    return np.hstack(parts)
