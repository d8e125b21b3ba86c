"""Mean of a score over folds, with an interval that knows that training parts overlap."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["across", "corrected_t_test"]


def across(values: Sequence[float], ratio: float | None, level: float = 0.95) -> dict[str, float | int | None]:
    """Return ``mean``, ``sd`` (n - 1), ``n``, and ``low`` and ``high`` of the mean.

    Folds of a cross-validation share most of their training people, so that their scores vary too little for the usual
    standard error. Nadeau & Bengio 2003, Machine Learning 52:239 replace the variance of the mean s2 / k by
    s2 (1 / k + n_test / n_train), with k - 1 degrees of freedom; for k-fold repeated r times k is the number of all
    folds (Bouckaert & Frank 2004).

    Args:
        values: The score of each fold.
        ratio: n_test / n_train, people; None: the interval is not known.
        level: Of the interval.
    """
    count = len(values)
    mean = statistics.fmean(values) if count else None
    sd = statistics.stdev(values) if count > 1 else None
    low = high = None
    if mean is not None and sd is not None and ratio is not None:
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, count - 1)) * sd * math.sqrt(1 / count + ratio)
        low, high = mean - half, mean + half
    return {"mean": mean, "sd": sd, "n": count, "low": low, "high": high}


def corrected_t_test(differences: Sequence[float], ratio: float) -> dict[str, float | int | None]:
    """Return ``mean``, ``se``, ``t``, ``df`` and the two-sided ``p`` of the corrected resampled t-test.

    Args:
        differences: Of two scores, one for each fold of the same division.
        ratio: n_test / n_train, people.

    Returns:
        ``t`` and ``p`` None with fewer than two folds, or where all folds have the same difference.
    """
    from scipy.stats import t as student

    count = len(differences)
    mean = statistics.fmean(differences) if count else None
    undefined: dict[str, float | int | None] = {
        "mean": mean, "se": None, "t": None, "df": max(count - 1, 0), "p": None, "folds": count,
    }  # fmt: skip
    if count < 2 or mean is None:
        return undefined
    spread = statistics.stdev(differences)
    if spread <= 1e-12 * max(map(abs, differences)):
        return undefined
    se = spread * math.sqrt(1 / count + ratio)
    return {**undefined, "se": se, "t": mean / se, "p": float(2 * student.sf(abs(mean / se), count - 1))}
