"""Curves of the test scans: all folds together, and each fold alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from ._calibration import reliability
from ._classes import class_indices

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["calibration_table", "roc_table"]


def roc_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the points of the ROC curves: ``class``, ``fold`` (``all``: pooled), ``threshold``, ``fpr``, ``tpr``.

    Two classes: of the last one; more: of each against the rest. A scan is told positive where its probability is at
    least the threshold; the first one, infinite, tells nobody. A part without the class, or with nobody else, has no
    curve.
    """
    true = class_indices(predictions, "target", classes)
    parts: list[tuple[str, Array]] = [("all", np.ones(len(true), dtype=bool))]
    if "fold" in predictions:
        folds = predictions["fold"].to_numpy()
        parts += [(str(fold), folds == fold) for fold in np.unique(folds)]
    found = [
        _curve(
            true[rows] == k, predictions[f"probability_{classes[k]}"].to_numpy(dtype=np.float64)[rows], classes[k], part
        )
        for k in ([1] if len(classes) == 2 else range(len(classes)))
        for part, rows in parts
    ]
    return pd.concat([pd.DataFrame(columns=["class", "fold", "threshold", "fpr", "tpr"]).astype(object), *found])


def _curve(positive: Array, score: Array, name: str, part: str) -> pd.DataFrame:
    if positive.all() or not positive.any():
        return pd.DataFrame()
    fpr, tpr, threshold = roc_curve(positive, score)
    return pd.DataFrame({"class": name, "fold": part, "threshold": threshold, "fpr": fpr, "tpr": tpr})


def calibration_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the reliability curves of the probabilities and, where there are any, of the calibrated ones."""
    true = class_indices(predictions, "target", classes)
    found = []
    for kind in ("probability", "calibrated"):
        names = [f"{kind}_{name}" for name in classes]
        if set(names) <= set(predictions.columns) and predictions[names].notna().all(axis=None):
            found.append(reliability(true, predictions[names].to_numpy(dtype=np.float64), classes, kind))
    return pd.concat(found, ignore_index=True)
