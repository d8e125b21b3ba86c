"""Means and ranks of regions over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._relevance import OUTSIDE
from .._statistics import bootstrap_intervals

if TYPE_CHECKING:
    from .._groups import Scan

__all__ = ["by_person", "rank_table", "ranked"]

Array = npt.NDArray[np.float64]

_COLUMNS = ["people", "mean", "low", "high", "rank", "rank_low", "rank_high"]


def by_person(table: pd.DataFrame, measure: str, scans: Sequence[Scan]) -> pd.DataFrame:
    """Return the measure of each person (rows) in each region (columns, in the atlas' order).

    Args:
        table: Rows of ``region_table`` of one explainer.
        measure: Which column.
        scans: Scans and folds that count; several of a person are averaged, each as heavy as the others.
    """
    keys = pd.MultiIndex.from_tuples(list(scans), names=["scan_id", "fold"])
    inside = table[table["region"] != OUTSIDE]
    mine = inside[pd.MultiIndex.from_frame(inside[["scan_id", "fold"]]).isin(keys)]
    wide = mine.pivot_table(index="subject_id", columns="index", values=measure, aggfunc="mean", dropna=False)
    return wide.reindex(columns=list(dict.fromkeys(inside["index"])))


def ranked(values: Array, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Return mean and rank of each region over people, with intervals.

    Args:
        values: [people, regions]; NaN where a person has none in a region.
        resamples: Of people, with replacement.
        confidence: Level of the intervals, quantiles of the resamples.
        seed: Of the resamples.

    Returns:
        One row for each region: ``people`` (with a value), ``mean``, ``low``, ``high``, ``rank`` (1: the largest size
        of the mean; ties share the better one), ``rank_low``, ``rank_high``. No intervals for fewer than three people.
    """
    count = values.shape[1]

    def estimate(rows: npt.NDArray[np.int64]) -> Array:
        means = _means(values[rows])
        return np.concatenate([means, _ranks(means)])

    whole = estimate(np.arange(len(values)))
    low, high = np.full(2 * count, np.nan), np.full(2 * count, np.nan)
    if len(values) >= 3:
        generator = np.random.default_rng(seed)
        found = bootstrap_intervals(estimate, len(values), resamples, generator, "percentile", confidence=confidence)
        low, high = found.low, found.high
        low[count:], high[count:] = np.floor(low[count:]), np.ceil(high[count:])  # a rank is a whole number
    people = np.isfinite(values).sum(axis=0)
    columns = (people, whole[:count], low[:count], high[:count], whole[count:], low[count:], high[count:])
    return pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))


def _means(values: Array) -> Array:
    known = np.isfinite(values)
    count = known.sum(axis=0)
    means: Array = np.divide(
        np.where(known, values, 0.0).sum(axis=0), count, out=np.full(values.shape[1], np.nan), where=count > 0
    )
    return means


def _ranks(means: Array) -> Array:
    sizes = np.abs(means)
    known = np.isfinite(sizes)
    ranks: Array = np.full(len(sizes), np.nan)
    ordered = np.sort(-sizes[known])
    ranks[known] = np.searchsorted(ordered, -sizes[known], side="left") + 1
    return ranks


def rank_table(
    table: pd.DataFrame,
    measure: str,
    groups: Mapping[str, Sequence[Scan]],
    **options: Any,
) -> pd.DataFrame:
    """Return means and ranks of each explainer and group that has people.

    Args:
        table: Of ``region_table``.
        measure: Which column.
        groups: Scans and folds by group.
        options: Of ``ranked``.

    Returns:
        ``explainer``, ``group``, ``index``, ``region``, ``hemisphere``, ``structure`` and the columns of ``ranked``,
        ordered by explainer, group and rank.
    """
    names = table.drop_duplicates("index").set_index("index")[["region", "hemisphere", "structure"]]
    parts = []
    for explainer, mine in table.groupby("explainer", sort=False):
        for group, scans in groups.items():
            wide = by_person(mine, measure, scans) if scans else None
            if wide is None or wide.empty:
                continue
            found = ranked(wide.to_numpy(np.float64), **options)
            head = pd.DataFrame({"explainer": explainer, "group": group, "index": wide.columns})
            part = pd.concat([head, names.loc[wide.columns].reset_index(drop=True), found], axis=1)
            parts.append(part.sort_values(["rank", "index"], kind="stable", na_position="last"))
    return pd.concat(parts, ignore_index=True)
