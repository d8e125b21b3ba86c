"""Scores of the gap between predicted and true age, and of corrected predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.statistics.weighted import regression

from ._intervals import Score, interval, value_scores

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["gap_scores"]


def gap_scores(predictions: pd.DataFrame, weights: Array, correction: str) -> dict[str, Score]:
    """Return ``gap`` (mean), ``gap_sd`` and ``gap_r`` (its correlation with age), and ``_corrected`` ones.

    Corrected accuracy (``mae_corrected`` ...) is there for ``cole`` only. With ``beheshti`` the true age is part of
    the corrected value, and its scores would be excellent for any network (Butler et al. 2021, Human Brain Mapping
    42:4092; de Lange et al. 2022, Human Brain Mapping 43:3113).

    Args:
        predictions: Rows with ``target``, and ``gap`` where there is one.
        weights: Resamples [B, n].
        correction: ``none``, ``beheshti`` or ``cole``.
    """
    if "gap" not in predictions:
        return {}
    true = predictions["target"].to_numpy(dtype=np.float64)
    found = _of(true, predictions["gap"].to_numpy(dtype=np.float64), weights, "")
    if correction == "none" or "gap_corrected" not in predictions:
        return found
    if correction == "cole":
        corrected = predictions["prediction_corrected"].to_numpy(dtype=np.float64)
        found |= {f"{name}_corrected": score for name, score in value_scores(true, corrected, weights).items()}
    return found | _of(true, predictions["gap_corrected"].to_numpy(dtype=np.float64), weights, "_corrected")


def _of(true: Array, gap: Array, weights: Array, suffix: str) -> dict[str, Score]:
    known = bool(np.isfinite(gap).all())
    many = known and len(gap) > 1
    related = many and np.ptp(true) > 0 and np.ptp(gap) > 0
    values = {
        "gap": float(gap.mean()) if known else None,
        "gap_sd": float(gap.std(ddof=1)) if many else None,
        "gap_r": float(np.corrcoef(true, gap)[0, 1]) if related else None,
    }
    total = weights.sum(axis=1)
    centred = gap - gap.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weights @ centred / total
        spread = np.sqrt(np.maximum(weights @ centred**2 - total * mean**2, 0) / (total - 1))
    resampled = {"gap": mean + gap.mean(), "gap_sd": spread, "gap_r": regression(true, gap, weights)["r"]}
    return {f"{name}{suffix}": interval(value, resampled[name]) for name, value in values.items()}
