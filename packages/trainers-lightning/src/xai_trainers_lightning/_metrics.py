"""Test scores by scikit-learn with bootstrap intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import metrics as skl

from xai_core.statistics import delong
from xai_core.statistics.weighted import auc, classification, person_weights

from ._calibration import brier, expected_error
from ._chance import against_chance
from ._classes import class_indices
from ._gapscores import gap_scores
from ._groups import scores_by_group
from ._intervals import Score, interval, value_scores, with_intervals
from ._pairwise import finer_pairs

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.types import Task

    from .scoring import ScoredTrainer

    Array = np.ndarray[Any, Any]

__all__ = ["group_table", "scores"]

_PAIRWISE = ("balanced_accuracy", "accuracy", "auc", "sensitivity", "specificity", "f1", "mcc")


def scores(
    predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int, options: ScoredTrainer
) -> dict[str, Any]:
    """Return the scores of ``ScoredTrainer.metrics``.

    Args:
        predictions: One row for each test scan.
        task: ``"classification"`` or ``"regression"``.
        classes: Class names in the order of the logits.
        seed: Seed of the resampling.
        options: The trainer, whose parameters say what is scored.
    """
    people = predictions["subject_id"].astype(str).to_numpy()
    weights = person_weights(people, options.bootstrap, seed)
    result: dict[str, Any] = {"n": len(predictions), "people": len(np.unique(people))}
    pairs = {} if options.pairwise is None else finer_pairs(predictions, classes, **options.pairwise)
    if task == "regression":
        result |= _regression_scores(predictions, weights) | gap_scores(predictions, weights, options.bias_correction)
    else:
        assert classes is not None
        names = [str(name) for name in classes]
        result |= _classification_scores(predictions, names, weights)
        for pair, rows in pairs.items():
            found = _classification_scores(predictions[rows], names, weights[:, rows])
            result[f"n_{pair}"] = int(rows.sum())
            result |= {f"{name}_{pair}": found[name] for name in _PAIRWISE}
    if options.permutations:
        result["permutation"] = against_chance(predictions, classes, options.permutations, seed)
    return result


def group_table(
    predictions: pd.DataFrame, classes: Sequence[str] | None, seed: int, by: Sequence[str], options: ScoredTrainer
) -> pd.DataFrame:
    """Return the scores of the groups of each column; see ``scores_by_group``."""
    weights = person_weights(predictions["subject_id"].astype(str).to_numpy(), options.bootstrap, seed)

    def score(rows: Array) -> Mapping[str, Any]:
        chosen = predictions[rows]
        own = weights[:, rows] if chosen["subject_id"].nunique() > 1 else weights[:0, rows]  # as of ``person_weights``
        if classes is None:
            found = _regression_scores(chosen, own) | gap_scores(chosen, own, options.bias_correction)
        else:
            found = _classification_scores(chosen, [str(name) for name in classes], own)
        return {name: value for name, value in found.items() if isinstance(value, Mapping)}

    return scores_by_group(predictions, by, score)


def _regression_scores(predictions: pd.DataFrame, weights: Array) -> dict[str, Score]:
    true = predictions["target"].to_numpy(dtype=np.float64)
    return value_scores(true, predictions["prediction"].to_numpy(dtype=np.float64), weights)


def _classification_scores(predictions: pd.DataFrame, classes: list[str], weights: Array) -> dict[str, Any]:
    true = class_indices(predictions, "target", classes)
    predicted = class_indices(predictions, "prediction", classes)
    probabilities = predictions[[f"probability_{name}" for name in classes]].to_numpy(dtype=np.float64)
    binary = len(classes) == 2
    matrix = skl.confusion_matrix(true, predicted, labels=range(len(classes)))
    resampled = classification(true, predicted, len(classes), weights)
    resampled["auc"] = _resampled_auc(true, probabilities, weights)
    values = _from_predictions(true, predicted, matrix) | {"auc": _auc(true, probabilities)}
    result: dict[str, Any] = with_intervals(values, resampled, _PAIRWISE)
    result |= _delong(true == 1, probabilities[:, 1], predictions["subject_id"]) if binary else {}
    result |= _calibration_scores(predictions, true, classes, weights)
    if binary:
        result["positive_class"] = classes[1]
    else:
        result |= _pairwise(true, probabilities, classes, weights)
    result["confusion_matrix"] = matrix.tolist()
    return result


def _delong(positive: Array, score: Array, people: pd.Series[Any]) -> dict[str, Score]:
    """The area again, with DeLong's interval: no resampling, and the scans of a person together (Obuchowski 1997)."""
    if positive.all() or not positive.any():
        return {"auc_delong": {"value": None, "low": None, "high": None}}
    found = delong.areas(positive, score[None], people.astype(str).to_numpy())
    low, high = delong.interval(float(found.value[0]), float(found.covariance[0, 0]))
    return {"auc_delong": {"value": float(found.value[0]), "low": low, "high": high}}


def _calibration_scores(predictions: pd.DataFrame, true: Array, classes: list[str], weights: Array) -> dict[str, Score]:
    """Brier score and expected calibration error; no interval for the latter, whose resamples are biased upwards."""
    result: dict[str, Score] = {}
    for kind, suffix in (("probability", ""), ("calibrated", "_calibrated")):
        names = [f"{kind}_{name}" for name in classes]
        if not set(names) <= set(predictions.columns):
            continue
        probabilities = predictions[names].to_numpy(dtype=np.float64)
        known = bool(len(true)) and bool(np.isfinite(probabilities).all())
        terms = brier(true, probabilities) if known else np.full(len(true), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = weights @ terms / weights.sum(axis=1)
        result[f"brier{suffix}"] = interval(float(terms.mean()) if known else None, resampled)
        error = expected_error(true, probabilities) if known else None
        result[f"ece{suffix}"] = {"value": error, "low": None, "high": None}
    return result


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
        result[name] = interval(value, auc(positive, score, weights[:, rows]))
    return result
