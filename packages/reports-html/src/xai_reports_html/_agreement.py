"""How far two explainers agree on one scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ._summary import NONE, number
from ._volumes import Volume, coarse

__all__ = ["TOP", "Pair", "agreement", "agreement_rows"]

Array = np.ndarray[Any, Any]
TOP = 0.05
"""Share of the blocks whose overlap is measured."""


@dataclass(frozen=True)
class Pair:
    """Two explainers of one scan.

    Attributes:
        first: Id of an explainer.
        second: Id of another one.
        rank: Spearman's correlation of the absolute relevance of blocks of about 4 mm, among blocks where either map
            is not zero; NaN where one of them is constant.
        dice: Overlap of the ``TOP`` share of these blocks with most relevance, in [0, 1]; by chance it is ``TOP``.
    """

    first: str
    second: str
    rank: float
    dice: float

    @property
    def by_chance(self) -> bool:
        """Whether the strongest relevance overlaps no more than by chance."""
        return not self.dice > TOP


def agreement(maps: Mapping[str, Volume]) -> list[Pair]:
    """Compare each pair of maps of one scan; all lie on one grid. Maps that are zero everywhere are left out."""
    blocks = {name: coarse(np.abs(volume.data), volume.spacing).ravel() for name, volume in maps.items()}
    blocks = {name: values for name, values in blocks.items() if values.any()}
    return [_pair(one, other, blocks[one], blocks[other]) for one, other in combinations(blocks, 2)]


def _pair(first: str, second: str, one: Array, other: Array) -> Pair:
    inside = (one > 0) | (other > 0)
    ranks = rankdata(one[inside]), rankdata(other[inside])
    varied = all(np.ptp(values) > 0 for values in ranks)
    correlation = float(np.corrcoef(*ranks)[0, 1]) if varied else float("nan")
    count = max(1, round(TOP * int(inside.sum())))
    tops = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in ranks]
    return Pair(first, second, correlation, len(tops[0] & tops[1]) / count)


def agreement_rows(found: list[list[Pair]]) -> list[dict[str, Any]]:
    """Return a row for each pair of explainers: medians and ranges over scans."""
    pairs: dict[tuple[str, str], list[Pair]] = {}
    for one in found:
        for pair in one:
            pairs.setdefault((pair.first, pair.second), []).append(pair)
    return [
        {
            "first": first, "second": second, "n": len(all_of),
            "rank": _spread([pair.rank for pair in all_of]), "dice": _spread([pair.dice for pair in all_of]),
            "chance": sum(pair.by_chance for pair in all_of),
        }
        for (first, second), all_of in pairs.items()
    ]  # fmt: skip


def _spread(values: list[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return f"{number(median(known), 2)} ({number(min(known), 2)} to {number(max(known), 2)})" if known else NONE
