"""Tests of counts."""

from __future__ import annotations

__all__ = ["mcnemar"]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of the exact McNemar test (McNemar 1947): a binomial test of the pairs that disagree.

    Args:
        only_first: Pairs that only the first got right.
        only_second: Pairs that only the second got right.

    Returns:
        1.0 where no pair disagrees.
    """
    from scipy.stats import binomtest

    total = only_first + only_second
    return float(binomtest(only_first, total, 0.5).pvalue) if total else 1.0
