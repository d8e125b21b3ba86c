"""Turns columns of texts into numbers, targets and covariates."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xai_core.errors import InputError

from ._table import Cells, StudyTable, rows_text

__all__ = ["as_numbers", "check_classes", "covariate", "is_numeric_target", "numeric_targets"]

# A leading zero marks a code ("01"), which must not lose it; nan, inf and 1_000 are no numbers here.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*)")


def _number(cell: str, decimal_comma: bool) -> float | None:
    text = cell.replace(",", ".") if decimal_comma else cell
    return float(text) if _NUMBER.fullmatch(text) else None


def as_numbers(cells: Sequence[str], decimal_comma: bool) -> list[float | None]:
    """Return each text as a number, or None where it is not one."""
    return [_number(cell, decimal_comma) for cell in cells]


def covariate(cells: Cells, decimal_comma: bool) -> list[str | int | float | None]:
    """Return a column as int or float where all of its values are numbers, and else as texts."""
    present = [cell for cell in cells if cell is not None]
    if present and all(_INTEGER.fullmatch(cell) for cell in present):
        return [None if cell is None else int(cell) for cell in cells]
    if present and None not in as_numbers(present, decimal_comma):
        return [None if cell is None else _number(cell, decimal_comma) for cell in cells]
    return list(cells)


def is_numeric_target(table: StudyTable, name: str) -> bool:
    """Return whether the target is a number.

    Raises:
        InputError: Most, but not all, of its values are numbers: reading them as classes would be a silent mistake.
    """
    present = [(row, cell) for row, cell in zip(table.rows, table.columns[name], strict=True) if cell is not None]
    numbers = as_numbers([cell for _, cell in present], table.decimal_comma)
    odd = [row for (row, _), number in zip(present, numbers, strict=True) if number is None]
    if odd and 2 * len(odd) < len(present):
        first = next(cell for row, cell in present if row == odd[0])
        raise InputError(
            f"{table.path}: the target column {name!r} holds numbers, but not in {rows_text(odd)} ({first!r}). "
            "Correct them, write n/a where the value is missing, or give 'classes' for a classification."
        )
    return not odd


def numeric_targets(table: StudyTable, name: str) -> list[float]:
    """Return a target column without missing values as numbers."""
    cells = [cell for cell in table.columns[name] if cell is not None]
    return [number for number in as_numbers(cells, table.decimal_comma) if number is not None]


def check_classes(table: StudyTable, name: str, classes: Sequence[str]) -> None:
    """Refuse a class that does not occur.

    Raises:
        InputError: With the values that do.
    """
    occurring = sorted({cell for cell in table.columns[name] if cell is not None})
    for wanted in classes:
        if wanted not in occurring:
            shown = ", ".join(repr(value) for value in occurring[:12]) + (", ..." if len(occurring) > 12 else "")
            raise InputError(
                f"{table.path}: the class {wanted!r} (classes) does not occur in the column {name!r}. "
                f"It holds: {shown}.{table.levels_text(name)}"
            )
