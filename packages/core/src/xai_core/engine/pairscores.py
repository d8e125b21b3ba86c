"""Scores of resampled people, for a comparison: the same resamples for both runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics.weighted import auc, classification, regression

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["SCORES", "score_names", "weighted_scores"]

SCORES = {
    "classification": ("auc", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "f1", "mcc", "brier"),
    "regression": ("mae", "rmse", "r", "r2"),
}


def score_names(classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the scores that are compared."""
    return SCORES["regression" if classes is None else "classification"]


def weighted_scores(rows: pd.DataFrame, classes: Sequence[str] | None, weights: Array) -> dict[str, Array]:
    """Return the scores [B] of test scans, NaN where one is not defined.

    Args:
        rows: Predictions, one row for each of n scans.
        classes: Class names; None for a regression.
        weights: How often each scan is in each resample, [B, n].
    """
    if classes is None:
        values = [rows[name].to_numpy(dtype=np.float64) for name in ("target", "prediction")]
        return regression(values[0], values[1], weights)
    index = {name: position for position, name in enumerate(classes)}
    true, told = (rows[name].astype(str).map(index).to_numpy(dtype=np.int64) for name in ("target", "prediction"))
    probabilities = rows[[f"probability_{name}" for name in classes]].to_numpy(dtype=np.float64)
    positive = [1] if len(classes) == 2 else range(len(classes))
    areas = [auc(true == k, probabilities[:, k], weights) for k in positive]
    errors = (probabilities - np.eye(len(classes))[true]) ** 2
    terms = errors[:, 1] if len(classes) == 2 else errors.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weights @ terms / weights.sum(axis=1)
    return {**classification(true, told, len(classes), weights), "auc": np.mean(areas, axis=0), "brier": mean}
