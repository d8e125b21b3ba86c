"""Chooses rows of a study table, renames the values of its target and joins them to groups."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._columns import as_numbers
from ._left_out import LeftOut
from ._source import Range
from ._table import StudyTable, rows_text

__all__ = ["filtered", "grouped", "recoded", "values_problem"]

_log = logging.getLogger("xai")
Condition = Sequence[str] | Range


def filtered(study: StudyTable, where: Mapping[str, Condition], left_out: LeftOut) -> StudyTable:
    """Return the rows that have one of the given values, or a number in the given range, in each of the given columns.

    Raises:
        InputError: A column or a value does not occur, a text stands where a range is asked for, or no row is left.
    """
    missing = [name for name in where if name not in study.columns]
    if missing:
        study.column(missing[0], "where")
    problems = [problem for name, condition in where.items() if (problem := _condition_problem(study, name, condition))]
    if problems:
        raise InputError("\n".join(problems))
    reasons: list[str | None] = [None] * len(study.rows)
    for name, condition in where.items():
        for index, kept in enumerate(_met(study, name, condition)):
            if not kept and reasons[index] is None:
                reasons[index] = f"where: {name} is {study.columns[name][index] or 'n/a'}"
    if where and None not in reasons:
        raise InputError(f"{study.path}: no row has {' and '.join(_said(n, c) for n, c in where.items())} (where).")
    dropped = len(reasons) - reasons.count(None)
    if dropped:
        _log.info("%s: left out %d of %d rows (where).", study.path, dropped, len(reasons))
    return left_out.select(study, reasons)


def _met(study: StudyTable, name: str, condition: Condition) -> list[bool]:
    cells = study.columns[name]
    if not isinstance(condition, Range):
        return [cell in condition for cell in cells]
    kept = [cell is not None and cell not in condition.others for cell in cells]
    if condition.least is None and condition.most is None:
        return kept
    numbers = as_numbers([cell or "" for cell in cells], study.decimal_comma)
    return [k and number is not None and _between(number, condition) for k, number in zip(kept, numbers, strict=True)]


def _between(number: float, condition: Range) -> bool:
    above = condition.least is None or number >= condition.least
    return above and (condition.most is None or number <= condition.most)


def _condition_problem(study: StudyTable, name: str, condition: Condition) -> str | None:
    if not isinstance(condition, Range):
        return values_problem(study, name, condition, "where")
    if condition.least is None and condition.most is None:
        return values_problem(study, name, condition.others, "where")
    pairs = zip(study.rows, study.columns[name], strict=True)
    present = [(row, cell) for row, cell in pairs if cell is not None and cell not in condition.others]
    numbers = as_numbers([cell for _, cell in present], study.decimal_comma)
    odd = [row for (row, _), number in zip(present, numbers, strict=True) if number is None]
    if not odd:
        return None
    first = next(cell for row, cell in present if row == odd[0])
    return (
        f"{study.path}: where asks for a range of {name!r}, which is no number in {rows_text(odd)} ({first!r}). "
        "Correct it, or leave such values out with 'not'."
    )


def _said(name: str, condition: Condition) -> str:
    if not isinstance(condition, Range):
        return f"{name} {_listed(condition)}"
    parts = [f"not {_listed(condition.others)}"] if condition.others else []
    parts += [] if condition.least is None else [f"from {condition.least:g}"]
    parts += [] if condition.most is None else [f"to {condition.most:g}"]
    return f"{name} {' '.join(parts)}"


def recoded(study: StudyTable, target: str, recode: Mapping[str, str], *, all_occur: bool = True) -> StudyTable:
    """Return the table with values of the target replaced; others stay as they are.

    Raises:
        InputError: A value to replace does not occur, unless others than this table may hold it.
    """
    problem = values_problem(study, target, list(recode), "recode") if all_occur else None
    if problem:
        raise InputError(problem)
    cells = tuple(None if cell is None else recode.get(cell, cell) for cell in study.columns[target])
    about = study.about
    if recode:
        about = {**about, target: {key: v for key, v in about.get(target, {}).items() if key != "Levels"}}
    return replace(study, columns={**study.columns, target: cells}, about=about)


def grouped(
    study: StudyTable, target: str, groups: Mapping[str, Sequence[str]], left_out: LeftOut, *, all_occur: bool = True
) -> tuple[StudyTable, list[str]]:
    """Return the rows whose target is in a group, and the group of each.

    Raises:
        InputError: A value of a group does not occur, unless others than this table may hold it.
    """
    members = [value for values in groups.values() for value in values]
    problem = values_problem(study, target, members, "groups") if all_occur else None
    if problem:
        raise InputError(problem)
    home = {value: group for group, values in groups.items() for value in values}
    cells = study.columns[target]
    others = Counter(cell for cell in cells if cell not in home)
    if others:
        listed = ", ".join(f"{count} of {name}" for name, count in sorted(others.items(), key=str))
        _log.info("%s: left out %d rows that are in no group: %s.", study.path, others.total(), listed)
    reasons = [None if cell in home else f"in no group: {target} is {cell}" for cell in cells]
    return left_out.select(study, reasons), [home[cell] for cell in cells if cell in home]


def values_problem(study: StudyTable, name: str, values: Sequence[str], parameter: str) -> str | None:
    """Return a sentence on the first value that a column does not hold, or None."""
    occurring = sorted({cell for cell in study.columns[name] if cell is not None})
    for value in values:
        if value not in occurring:
            return (
                f"{study.path}: {value!r} ({parameter}) does not occur in the column {name!r}."
                f"{did_you_mean(value, occurring)} It holds: {_listed(occurring)}.{study.levels_text(name)}"
            )
    return None


def _listed(values: Sequence[str]) -> str:
    return ", ".join(repr(value) for value in values[:12]) + (", ..." if len(values) > 12 else "")
