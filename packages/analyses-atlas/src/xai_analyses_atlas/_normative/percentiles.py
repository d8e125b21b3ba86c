"""How unusual a person's relevance is among controls."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

__all__ = ["Rank", "percent", "rank_among"]


@dataclass(frozen=True)
class Rank:
    """Where a value lies among controls, the person left out.

    Attributes:
        controls: How many there are.
        as_high: How many of them have as much or more.
        percentile: Share of controls below, in percent, those with the same value counted half.
    """

    controls: int
    as_high: int
    percentile: float

    @property
    def top(self) -> float:
        """The smallest share of people that the value can honestly be said to be in the top of: (c + 1) / (n + 1).

        The person counts among those it is compared with, so that 20 controls can show the top 5 % at best, however
        high the value is (as a permutation test's p cannot be 0: Phipson & Smyth, Permutation p-values should never be
        zero, 2010).
        """
        return (self.as_high + 1) / (self.controls + 1)


def rank_among(value: float, person: str, values: npt.NDArray[np.float64], people: npt.NDArray[np.object_]) -> Rank:
    """Rank a person's value among the controls.

    Args:
        value: Of the person, finite.
        person: Is left out of the controls.
        values: Of the controls [n], finite.
        people: Who they are [n], each once.
    """
    others = values[people != person]
    above, same = int((others > value).sum()), int((others == value).sum())
    n = len(others)
    percentile = 100 * (n - above - same / 2) / n if n else float("nan")
    return Rank(n, above + same, percentile)


def percent(share: float) -> int:
    """Return a share as whole percent, rounded up: the top 1.6 % is no top 1 %."""
    return ceil(round(100 * share, 9))
