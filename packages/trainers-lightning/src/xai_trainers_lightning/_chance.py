"""Which scores are tested against chance, and how they are computed for many permutations at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._classes import class_indices
from ._permutation import Scorer, permutation_tests

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["against_chance"]


def against_chance(
    predictions: pd.DataFrame, classes: Sequence[str] | None, count: int, seed: int
) -> dict[str, dict[str, float | int]]:
    """Return the tests of ``auc`` and ``balanced_accuracy``, or of ``r`` and ``mae``; see ``permutation_tests``.

    A score that these test people do not define has none.
    """
    folds = predictions["fold"].to_numpy() if "fold" in predictions else np.zeros(len(predictions), dtype=int)
    scorers: dict[str, tuple[Scorer, int]]
    if classes is None:
        target = predictions["target"].to_numpy(dtype=np.float64)
        predicted = predictions["prediction"].to_numpy(dtype=np.float64)
        scorers = {
            "r": (lambda true: _correlation(true, predicted), 1),
            "mae": (lambda true: _mae(true, predicted), -1),
        }
    else:
        target = class_indices(predictions, "target", classes)
        told = class_indices(predictions, "prediction", classes)
        names = [f"probability_{name}" for name in classes]
        ranks = _midranks(predictions[names].to_numpy(dtype=np.float64))
        scorers = {
            "auc": (lambda true: _auc(true, ranks), 1),
            "balanced_accuracy": (lambda true: _balanced(true, told, len(classes)), 1),
        }
    return permutation_tests(scorers, target, folds, predictions["subject_id"].astype(str).to_numpy(), count, seed)


def _midranks(probabilities: Array) -> Array:
    """Ranks [n, K] of each class's probability; equal ones share the mean of theirs."""
    from scipy.stats import rankdata

    ranks: Array = rankdata(probabilities, axis=0)
    return ranks


def _auc(true: Array, ranks: Array) -> Array:
    """Areas [B] of true classes [B, n]: of the last of two, else the mean of each against the rest (Mann & Whitney)."""
    found = []
    for k in [1] if ranks.shape[1] == 2 else range(ranks.shape[1]):
        positive = true == k
        m = positive.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append((positive @ ranks[:, k] - m * (m + 1) / 2) / (m * (true.shape[1] - m)))
    area: Array = np.mean(found, axis=0)
    return area


def _balanced(true: Array, told: Array, classes: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        recalls = [((true == k) @ (told == k).astype(float)) / (true == k).sum(axis=1) for k in range(classes)]
    mean: Array = np.mean(recalls, axis=0)
    return mean


def _correlation(true: Array, predicted: Array) -> Array:
    x, y = true - true.mean(axis=1, keepdims=True), predicted - predicted.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        r: Array = x @ y / np.sqrt((x**2).sum(axis=1) * (y @ y))
    return r


def _mae(true: Array, predicted: Array) -> Array:
    error: Array = np.abs(true - predicted).mean(axis=1)
    return error
