"""Chooses rows of a study table, renames the values of its target and joins them to groups."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._table import StudyTable

__all__ = ["filtered", "grouped", "recoded"]

_log = logging.getLogger("xai")


def filtered(study: StudyTable, where: Mapping[str, Sequence[str]]) -> StudyTable:
    """Return the rows that have one of the given values in each of the given columns.

    Raises:
        InputError: A column or a value does not occur, or no row is left.
    """
    for name, values in where.items():
        study.column(name, "where")
        _check_values(study, name, values, "where")
    keep = [
        all(study.columns[name][index] in values for name, values in where.items()) for index in range(len(study.rows))
    ]
    if not any(keep):
        raise InputError(
            f"{study.path}: no row has {' and '.join(f'{n} {_listed(v)}' for n, v in where.items())} (where)."
        )
    if not all(keep):
        _log.info("%s: left out %d of %d rows (where).", study.path, keep.count(False), len(keep))
    return study.select(keep)


def recoded(study: StudyTable, target: str, recode: Mapping[str, str]) -> StudyTable:
    """Return the table with values of the target replaced; others stay as they are.

    Raises:
        InputError: A value to replace does not occur.
    """
    _check_values(study, target, list(recode), "recode")
    cells = tuple(None if cell is None else recode.get(cell, cell) for cell in study.columns[target])
    return replace(study, columns={**study.columns, target: cells})


def grouped(study: StudyTable, target: str, groups: Mapping[str, Sequence[str]]) -> tuple[StudyTable, list[str]]:
    """Return the rows whose target is in a group, and the group of each.

    Raises:
        InputError: A value of a group does not occur.
    """
    _check_values(study, target, [value for values in groups.values() for value in values], "groups")
    home = {value: group for group, values in groups.items() for value in values}
    cells = study.columns[target]
    left_out = Counter(cell for cell in cells if cell not in home)
    if left_out:
        listed = ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items(), key=str))
        _log.info("%s: left out %d rows that are in no group: %s.", study.path, left_out.total(), listed)
    return study.select([cell in home for cell in cells]), [home[cell] for cell in cells if cell in home]


def _check_values(study: StudyTable, name: str, values: Sequence[str], parameter: str) -> None:
    occurring = sorted({cell for cell in study.columns[name] if cell is not None})
    for value in values:
        if value not in occurring:
            raise InputError(
                f"{study.path}: {value!r} ({parameter}) does not occur in the column {name!r}."
                f"{did_you_mean(value, occurring)} It holds: {_listed(occurring)}."
            )


def _listed(values: Sequence[str]) -> str:
    return ", ".join(repr(value) for value in values[:12]) + (", ..." if len(values) > 12 else "")
