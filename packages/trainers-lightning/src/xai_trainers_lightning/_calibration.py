"""Are probabilities what they say? Temperature scaling, Brier score, expected calibration error, reliability curve."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._classes import class_indices, fold_of

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["brier", "expected_error", "reliability", "scaled", "temperature"]

_LIMITS = (0.01, 100.0)
_BINS = 15  # of the expected calibration error, as in Guo et al. 2017
_CURVE = 10  # of the reliability curve
_log = logging.getLogger("xai")


def temperature(probabilities: Array, true: Array) -> float:
    """Return T > 0 that minimises the negative log-likelihood of softmax(logits / T), Guo et al. 2017 (ICML).

    The logits are recovered from the probabilities: log p differs from them by a constant for each scan only.

    Args:
        probabilities: [n, K] of validation scans.
        true: Class index [n].

    Returns:
        NaN where these scans do not determine it: every answer is right (any sharpening seems better) or no answer is
        any good (any flattening does), or all scans are of one class.
    """
    from scipy.optimize import minimize_scalar

    logits = _logits(probabilities)
    of_truth = logits[np.arange(len(true)), true]
    # The loss is convex in 1 / T: it falls for ever where all are right, and from 1 / T = 0 on it rises where the truth
    # has no larger logits than the mean class.
    if len(np.unique(true)) < 2 or (logits.argmax(axis=1) == true).all() or of_truth.mean() <= logits.mean():
        return math.nan

    def loss(log_t: float) -> float:
        z = logits / math.exp(log_t)
        z = z - z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(true)), true]).mean())

    ends = tuple(map(math.log, _LIMITS))
    found = float(minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-8}).x)
    return math.exp(found) if ends[0] + 1e-3 < found < ends[1] - 1e-3 else math.nan


def scaled(probabilities: Array, t: float) -> Array:
    """Return the probabilities [n, K] at temperature ``t``; NaN where it is NaN."""
    if math.isnan(t):
        return np.full(probabilities.shape, np.nan)
    z = _logits(probabilities) / t
    z = np.exp(z - z.max(axis=1, keepdims=True))
    result: Array = z / z.sum(axis=1, keepdims=True)
    return result


def calibrate(validation: pd.DataFrame, predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the predictions with ``calibrated_<class>`` and the fold's ``temperature``."""
    names = [f"probability_{name}" for name in classes]
    true = class_indices(validation, "target", classes)
    t = temperature(validation[names].to_numpy(dtype=np.float64), true)
    if math.isnan(t):
        _log.warning(
            "calibration: the %d validation scans of fold %s do not determine a temperature (all are of one class, all "
            "are told right, or no better than by chance); its calibrated probabilities are n/a.",
            len(validation), fold_of(predictions),
        )  # fmt: skip
    found = scaled(predictions[names].to_numpy(dtype=np.float64), t)
    added = {f"calibrated_{name}": found[:, position] for position, name in enumerate(classes)}
    return predictions.assign(**added, temperature=t)


def _logits(probabilities: Array) -> Array:
    logits: Array = np.log(np.clip(probabilities, 1e-300, None))
    return logits


def brier(true: Array, probabilities: Array) -> Array:
    """Return each scan's term [n] of the Brier score (Brier 1950), the squared error of its probabilities.

    Two classes: of the last one only, as in scikit-learn; more: summed over the classes.
    """
    errors = (probabilities - np.eye(probabilities.shape[1])[true]) ** 2
    result: Array = errors[:, 1] if probabilities.shape[1] == 2 else errors.sum(axis=1)
    return result


def expected_error(true: Array, probabilities: Array) -> float:
    """Return the expected calibration error of Guo et al. 2017: |accuracy - confidence| over 15 bins of confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    gaps = np.bincount(bins, right - confidence, _BINS)
    return float(np.abs(gaps).sum() / len(true))


def reliability(true: Array, probabilities: Array, classes: Sequence[str], kind: str) -> pd.DataFrame:
    """Return the reliability curve, a row for each of ten bins of a class's probability that holds scans.

    Columns: ``kind``, ``class`` (two classes: the last one), ``low`` and ``high`` end of the bin, ``n`` scans, mean
    ``predicted`` probability, ``observed`` share, ``observed_low`` and ``observed_high`` (95 %, Wilson 1927).
    """
    from scipy.stats import norm

    rows, z = [], float(norm.ppf(0.975))
    for position in [1] if len(classes) == 2 else range(len(classes)):
        p = probabilities[:, position]
        bins = np.clip(np.floor(p * _CURVE).astype(int), 0, _CURVE - 1)
        for number in np.unique(bins):
            inside = bins == number
            n, share = int(inside.sum()), float((true[inside] == position).mean())
            middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
            half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
            rows.append({
                "kind": kind, "class": classes[position], "low": number / _CURVE, "high": (number + 1) / _CURVE, "n": n,
                "predicted": float(p[inside].mean()), "observed": share,
                "observed_low": max(middle - half, 0.0), "observed_high": min(middle + half, 1.0),
            })  # fmt: skip
    return pd.DataFrame(rows)
