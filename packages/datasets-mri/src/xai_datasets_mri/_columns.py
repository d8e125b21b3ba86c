"""Turns columns of texts into numbers, targets and covariates."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from xai_core.errors import InputError

from ._table import Cells, StudyTable, rows_text

__all__ = [
    "as_numbers",
    "check_classes",
    "covariate",
    "is_numeric_target",
    "numeric_targets",
    "odd_among_numbers",
    "warn_of_spellings",
]

_log = logging.getLogger("xai")

# A leading zero marks a code ("01"), which must not lose it; nan, inf and 1_000 are no numbers here.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*)")


def _number(cell: str, decimal_comma: bool) -> float | None:
    text = cell.replace(",", ".") if decimal_comma else cell
    return float(text) if _NUMBER.fullmatch(text) else None


def as_numbers(cells: Sequence[str], decimal_comma: bool) -> list[float | None]:
    """Return each text as a number, or None where it is not one."""
    return [_number(cell, decimal_comma) for cell in cells]


def odd_among_numbers(table: StudyTable, name: str) -> str | None:
    """Return where a column of numbers holds texts, such as ``row 18 ('74,5')``; None where most are texts, or none."""
    present = [(row, cell) for row, cell in zip(table.rows, table.columns[name], strict=True) if cell is not None]
    numbers = as_numbers([cell for _, cell in present], table.decimal_comma)
    odd = [place for place, number in zip(present, numbers, strict=True) if number is None]
    if not odd or 2 * len(odd) >= len(present):
        return None
    return f"{rows_text([row for row, _ in odd])} ({odd[0][1]!r})"


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
    odd = odd_among_numbers(table, name)
    if odd is not None:
        raise InputError(
            f"{table.path}: the target column {name!r} holds numbers, but not in {odd}. "
            "Correct them, write n/a where the value is missing, or give 'classes' for a classification."
        )
    return None not in as_numbers([cell for cell in table.columns[name] if cell is not None], table.decimal_comma)


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


def warn_of_spellings(table: StudyTable, name: str, classes: Sequence[str] | None) -> None:
    """Tell of values that differ from a class in capitals only (``ad``, ``AD``): people would be lost, or apart.

    Args:
        table: The study.
        name: Column of the target.
        classes: The classes that are used; None: every value is one.
    """
    occurring = sorted({cell for cell in table.columns[name] if cell is not None})
    seen: dict[str, str] = {one.casefold(): one for one in classes or ()}
    for value in occurring:
        like = seen.setdefault(value.casefold(), value) if classes is None else seen.get(value.casefold(), value)
        if like != value and value not in (classes or ()):
            fate = "is a class of its own" if classes is None else "is left out"
            _log.warning(
                "%s: %r in the column %r differs from the class %r in capitals only, and %s. If both are one, say so: "
                "recode: {%s: %s}.",
                table.path, value, name, like, fate, value, like,
            )  # fmt: skip
