"""Scores of many resamples at once: a resample is a vector of weights, how often each scan was drawn.

Each function returns NaN for a resample in which a score is not defined. Shapes: B resamples, n scans, K
classes. One row of ones gives the scores themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WeightedScores = dict[str, Array]

__all__ = ["WeightedScores", "auc", "classification", "person_weights", "regression"]


def person_weights(people: Array, resamples: int, seed: int) -> Array:
    """Draw people with replacement and return how often each scan is in each resample, float64 [B, n].

    One person has no resamples, [0, n]: each would be that person again, and an interval have no width.

    Args:
        people: The person [n] of each scan.
        resamples: B.
        seed: Seed of the drawing.
    """
    _, person = np.unique(people, return_inverse=True)
    count = int(person.max()) + 1 if len(person) else 0
    if count < 2 or not resamples:
        return np.zeros((0, len(people)))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, person].astype(np.float64)


def classification(true: Array, predicted: Array, classes: int, weights: Array) -> WeightedScores:
    """Return the scores [B] that follow from the confusion matrices of the resamples.

    Args:
        true: Class index [n].
        predicted: Class index [n].
        classes: K; with two, sensitivity, specificity and F1 are those of class 1, otherwise averaged over
            classes.
        weights: [B, n].
    """
    cells = np.eye(classes * classes)[true * classes + predicted]
    matrix = (weights @ cells).reshape(-1, classes, classes)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    rows, columns, total = matrix.sum(axis=2), matrix.sum(axis=1), matrix.sum(axis=(1, 2))
    chosen = [1] if classes == 2 else list(range(classes))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / rows
        specificity = (total[:, None] - rows - columns + hits) / (total[:, None] - rows)
        f1 = 2 * hits / (rows + columns)
        scores = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": recall.mean(axis=1),
            "sensitivity": recall[:, chosen].mean(axis=1),
            "specificity": specificity[:, chosen].mean(axis=1),
            "f1": f1[:, chosen].mean(axis=1),
            "mcc": _mcc(hits, rows, columns, total),
        }
    if classes > 2:
        scores["f1"][(rows == 0).any(axis=1)] = np.nan
    return scores


def _mcc(hits: Array, rows: Array, columns: Array, total: Array) -> Array:
    """Matthews correlation (Gorodkin 2004); 0 by convention where only one class is predicted."""
    covariance = hits.sum(axis=1) * total - (rows * columns).sum(axis=1)
    spread_true = total**2 - (rows**2).sum(axis=1)
    spread_predicted = total**2 - (columns**2).sum(axis=1)
    mcc = np.where(spread_predicted == 0, 0.0, covariance / np.sqrt(spread_true * spread_predicted))
    return np.where(spread_true == 0, np.nan, mcc)


def auc(positive: Array, score: Array, weights: Array) -> Array:
    """Return the area under the ROC curve [B] as the weighted Mann-Whitney statistic; ties count one half.

    Args:
        positive: bool [n].
        score: Higher for the positive class [n].
        weights: [B, n].
    """
    if not len(score):
        return np.full(len(weights), np.nan)
    _, group = np.unique(score, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    positives = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        area: Array = (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def regression(true: Array, predicted: Array, weights: Array) -> WeightedScores:
    """Return mae, rmse (target's units), r and r2 [B] of the resamples.

    Args:
        true: [n].
        predicted: [n].
        weights: [B, n].
    """
    total = weights.sum(axis=1)
    errors = predicted - true
    # Centred first, so that variances of values far from zero (years, volumes) keep their digits.
    x, y = true - true.mean(), predicted - predicted.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = weights @ errors**2
        mean_x, mean_y = weights @ x / total, weights @ y / total
        spread_x = _positive(weights @ x**2 - total * mean_x**2, weights @ x**2)
        spread_y = _positive(weights @ y**2 - total * mean_y**2, weights @ y**2)
        covariance = weights @ (x * y) - total * mean_x * mean_y
        return {
            "mae": weights @ np.abs(errors) / total,
            "rmse": np.sqrt(squared / total),
            "r": covariance / np.sqrt(spread_x * spread_y),
            "r2": 1 - squared / spread_x,
        }


def _positive(spread: Array, scale: Array) -> Array:
    """NaN where a resample holds one value only and rounding alone is left of its spread."""
    return np.where(spread > 1e-12 * scale, spread, np.nan)
