"""Whether people whose region is smaller than expected have more relevance there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._people import in_order_of_visits
from .._statistics import adjusted, correlation

__all__ = ["one_per_person", "relations"]

_KEYS = ["explainer", "region", "feature"]
_LEAST = 4


def one_per_person(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each person, explainer, region and feature: the first visit, mean over its folds."""
    visits = scores[["subject_id", "session_id", "scan_id"]].drop_duplicates()
    first = set(in_order_of_visits(visits).drop_duplicates("subject_id")["scan_id"])
    mine = scores[scores["scan_id"].isin(first)]
    grouped = mine.groupby([*_KEYS, "subject_id", "target"], sort=False, dropna=False)
    return grouped[["relevance", "w"]].mean().reset_index()


def relations(scores: pd.DataFrame, classes: Sequence[str] | None) -> pd.DataFrame:
    """Correlate the ranks of relevance and of w across people, in each region; each person counts once.

    Across everybody a correlation may only say that patients differ from controls in both; hence also within each
    class. Ranks of the relevance are those of its percentiles, without their ties.

    Returns:
        ``explainer``, ``region``, ``feature``, ``group`` (``all`` or a class), ``n``, ``rho`` (Spearman's),
        ``low``, ``high`` (95 %), ``p``, ``p_adjusted`` (Benjamini and Hochberg over the explainer's, the feature's and
        the group's regions) and ``note``: why there is no number.
    """
    people = one_per_person(scores)
    rows = []
    for key, group in people.groupby(_KEYS, sort=False, dropna=False):
        for name in ["all", *(classes or ())]:
            part = group if name == "all" else group[group["target"] == name]
            rows.append({**dict(zip(_KEYS, key, strict=True)), "group": name, **_related(part)})
    table = pd.DataFrame(rows)
    family = table.groupby(["explainer", "feature", "group"], sort=False, dropna=False)["p"]
    table.insert(len(table.columns) - 1, "p_adjusted", family.transform(lambda p: adjusted(p, "fdr-bh")))
    return table


def _related(people: pd.DataFrame) -> dict[str, float | int | str | None]:
    row: dict[str, float | int | str | None] = {"n": len(people), "rho": np.nan, "low": np.nan, "high": np.nan}
    row |= {"p": np.nan, "note": None}
    if len(people) < _LEAST:
        return row | {"note": f"fewer than {_LEAST} people"}
    found = correlation(people["relevance"], people["w"], "spearman")
    if np.isnan(found.estimate[0, 0]):
        return row | {"note": "relevance or w is the same for everybody"}
    names = ("estimate", "low", "high", "p")
    numbers = [float(getattr(found, name)[0, 0]) for name in names]
    return row | dict(zip(("rho", "low", "high", "p"), numbers, strict=True))
