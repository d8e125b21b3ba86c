"""Agreement over people: means with intervals, and intraclass correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._statistics import bootstrap_intervals
from .icc import intraclass
from .index import Explained
from .similarity import MEASURES

__all__ = ["SCALE_FREE", "icc_rows", "summarised"]

WHOLE = "(whole map)"
SCALE_FREE = ("share", "size_corrected", "positive_share")
_COLUMNS = [
    "comparison", "explainer", "a", "b", "output", "measure", "people", "pairs", "not_defined", "mean", "low", "high",
    "sd", "median", "other_person", "above_other_person",
]  # fmt: skip
_LEAST = 3
_VISITS = 2  # of each person enter an intraclass correlation: all people must have the same number


def summarised(pairs: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Return mean similarities over people, each person counting once.

    Explainers and runs are summarised by pair, networks and visits over all pairs of them. Pairs that explain different
    outputs (two networks may predict different classes of one scan) stand in rows of their own.

    Returns:
        ``comparison``, ``explainer``, ``a``, ``b``, ``output`` (``same`` or ``different``), ``measure``, ``people``,
        ``pairs``, ``not_defined`` (pairs with a constant map), ``mean``, ``low``, ``high`` (95 %, bootstrap of
        people), ``sd``, ``median``, ``other_person`` (mean with a map of somebody else) and ``above_other_person``:
        share of people whose maps agree better than that.
    """
    pooled = pairs["comparison"].isin(["folds", "visits"])
    table = pairs.assign(
        a=pairs["a"].where(~pooled, "any"),
        b=pairs["b"].where(~pooled, "any other"),
        output=np.where(pairs["output_a"] == pairs["output_b"], "same", "different"),
    )
    keys = ["comparison", "explainer", "a", "b", "output"]
    rows = []
    for key, group in table.groupby(keys, sort=True, dropna=False):
        for measure in MEASURES:
            rows.append(
                {**dict(zip(keys, key, strict=True)), "measure": measure, **_mean(group, measure, resamples, seed)}
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _mean(group: pd.DataFrame, measure: str, resamples: int, seed: int) -> dict[str, Any]:
    other = f"{measure}_other_person"
    people = group.groupby("subject_id", sort=True)[[measure, other]].mean()
    values = people[measure].dropna().to_numpy(np.float64)
    row: dict[str, Any] = {
        "people": len(values), "pairs": len(group), "not_defined": int(group[measure].isna().sum()),
        "mean": values.mean() if len(values) else np.nan, "low": np.nan, "high": np.nan,
        "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
        "median": np.median(values) if len(values) else np.nan,
        "other_person": people[other].mean(),
    }  # fmt: skip
    if len(values) >= _LEAST:
        generator = np.random.default_rng(seed)
        ends = bootstrap_intervals(
            lambda rows: values[rows].mean(keepdims=True), len(values), resamples, generator, "percentile"
        )
        row |= {"low": ends.low[0], "high": ends.high[0]}
    both = people.dropna()
    above = float((both[measure] > both[other]).mean()) if len(both) else np.nan
    return row | {"above_other_person": above}


def icc_rows(
    values: Mapping[tuple[str, str], Mapping[Explained, float]],
    main: str,
    comparisons: Sequence[str],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return intraclass correlations, and what has none.

    Raters are the explainers, the networks, the runs, or the first two visits; a person enters once (by the first visit
    and the first network, where these are not what is compared), and only where every rater has a value. Explainers
    have scales of their own, so only measures without one are compared between them.

    Args:
        values: By measure and region (``WHOLE``: the map), of each map.
        main: Name of the run that is analysed.
        comparisons: Which.
    """
    rows, without = [], []
    for comparison in comparisons:
        for (measure, region), found in values.items():
            if comparison == "explainers" and measure not in SCALE_FREE:
                continue
            for explainer, table in _rated(found, main, comparison).items():
                head = {"comparison": comparison, "explainer": explainer, "region": region, "measure": measure}
                complete = table.dropna()
                lost = len(table) - len(complete)
                both = _constant(complete) or intraclass(complete.to_numpy(np.float64))
                if isinstance(both, str):
                    without.append({**head, "reason": both, "people": len(complete)})
                    continue
                for each in both:
                    rows.append({
                        **head, "icc": each.kind, "people": each.n, "raters": each.k, "left_out": lost,
                        "value": each.value, "low": each.low, "high": each.high, "f": each.f, "df1": each.df1,
                        "df2": each.df2, "p": each.p,
                    })  # fmt: skip
    return rows, without


def _constant(table: pd.DataFrame) -> str | None:
    """Return which raters tell nobody apart (Grad-CAM has no negative relevance): agreement with them means nothing."""
    names = [str(name) for name in table if table[name].nunique() == 1]
    return f"{', '.join(names)} has one value for everybody" if names and len(table) > 1 else None


def _rated(found: Mapping[Explained, float], main: str, comparison: str) -> dict[str | None, pd.DataFrame]:
    """Return tables of people by raters, by explainer (None: explainers are the raters)."""
    cells: dict[str | None, dict[str, dict[Any, float]]] = {}
    for each, value in found.items():
        slot = each.slot
        fixed = {"run": slot.run == main, "network": slot.network == 0, "visit": slot.visit == 0}
        varied = {"folds": "network", "runs": "run", "visits": "visit"}.get(comparison)
        if not all(held for name, held in fixed.items() if name != varied):
            continue
        if varied == "visit" and slot.visit >= _VISITS:
            continue
        rater = slot.explainer if varied is None else getattr(slot, varied)
        table = cells.setdefault(None if varied is None else slot.explainer, {})
        table.setdefault(each.record.subject_id, {})[rater] = value
    frames = {name: pd.DataFrame.from_dict(table, orient="index").sort_index() for name, table in cells.items()}
    return {name: frame for name, frame in frames.items() if frame.shape[1] > 1}
