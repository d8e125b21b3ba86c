"""The linear mixed model with a random intercept for each person."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from .models import ModelFit, left_over, model_fit, standardised_design

__all__ = ["mixed_model"]

Array = npt.NDArray[np.float64]

# log of (variance between people) / (variance within): far beyond what data can tell from none and from nothing else.
_LOG_RATIOS = np.linspace(-14, 14, 57)


def mixed_model(
    y: Array, x: Array, people: npt.NDArray[Any], covariates: Array | None = None, *, confidence: float = 0.95
) -> ModelFit:
    """Fit y ~ 1 + x + covariates with a random intercept for each person by restricted maximum likelihood.

    The likelihood has one parameter besides those that follow from it, the ratio of the variance between people to that
    within them (Laird and Ware 1982). It is searched on a grid and refined, so that the fit does not depend on where
    an iteration starts or stops: general optimisers end in the wrong place where the ratio goes to zero. The standard
    error is that of generalised least squares, as in lme4 and SAS (statsmodels' differs where people have different
    numbers of visits). p is Wald's, from the normal distribution: too small for few people. Visits are taken as
    exchangeable within a person. Where the ratio ends at zero, the note says so (the fit is that of independent rows).

    Args:
        y: Finite [n], one row for each visit.
        x: Finite [n].
        people: [n], who it is.
        covariates: Finite [n, k] or None.
        confidence: Level of the intervals, in (0, 1).

    Raises:
        ValueError: Nobody has two rows, there are too few people or rows, nothing is left of y or x, or nothing varies
            within people.
    """
    count = 0 if covariates is None else covariates.shape[1]
    names, place, visits = np.unique(people, return_inverse=True, return_counts=True)
    if visits.max() < 2:
        raise ValueError("nobody has two visits, so there is no random intercept to fit")
    if len(names) < 3 or len(y) < count + 4:
        raise ValueError(f"{len(names)} people with {len(y)} visits are too few for {count + 2} columns")
    left_over(y, covariates, "the outcome")
    left_over(x, covariates, "the variable")
    design = np.column_stack([standardised_design(x, covariates), (y - y.mean()) / y.std()])
    means = np.stack([np.bincount(place, column) / visits for column in design.T], axis=1)

    def lost(log_ratio: float) -> float:
        return _fitted(design, means, place, visits, float(np.exp(log_ratio)))[0]

    losses = np.array([lost(each) for each in _LOG_RATIOS])
    best = int(losses.argmin())
    if best == len(_LOG_RATIOS) - 1:
        raise ValueError("what is measured does not vary within people, so their visits say nothing more")
    ratio, note = 0.0, "the variance between people ended at zero: the visits are fitted as if they were independent"
    if best > 0:
        ends = (_LOG_RATIOS[best - 1], _LOG_RATIOS[best + 1])
        found = optimize.minimize_scalar(lost, bounds=ends, method="bounded", options={"xatol": 1e-9})
        if found.fun < _fitted(design, means, place, visits, 0.0)[0]:
            ratio, note = float(np.exp(found.x)), ""
    _, beta, error = _fitted(design, means, place, visits, ratio)
    units = float(y.std() / x.std())
    return model_fit(y, x, len(names), beta * units, error * units, None, confidence, None, note)


def _fitted(
    design: Array, means: Array, place: npt.NDArray[np.intp], visits: npt.NDArray[np.intp], ratio: float
) -> tuple[float, float, float]:
    """Return minus twice the restricted log-likelihood but for a constant, the slope of x and its standard error.

    Args:
        design: [n, p + 1]: intercept, x, covariates and, last, y.
        means: Of each person [people, p + 1].
        place: [n], the person of each row.
        visits: [people].
        ratio: Variance between people over that within.
    """
    whitening = 1 - 1 / np.sqrt(1 + ratio * visits)
    rows = design - (whitening[:, None] * means)[place]
    columns, outcome = rows[:, :-1], rows[:, -1]
    upper = np.linalg.qr(rows)[1]
    inner = upper[:-1, :-1]
    rest = float(upper[-1, -1] ** 2)  # sum of squared residuals
    df = len(outcome) - columns.shape[1]
    inverse = np.linalg.inv(inner)
    slope = float(inverse[1] @ upper[:-1, -1])
    error = float(np.sqrt(rest / df * (inverse[1] ** 2).sum()))
    size = 2 * float(np.log(np.abs(np.diag(inner))).sum())
    lost = float(np.log1p(ratio * visits).sum()) + df * float(np.log(max(rest, 1e-300))) + size
    return lost, slope, error
