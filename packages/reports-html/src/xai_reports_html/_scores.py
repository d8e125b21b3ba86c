"""What the page says of the test scores beyond their table: over folds, against chance, by group, of the age gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from xai_core import InputError

from ._scorecharts import calibration_chart, gap_chart
from ._summary import NONE, between, number, score_name
from ._texts import catalogue, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from xai_core.engine.results import RunResults

__all__ = ["against_chance", "correction_note", "first_repeat", "group_tables", "if_made", "score_charts"]

T = TypeVar("T")
_OF_GROUPS = ("auc", "balanced_accuracy", "sensitivity", "specificity", "mae", "r", "gap", "gap_corrected")


def if_made(read: Callable[[], T]) -> T | None:
    """Return what a run holds, or None where that step has not been carried out."""
    try:
        return read()
    except InputError:
        return None


def first_repeat(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first repeat: in several ones the same people would count several times."""
    return table[table["repeat"] == table["repeat"].min()] if "repeat" in table else table


def against_chance(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return name, p and mean by chance of each score that was tested against chance."""
    return [
        {"name": score_name(name), "p": _p(found), "chance": number(found.get("chance"))}
        for name, found in (metrics.get("permutation") or {}).items()
    ]


def _p(found: Mapping[str, Any]) -> str:
    p = float(found["p"])
    return f"{p:.3f}" if p >= 0.0995 else f"{p:.2g}"


def correction_note(run: RunResults) -> str | None:
    """Return what to know of the correction of the gap; None where there is none."""
    name = str((run.config.get("training", {}).get("params") or {}).get("bias_correction"))
    return catalogue().get(f"correction.{name}")


def group_tables(run: RunResults) -> list[dict[str, Any]]:
    """Return a table for each covariate: its name, columns, and a row of values with intervals for each group."""
    table = if_made(lambda: run.score_table("by-group"))
    if table is None or not len(table):
        return []
    table = first_repeat(table)
    names = [name for name in _OF_GROUPS if name in set(table["metric"])]
    return [
        {"by": str(by), "columns": [score_name(name) for name in names], "rows": _groups(part, names)}
        for by, part in table.groupby("by", sort=False)
    ]


def _groups(table: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for group, part in table.groupby("group", sort=False, dropna=False):
        scores = {row["metric"]: row for row in part.to_dict("records")}
        first = part.iloc[0]
        rows.append(
            {
                "group": str(group) if isinstance(group, str) else plain("score.not_known"),
                "n": int(first["n"]),
                "people": int(first["people"]),
                "cells": [_cell(scores.get(name)) for name in names],
            }
        )
    return rows


def _cell(score: Mapping[Any, Any] | None) -> dict[str, str]:
    value = number(None if score is None else float(score["value"]))
    if score is None or value == NONE or number(float(score["low"])) == NONE:
        return {"value": value, "interval": ""}
    return {"value": value, "interval": between(float(score["low"]), float(score["high"]))}


def score_charts(run: RunResults, predictions: pd.DataFrame) -> dict[str, Figure | None]:
    """Draw the calibration of a classification, or the gap of a regression, as far as the run has them."""
    if run.classes is not None:
        curve = if_made(lambda: run.score_table("calibration"))
        return {} if curve is None else {"calibration": calibration_chart(first_repeat(curve))}
    if "gap" not in predictions or not len(predictions):
        return {}
    corrected = predictions["gap_corrected"].tolist() if "gap_corrected" in predictions else None
    return {"gap": gap_chart(predictions["target"].tolist(), predictions["gap"].tolist(), corrected)}
