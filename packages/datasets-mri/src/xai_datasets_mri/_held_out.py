"""Sets people aside who are only ever tested, and reads columns of a study's table as texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

__all__ = ["column_texts", "labels_of", "set_apart"]

_log = logging.getLogger("xai")


def set_apart(table: pd.DataFrame, test_only: Mapping[str, Any] | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the rows of the people to divide, and the ids (sorted) of those who are only ever tested.

    Args:
        table: One row for each scan.
        test_only: ``column`` and its ``values`` that mark the held-out scans; None: nobody is held out.

    Raises:
        InputError: The column or a value does not occur or is spelt in two ways, nobody is left, or a person is on
            both sides.
    """
    if test_only is None:
        return table, ()
    column, values = test_only["column"], [str(value) for value in test_only["values"]]
    cells = column_texts(table, column, "test_only.column")
    occurring = sorted(set(cells.dropna()))
    for value in values:
        if value not in occurring:
            raise InputError(
                f"split.params.test_only: {value!r} does not occur in the column {column!r}."
                f"{did_you_mean(value, occurring)} It holds: {', '.join(occurring[:12])}."
            )
        _check_spelling(column, value, [other for other in occurring if other not in values])
    chosen = cells.isin(values)
    if cells.isna().any():
        _log.warning(
            "split.params.test_only: %d scans have no %s; they are not held out and are trained on.",
            int(cells.isna().sum()),
            column,
        )
    if chosen.all():
        raise InputError(f"split.params.test_only holds out everybody ({column}: {', '.join(values)}).")
    people = table["subject_id"].astype(str)
    held_out = set(people[chosen])
    both = sorted(held_out & set(people[~chosen]))
    if both:
        raise InputError(
            f"split.params.test_only: {len(both)} people are in the held-out cohort and outside of it: "
            f"{', '.join(both[:5])}. Leave out one side's rows, so that nobody is trained on and tested."
        )
    return table[~chosen], tuple(sorted(held_out))


def _check_spelling(column: str, value: str, others: Sequence[str]) -> None:
    """Refuse a column with "ADNI3" and "adni3": the people of the second one would be trained on unnoticed."""
    same = [other for other in others if other.strip().casefold() == value.strip().casefold()]
    if same:
        raise InputError(
            f"split.params.test_only: the column {column!r} holds {value!r}, which is held out, and {same[0]!r}, which "
            "is not. Spell them alike, or name both in values."
        )


def column_texts(table: pd.DataFrame, name: str, parameter: str) -> pd.Series:
    """Return a column as texts, None where there is no value; 1.0 is the text ``1``, as in the table that was read.

    Raises:
        InputError: There is no such column.
    """
    if name not in table:
        raise InputError(
            f"split.params.{parameter}: the study's table has no column {name!r}.{did_you_mean(name, table.columns)} "
            f"Columns: {', '.join(map(str, table.columns))}."
        )
    return pd.Series([_text(value) for value in table[name]], index=table.index, dtype=object)


def _text(value: Any) -> str | None:
    if value is None or pd.isna(value):
        return None
    # A column of integers with missing values is one of floats in pandas.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def labels_of(table: pd.DataFrame, column: str | None) -> dict[str, str]:
    """Return one label for each person, in the order of the table: the target's or a column's, of the last row.

    Raises:
        InputError: A label is missing, or the labels are numbers that are no classes.
    """
    name = "target" if column is None else column
    cells = column_texts(table, name, "column")
    people = table["subject_id"].astype(str)
    missing: Sequence[str] = list(people[cells.isna()])
    if missing:
        raise InputError(
            f"split.params.column: {len(missing)} scans have no {name}, so they cannot be stratified by it: "
            f"{', '.join(missing[:5])}. Fill it in, or leave these rows out."
        )
    if pd.api.types.is_float_dtype(table[name]) and any(not float(value).is_integer() for value in table[name]):
        raise InputError(
            f"sklearn-stratified-kfold needs classes, but {name} holds numbers such as {table[name].iloc[0]:g}. "
            "Give a column of classes (column), or use stratified-kfold, which divides numbers into stretches."
        )
    return dict(zip(people, cells, strict=True))
