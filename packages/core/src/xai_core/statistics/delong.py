"""Variance of areas under ROC curves without resampling, also where a person has several scans.

DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837, in the fast form of Sun & Xu 2014, IEEE Signal Processing
Letters 21:1389 (midranks in place of all pairs). The scans of one person are kept together as by Obuchowski 1997,
Biometrics 53:567; with one scan each this is DeLong's formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

__all__ = ["Areas", "areas", "components", "from_components", "interval", "paired_test"]


@dataclass(frozen=True)
class Areas:
    """Areas under the ROC curves of several scores of the same scans.

    Attributes:
        value: [M], one for each score.
        covariance: [M, M]; NaN where one class has fewer than two people.
    """

    value: Array
    covariance: Array


def areas(positive: Array, scores: Array, people: Array | None = None) -> Areas:
    """Return the areas and their covariance.

    Args:
        positive: bool [n].
        scores: [M, n], higher for the positive class; ties count one half.
        people: The person [n] of each scan; default: everybody has one.

    Raises:
        ValueError: There is no positive or no negative scan.
    """
    return from_components(positive, components(positive, scores), people)


def components(positive: Array, scores: Array) -> Array:
    """Return [M, n], the share of the other class that each scan is on the right side of (V10 and V01).

    The mean of several scores' components belongs to the mean of their areas, as of the repeats of a cross-validation.

    Raises:
        ValueError: There is no positive or no negative scan.
    """
    if positive.all() or not positive.any():
        raise ValueError("an area under the ROC curve needs positive and negative scans")
    m, n = int(positive.sum()), int((~positive).sum())
    result = np.empty(scores.shape)
    for index, score in enumerate(scores):
        everyone = _midranks(score)
        result[index, positive] = (everyone[positive] - _midranks(score[positive])) / n
        result[index, ~positive] = 1 - (everyone[~positive] - _midranks(score[~positive])) / m
    return result


def from_components(positive: Array, found: Array, people: Array | None = None) -> Areas:
    """Return the areas and their covariance.

    Args:
        positive: bool [n].
        found: [M, n], as ``components`` returns them.
        people: The person [n] of each scan; default: everybody has one.
    """
    value = found[:, positive].mean(axis=1)
    groups = np.arange(len(positive)) if people is None else np.unique(people, return_inverse=True)[1]
    return Areas(value, _covariance(positive, found, value, groups))


def _midranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[group]
    return ranks


def _covariance(positive: Array, found: Array, value: Array, groups: Array) -> Array:
    centred = found - value[:, None]
    number = int(groups.max()) + 1
    sums = [np.stack([np.bincount(groups[c], row[c], number) for row in centred]) for c in (positive, ~positive)]
    present = [int((np.bincount(groups[c], minlength=number) > 0).sum()) for c in (positive, ~positive)]
    if min(present) < 2:
        return np.full((len(value), len(value)), np.nan)
    first, second = (people / (people - 1) * rows @ rows.T for people, rows in zip(present, sums, strict=True))
    # Of people with scans of both classes; without them it is zero.
    across = number / (number - 1) * sums[0] @ sums[1].T
    m, n = int(positive.sum()), int((~positive).sum())
    covariance: Array = first / m**2 + second / n**2 + (across + across.T) / (m * n)
    return covariance


def interval(value: float, variance: float, level: float = 0.95) -> tuple[float | None, float | None]:
    """Return value -+ z * SE, cut at 0 and 1; (None, None) where the variance is 0 (a perfect area) or not known."""
    from scipy.stats import norm

    if not (math.isfinite(variance) and variance > 1e-15):
        return None, None
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(variance)
    return max(value - half, 0.0), min(value + half, 1.0)


def paired_test(found: Areas, order: Sequence[int] = (0, 1)) -> dict[str, float | None]:
    """Return ``difference`` (second less first), ``se``, ``z`` and the two-sided ``p`` that both areas are equal.

    ``z`` and ``p`` are None where the difference has no variance: 0 in both, or one class has a single person.
    """
    from scipy.stats import norm

    first, second = order
    difference = float(found.value[second] - found.value[first])
    c = found.covariance
    variance = float(c[first, first] + c[second, second] - 2 * c[first, second])
    if not (math.isfinite(variance) and variance > 1e-15):
        return {"difference": difference, "se": None, "z": None, "p": None}
    se = math.sqrt(variance)
    return {"difference": difference, "se": se, "z": difference / se, "p": float(2 * norm.sf(abs(difference / se)))}
