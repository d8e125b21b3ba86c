"""Scores of the validation part, cheap enough for every epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xai_core.types import Task

    Array = np.ndarray[Any, Any]

__all__ = ["validation_scores"]


def validation_scores(outputs: Array, targets: Array, task: Task) -> dict[str, float]:
    """Return ``val_*`` scores; NaN where one is not defined.

    Args:
        outputs: Logits [N, K], or values [N] in the target's units.
        targets: Class indices [N], or values [N].
        task: Which of both.
    """
    if task == "regression":
        errors = np.abs(outputs.astype(np.float64) - targets)
        return {"val_mae": float(errors.mean()), "val_r": _pearson(outputs, targets)}
    present = np.unique(targets)
    predicted = outputs.argmax(axis=1)
    recalls = [float((predicted[targets == index] == index).mean()) for index in present]
    return {"val_balanced_accuracy": float(np.mean(recalls)), "val_auc": _auc(outputs, targets)}


def _pearson(outputs: Array, targets: Array) -> float:
    if len(targets) < 2 or np.ptp(outputs) == 0 or np.ptp(targets) == 0:
        return math.nan
    return float(np.corrcoef(outputs.astype(np.float64), targets)[0, 1])


def _auc(logits: Array, targets: Array) -> float:
    """Of the last of two classes, else averaged one against the rest; NaN where a class does not occur."""
    from sklearn.metrics import roc_auc_score

    outputs = logits.shape[1]
    if outputs < 2 or len(np.unique(targets)) < outputs:
        return math.nan
    if outputs == 2:
        return float(roc_auc_score(targets == 1, logits[:, 1] - logits[:, 0]))
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    return float(np.mean([roc_auc_score(targets == k, probabilities[:, k]) for k in range(outputs)]))
