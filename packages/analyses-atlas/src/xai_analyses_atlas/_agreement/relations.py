"""How a person's map depends on age and on the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._statistics import CorrelationMethod, adjusted, correlation
from .across import one_map_each
from .index import Index

__all__ = ["COLUMNS", "person_table", "relations"]

COLUMNS = ["sum", "absolute", "positive_share", "likeness"]
_METHODS: tuple[CorrelationMethod, ...] = ("pearson", "spearman")
_LEAST = 4


def person_table(
    index: Index, totals: Mapping[tuple[str, str, int], Mapping[str, float]], likeness: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """Return one row for each explainer and person (first visit, first network): numbers of the map and of the person.

    Columns: ``explainer``, ``subject_id``, ``scan_id``, ``fold``, ``sum``, ``absolute``, ``positive_share``,
    ``likeness`` (correlation with the mean map of the others whose map explains the same output),
    ``output`` (that is explained, as the network gives it), ``explained`` (its name) and the columns of the people.

    Args:
        index: Maps.
        totals: By explainer, scan and fold.
        likeness: By explainer and scan.
    """
    people: dict[tuple[str, int], dict[str, Any]] = {
        (str(row["scan_id"]), int(row["fold"])): {str(name): value for name, value in row.items()}
        for row in index.table.to_dict("records")
    }
    rows = []
    for explainer in index.explainers:
        for each in one_map_each(index, explainer):
            scan = each.record.scan_id
            rows.append({
                "explainer": explainer, "scan_id": scan, "fold": each.fold,
                **totals[explainer, scan, each.fold], "likeness": likeness.get((explainer, scan), np.nan),
                "output": each.record.sidecar.get("output", np.nan), "explained": each.output,
                **people[scan, each.fold],
            })  # fmt: skip
    table = pd.DataFrame(rows)
    first = ["explainer", "subject_id", "scan_id", "fold", *COLUMNS, "output", "explained"]
    files = ("image", "ground_truth", "mask", "map_")  # paths say nothing of a person
    rest = [name for name in table.columns if name not in first and not str(name).startswith(files)]
    return table[[*first, *rest]]


def relations(people: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Correlate numbers of maps with numbers of people, each person once.

    Returns:
        ``explainer``, ``map`` (what of it), ``person`` (which column), ``method``, ``n``, ``left_out`` (people without
        a number), ``r``, ``low``, ``high`` (95 %), ``p``, ``p_adjusted`` (Benjamini and Hochberg over the explainer's
        rows of one column and method) and ``note``: why there is no number.
    """
    rows: list[dict[str, Any]] = []
    for explainer, group in people.groupby("explainer", sort=False):
        for measure in COLUMNS:
            for column in columns:
                for method in _METHODS:
                    head = {"explainer": explainer, "map": measure, "person": column, "method": method}
                    rows.append({**head, **_related(group[measure], group[column], method)})
    order = ["explainer", "map", "person", "method", "n", "left_out", "r", "low", "high", "p", "note"]
    table = pd.DataFrame(rows, columns=order)
    table["p"] = table["p"].astype("float64")
    family = table.groupby(["explainer", "person", "method"], sort=False)["p"]
    table.insert(10, "p_adjusted", family.transform(lambda p: adjusted(p, "fdr-bh")))
    return table


def _related(measure: pd.Series[Any], column: pd.Series[Any], method: CorrelationMethod) -> dict[str, Any]:
    both = pd.DataFrame({"map": measure.astype("float64"), "person": column.astype("float64")})
    known = both[np.isfinite(both).all(axis=1)]
    row: dict[str, Any] = {"n": len(known), "left_out": len(both) - len(known), "note": None}
    row |= dict.fromkeys(("r", "low", "high", "p"), np.nan)
    if len(known) < _LEAST:
        return row | {"note": f"fewer than {_LEAST} people"}
    found = correlation(known["map"], known["person"], method)
    if np.isnan(found.estimate[0, 0]):
        return row | {"note": "one of them is the same for everybody"}
    numbers = [float(getattr(found, name)[0, 0]) for name in ("estimate", "low", "high", "p")]
    return row | dict(zip(("r", "low", "high", "p"), numbers, strict=True))
