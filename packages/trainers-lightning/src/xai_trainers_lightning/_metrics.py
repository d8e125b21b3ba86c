"""Test scores by scikit-learn with bootstrap intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import metrics as skl

from xai_core import InputError

from ._bootstrap import WeightedScores, auc, classification, person_weights, regression
from ._pairwise import finer_pairs

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.types import Task

    Array = np.ndarray[Any, Any]

__all__ = ["scores"]

Score = dict[str, float | None]
_PAIRWISE = ("balanced_accuracy", "accuracy", "auc", "sensitivity", "specificity", "f1", "mcc")


def scores(
    predictions: pd.DataFrame,
    task: Task,
    classes: Sequence[str] | None,
    seed: int,
    bootstrap: int,
    pairwise: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the scores of ``LightningTrainer.metrics``.

    Args:
        predictions: One row for each test scan.
        task: ``"classification"`` or ``"regression"``.
        classes: Class names in the order of the logits.
        seed: Seed of the resampling.
        bootstrap: Number of resamples; 0 for none.
        pairwise: ``column`` and ``against`` of the comparisons of finer groups, or None.
    """
    people = predictions["subject_id"].astype(str).to_numpy()
    weights = person_weights(people, bootstrap, seed)
    result: dict[str, Any] = {"n": len(predictions), "people": len(np.unique(people))}
    pairs = {} if pairwise is None else finer_pairs(predictions, classes, **pairwise)
    if task == "regression":
        return result | _regression_scores(predictions, weights)
    assert classes is not None
    names = [str(name) for name in classes]
    result |= _classification_scores(predictions, names, weights)
    for pair, rows in pairs.items():
        found = _classification_scores(predictions[rows], names, weights[:, rows])
        result[f"n_{pair}"] = int(rows.sum())
        result |= {f"{name}_{pair}": found[name] for name in _PAIRWISE}
    return result


def _regression_scores(predictions: pd.DataFrame, weights: Array) -> dict[str, Any]:
    true = predictions["target"].to_numpy(dtype=np.float64)
    predicted = predictions["prediction"].to_numpy(dtype=np.float64)
    varies = len(true) > 1 and np.ptp(true) > 0
    values = {
        "mae": float(skl.mean_absolute_error(true, predicted)),
        "rmse": float(skl.root_mean_squared_error(true, predicted)),
        "r": float(np.corrcoef(true, predicted)[0, 1]) if varies and np.ptp(predicted) > 0 else None,
        "r2": float(skl.r2_score(true, predicted)) if varies else None,
    }
    return _with_intervals(values, regression(true, predicted, weights))


def _classification_scores(predictions: pd.DataFrame, classes: list[str], weights: Array) -> dict[str, Any]:
    true = _indices(predictions, "target", classes)
    predicted = _indices(predictions, "prediction", classes)
    probabilities = predictions[[f"probability_{name}" for name in classes]].to_numpy(dtype=np.float64)
    binary = len(classes) == 2
    matrix = skl.confusion_matrix(true, predicted, labels=range(len(classes)))
    resampled = classification(true, predicted, len(classes), weights)
    resampled["auc"] = _resampled_auc(true, probabilities, weights)
    values = _from_predictions(true, predicted, matrix) | {"auc": _auc(true, probabilities)}
    result: dict[str, Any] = _with_intervals(values, resampled)
    if binary:
        result["positive_class"] = classes[1]
    else:
        result |= _pairwise(true, probabilities, classes, weights)
    result["confusion_matrix"] = matrix.tolist()
    return result


def _indices(predictions: pd.DataFrame, column: str, classes: list[str]) -> Array:
    names = predictions[column].astype(str)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise InputError(
            f"predictions, column {column}: {unknown[0]!r} is not a class of this study ({', '.join(classes)})."
        )
    return names.map({name: index for index, name in enumerate(classes)}).to_numpy(dtype=np.int64)


def _from_predictions(true: Array, predicted: Array, matrix: Array) -> dict[str, float | None]:
    binary = len(matrix) == 2
    labels = [1] if binary else list(range(len(matrix)))
    occurs = matrix.sum(axis=1) > 0
    complete, average = bool(occurs.all()), "macro"
    defined = {
        "balanced_accuracy": complete,
        "sensitivity": bool(occurs[labels].all()),
        "specificity": bool(((matrix.sum() - matrix.sum(axis=1))[labels] > 0).all()),
        "f1": complete or (binary and bool((matrix[1] + matrix[:, 1]).sum() > 0)),
        "mcc": occurs.sum() > 1,
    }
    shared: dict[str, Any] = {"labels": labels, "average": average, "zero_division": 0.0}
    scorers: dict[str, Callable[[], float]] = {
        "balanced_accuracy": lambda: skl.balanced_accuracy_score(true, predicted),
        "sensitivity": lambda: skl.recall_score(true, predicted, **shared),
        "specificity": lambda: float(np.mean([skl.recall_score(true != k, predicted != k) for k in labels])),
        "f1": lambda: skl.f1_score(true, predicted, **shared),
        "mcc": lambda: skl.matthews_corrcoef(true, predicted),
    }
    values = {name: float(score()) if defined[name] else None for name, score in scorers.items()}
    return {"accuracy": float(skl.accuracy_score(true, predicted)), **values}


def _auc(true: Array, probabilities: Array) -> float | None:
    classes = probabilities.shape[1]
    if len(np.unique(true)) < classes:
        return None
    positive = [1] if classes == 2 else range(classes)
    return float(np.mean([skl.roc_auc_score(true == k, probabilities[:, k]) for k in positive]))


def _resampled_auc(true: Array, probabilities: Array, weights: Array) -> Array:
    classes = probabilities.shape[1]
    positive = [1] if classes == 2 else range(classes)
    return cast("Array", np.mean([auc(true == k, probabilities[:, k], weights) for k in positive], axis=0))


def _pairwise(true: Array, probabilities: Array, classes: list[str], weights: Array) -> dict[str, Score]:
    """AUC for each two classes among the people of these two, scored by p_second / (p_first + p_second)."""
    result = {}
    for first, second in combinations(range(len(classes)), 2):
        rows = np.isin(true, (first, second))
        pair = probabilities[rows][:, [first, second]]
        total = np.maximum(pair.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        positive = true[rows] == second
        defined = 0 < positive.sum() < len(positive)
        score = (pair / total)[:, 1]
        value = float(skl.roc_auc_score(positive, score)) if defined else None
        name = f"auc_{classes[first]}_vs_{classes[second]}"
        result[name] = _interval(value, auc(positive, score, weights[:, rows]))
    return result


def _with_intervals(values: dict[str, float | None], resampled: WeightedScores) -> dict[str, Score]:
    order = ("balanced_accuracy", "accuracy", "auc", "sensitivity", "specificity", "f1", "mcc", *values)
    return {name: _interval(values[name], resampled[name]) for name in dict.fromkeys(order) if name in values}


def _interval(value: float | None, resampled: Array) -> Score:
    """95 % percentile interval over the resamples that define the score; None if fewer than half do."""
    defined = resampled[np.isfinite(resampled)]
    if value is None or not len(resampled) or 2 * len(defined) < len(resampled):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}
