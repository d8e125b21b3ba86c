"""Strata of people: classes, stretches of a numeric target, and combinations of these with further columns."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from xai_core.errors import InputError

from ._held_out import column_texts

__all__ = ["Strata", "people_of", "strata_of"]

_log = logging.getLogger("xai")

# Ids of the people of each stratum, in sorted order.
Strata = Mapping[str, list[str]]
# With more, smaller bins a numeric target is balanced better; people per bin must still fill every part.
_MAX_BINS = 10
# Further numeric columns with more values than this are cut into quarters of the people.
_MAX_LEVELS = 10
_JOINED = "(others)"


def people_of(table: pd.DataFrame) -> pd.Series:
    """Return one target for each person, by id in sorted order: the last class, or the mean of the numbers.

    Raises:
        InputError: The table is empty or a target is missing.
    """
    if table.empty:
        raise InputError("There are no people to split: the table of the study is empty.")
    missing = table.loc[table["target"].isna(), "subject_id"]
    if len(missing):
        listed = ", ".join(str(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{len(missing)} scans have no target, so they cannot be split: {listed}. Leave them out.")
    groups = table.groupby(table["subject_id"].astype(str), sort=True)["target"]
    return groups.mean() if pd.api.types.is_numeric_dtype(table["target"]) else groups.last().astype(str)


def strata_of(table: pd.DataFrame, stretch: int, columns: Sequence[str] = (), rare: int = 1) -> Strata:
    """Return the strata by name.

    Args:
        table: One row for each scan.
        stretch: A numeric target is cut into stretches of at least as many people.
        columns: Names of further columns, the most important one first; of a person's rows the last one counts.
        rare: Combinations with ``columns`` that have fewer people are joined, within their class.

    Raises:
        InputError: Everybody is of one class, or a column is not there.
    """
    strata = _by_target(people_of(table), max(stretch, rare) if columns else stretch)
    return _combined(table, strata, rare, columns) if columns else strata


def _by_target(people: pd.Series, smallest: int) -> Strata:
    if not pd.api.types.is_numeric_dtype(people):
        classes = {str(name): sorted(members.index) for name, members in people.groupby(people)}
        if len(classes) == 1:
            raise InputError(
                f"All {len(people)} people are of the class {next(iter(classes))!r}. "
                "A classification needs two classes at least."
            )
        return classes
    return _stretches(people, max(1, min(_MAX_BINS, len(people) // smallest)), "target")


def _stretches(values: pd.Series, count: int, what: str) -> Strata:
    ordered = values.sort_values(kind="stable")
    edges = np.linspace(0, len(ordered), count + 1).round().astype(int)
    parts = [ordered.iloc[start:end] for start, end in itertools.pairwise(edges) if end > start]
    return {
        f"{number}. stretch of the {what}, {part.iloc[0]:g} to {part.iloc[-1]:g}": sorted(part.index)
        for number, part in enumerate(parts, start=1)
    }


def _combined(table: pd.DataFrame, strata: Strata, smallest: int, columns: Sequence[str]) -> Strata:
    levels = [_levels(table, column) for column in columns]
    cells: dict[tuple[str, ...], list[str]] = {}
    for name, members in strata.items():
        for person in members:
            cells.setdefault((name, *(level[person] for level in levels)), []).append(person)
    rare = {key: len(members) for key, members in sorted(cells.items()) if len(members) < smallest}
    for depth in range(len(columns), 0, -1):
        cells = _joined(cells, depth, smallest)
    if rare:
        listed = ", ".join(f"{' / '.join(key)} ({count})" for key, count in list(rare.items())[:8])
        _log.info(
            "split.params.stratify: %d combinations of %s have fewer than %d people and are joined with others: %s%s",
            len(rare),
            ", ".join(("the target", *columns)),
            smallest,
            listed,
            ", ..." if len(rare) > 8 else "",
        )
    return {" / ".join(key): sorted(members) for key, members in sorted(cells.items())}


def _joined(cells: dict[tuple[str, ...], list[str]], depth: int, smallest: int) -> dict[tuple[str, ...], list[str]]:
    """Join the rare cells whose first ``depth`` values are the same; in a class, if too few, its smallest other too."""
    found: dict[tuple[str, ...], list[str]] = {}
    for prefix, keys in itertools.groupby(sorted(cells), key=lambda key: key[:depth]):
        mine = {key: cells[key] for key in keys}
        rare = [key for key in mine if len(mine[key]) < smallest]
        joined = [person for key in rare for person in mine.pop(key)]
        if joined and mine and len(joined) < smallest and depth == 1:
            joined += mine.pop(min(mine, key=lambda key: (len(mine[key]), key)))
        found |= mine
        if joined:
            # One cell alone keeps its name: nothing was joined to it.
            alone = len(joined) == len(cells[rare[0]])
            found.setdefault(rare[0] if alone else (*prefix, _JOINED), []).extend(joined)
    return found


def _levels(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Return each person's value of a column as a text; many different numbers as quarters of the people."""
    texts = column_texts(table, column, "stratify")
    people = table["subject_id"].astype(str)
    numeric = pd.api.types.is_numeric_dtype(table[column]) and not pd.api.types.is_bool_dtype(table[column])
    last = dict(zip(people, texts, strict=True))
    if numeric and len(set(texts.dropna())) > _MAX_LEVELS:
        means = table.groupby(people, sort=True)[column].mean().dropna()
        quarters = _stretches(means, 4, column)
        known = {person: name for name, members in quarters.items() for person in members}
        return {person: known.get(person, f"no {column}") for person in last}
    return {person: f"no {column}" if text is None else text for person, text in last.items()}
