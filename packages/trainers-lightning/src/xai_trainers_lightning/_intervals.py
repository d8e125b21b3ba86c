"""Intervals from resamples, and the scores of values that both a prediction and its correction have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as skl

from xai_core.statistics.weighted import WeightedScores, regression

Array = np.ndarray[Any, Any]
Score = dict[str, float | None]

__all__ = ["Score", "interval", "value_scores", "with_intervals"]


def value_scores(true: Array, predicted: Array, weights: Array) -> dict[str, Score]:
    """Return mae, rmse (target's units), r and r2 with their intervals; None where one is not defined.

    Args:
        true: [n].
        predicted: [n].
        weights: Resamples [B, n].
    """
    if not np.isfinite(predicted).all():
        return {name: {"value": None, "low": None, "high": None} for name in ("mae", "rmse", "r", "r2")}
    varies = len(true) > 1 and np.ptp(true) > 0
    values = {
        "mae": float(skl.mean_absolute_error(true, predicted)),
        "rmse": float(skl.root_mean_squared_error(true, predicted)),
        "r": float(np.corrcoef(true, predicted)[0, 1]) if varies and np.ptp(predicted) > 0 else None,
        "r2": float(skl.r2_score(true, predicted)) if varies else None,
    }
    return with_intervals(values, regression(true, predicted, weights), tuple(values))


def with_intervals(
    values: dict[str, float | None], resampled: WeightedScores, order: Sequence[str]
) -> dict[str, Score]:
    """Return the scores, each with its interval, in an order."""
    return {name: interval(values[name], resampled[name]) for name in order if name in values}


def interval(value: float | None, resampled: Array) -> Score:
    """Return value and 95 % percentile interval over the resamples that define it; none if fewer than half do."""
    defined = resampled[np.isfinite(resampled)]
    if value is None or not len(resampled) or 2 * len(defined) < len(resampled):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}
