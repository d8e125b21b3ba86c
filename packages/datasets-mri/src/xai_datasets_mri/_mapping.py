"""Columns under common names, in common units, with common values; and what a table's JSON file says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._columns import as_numbers
from ._recode import values_problem
from ._source import Column
from ._table import Cells, StudyTable, rows_text

__all__ = ["mapped", "sidecar", "units_of"]


def sidecar(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return what a JSON file says of a table's columns (BIDS: Description, Levels, Units); nothing without a file.

    Raises:
        InputError: The file cannot be read or is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        cause = " ".join(str(error).split())[:120]
        raise InputError(f"{path} cannot be read as JSON ({cause}). Correct it, or remove it.") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} holds a {type(about).__name__}, not an object with an entry for each column.")
    return {str(name): entry for name, entry in about.items() if isinstance(entry, dict)}


def units_of(study: StudyTable, name: str) -> str | None:
    """Return the unit of a column as the table's JSON file gives it, or None."""
    unit = study.about.get(name, {}).get("Units")
    return str(unit) if unit not in (None, "", "n/a") else None


def mapped(study: StudyTable, columns: Mapping[str, Column]) -> StudyTable:
    """Return the table with columns renamed, converted and recoded; others stay as they are.

    Raises:
        InputError: Columns or values that are not there, or texts where numbers are to be converted; all together.
    """
    problems: list[str] = []
    made: dict[str, Cells] = {}
    about = dict(study.about)
    for name, column in columns.items():
        if column.column not in study.columns:
            hint = did_you_mean(column.column, study.columns)
            problems.append(f"there is no column {column.column!r} (columns.{name}).{hint}")
            continue
        problem = values_problem(study, column.column, list(column.recode), f"columns.{name}.recode")
        problems += [problem] if problem else []
        cells, wrong = _converted(study, name, column)
        problems += [wrong] if wrong else []
        made[name] = cells
        about[name] = _about(study, column)
    if problems:
        listed = " ".join(problems) if len(problems) == 1 else "\n  " + "\n  ".join(problems)
        raise InputError(f"{study.path}: {listed} Columns: {', '.join(study.columns)}.")
    sources = {column.column for column in columns.values()}
    kept = {name: cells for name, cells in study.columns.items() if name not in sources and name not in made}
    return replace(study, columns={**kept, **made}, about=about)


def _about(study: StudyTable, column: Column) -> Mapping[str, Any]:
    """Return what is known of a column after its change: a converted one is no longer in the table's unit."""
    about = dict(study.about.get(column.column, {}))
    if column.is_converted:
        about.pop("Units", None)
    if column.recode:
        about.pop("Levels", None)
    return about if column.unit is None else {**about, "Units": column.unit}


def _converted(study: StudyTable, name: str, column: Column) -> tuple[Cells, str | None]:
    cells = tuple(None if cell is None else column.recode.get(cell, cell) for cell in study.columns[column.column])
    if not column.is_converted:
        return cells, None
    present = [(row, cell) for row, cell in zip(study.rows, cells, strict=True) if cell is not None]
    numbers = as_numbers([cell for _, cell in present], study.decimal_comma)
    odd = [row for (row, _), number in zip(present, numbers, strict=True) if number is None]
    if odd:
        first = next(cell for row, cell in present if row == odd[0])
        what = f"{column.column!r} is to be converted (columns.{name})"
        return cells, f"{what}, but is no number in {rows_text(odd)} ({first!r})."
    values = iter(numbers)
    changed = [None if cell is None else _text(next(values) or 0.0, column) for cell in cells]
    return tuple(changed), None


def _text(number: float, column: Column) -> str:
    # 15 digits: 0.001 * 1450000 is 1450, not 1450.0000000000002.
    return f"{number * column.scale / column.divide_by + column.offset:.15g}"
