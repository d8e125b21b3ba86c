"""The gap between predicted and true age, and the correction of its dependence on age.

Networks shrink ages towards the mean of those whom they were trained on: the young seem older, the old younger. A line
predicted = a + b * age is fitted to a fold's validation people.

* ``beheshti`` (Beheshti et al. 2019, NeuroImage: Clinical 24:102063; de Lange & Cole 2020, NeuroImage: Clinical
  26:102229): corrected = predicted + age - (a + b * age). The person's true age goes into the corrected one, so that a
  network that says the same age of everybody would seem perfect: only the gap is of use, no score of accuracy is.
* ``cole`` (Cole et al. 2018, Molecular Psychiatry 23:1385): corrected = (predicted - a) / b. The true age is not
  needed, so it can be used on people of unknown age; noise grows by 1 / b.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._classes import fold_of

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["add_gap", "line"]

_log = logging.getLogger("xai")


def line(age: Array, predicted: Array) -> tuple[float, float, float]:
    """Return intercept a, slope b and the slope's standard error of predicted = a + b * age (least squares).

    NaN where there are fewer than three scans or one age only.
    """
    if len(age) < 3 or np.ptp(age) == 0:
        return math.nan, math.nan, math.nan
    x = age - age.mean()
    slope = float(x @ predicted / (x @ x))
    intercept = float(predicted.mean() - slope * age.mean())
    residuals = predicted - (intercept + slope * age)
    return intercept, slope, float(math.sqrt(residuals @ residuals / (len(age) - 2) / (x @ x)))


def add_gap(validation: pd.DataFrame, predictions: pd.DataFrame, correction: str) -> pd.DataFrame:
    """Return the predictions with ``gap`` (predicted less true value) and, corrected, four columns more.

    These are ``prediction_corrected``, ``gap_corrected``, ``bias_intercept`` and ``bias_slope`` (of the fold's line).

    Args:
        validation: The fold's validation scans: ``target`` and ``prediction``.
        predictions: The scans to correct.
        correction: ``none``, ``beheshti`` or ``cole``.
    """
    age, predicted = _columns(predictions)
    found = predictions.assign(gap=predicted - age)
    if correction == "none":
        return found
    intercept, slope, error = line(*_columns(validation))
    if math.isnan(slope):
        _log.warning(
            "bias_correction: the %d validation scans of fold %s are too few or of one age: its corrected values are "
            "n/a.",
            len(validation), fold_of(predictions),
        )  # fmt: skip
    if correction == "beheshti":
        corrected = predicted + age - (intercept + slope * age)
    else:
        corrected = (predicted - intercept) / _usable(slope, error, fold_of(predictions))
    return found.assign(
        prediction_corrected=corrected, gap_corrected=corrected - age, bias_intercept=intercept, bias_slope=slope
    )


def _usable(slope: float, error: float, fold: str) -> float:
    """The slope, or NaN where it is not clearly above 0: dividing by it would only blow up noise."""
    if slope <= 2 * error:
        _log.warning(
            "bias_correction: fold %s predicts its validation people almost without regard to their true values (slope "
            "%.3g, standard error %.2g). Dividing by the slope would blow up noise; its corrected values are n/a.",
            fold, slope, error,
        )  # fmt: skip
        return math.nan
    return slope


def _columns(table: pd.DataFrame) -> tuple[Array, Array]:
    return table["target"].to_numpy(dtype=np.float64), table["prediction"].to_numpy(dtype=np.float64)
