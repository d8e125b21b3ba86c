"""What can be wrong between cohorts: values that nobody has, other codings, other units."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from statistics import median

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._mapping import units_of
from ._source import Target
from ._table import StudyTable

__all__ = ["check_covariates", "check_occurring"]

_log = logging.getLogger("xai")
Value = str | int | float | None
Columns = Mapping[str, Sequence[Value]]

# Medians further apart are rather another unit than other people: months, cubic millimetres.
_FACTOR = 8
_CATEGORIES = 12


def check_occurring(values: Mapping[str, Collection[str]], target: Target) -> None:
    """Refuse classes, members of groups and values to recode that no cohort has.

    Args:
        values: The target's values in each cohort's table, before they are recoded.
        target: What is to be predicted.

    Raises:
        InputError: All of them in one message.
    """
    before = {value for cohort in values.values() for value in cohort}
    after = {target.recode.get(value, value) for value in before}
    members = [value for group in (target.groups or {}).values() for value in group]
    wanted = [("recode", list(target.recode), before), ("classes", list(target.classes or ()), after)]
    wanted.append(("groups", members, after))
    problems = [
        f"{value!r} ({parameter}) does not occur in the column {target.column!r} of any cohort."
        f"{did_you_mean(value, known)}"
        for parameter, names, known in wanted
        for value in names
        if value not in known
    ]
    if problems:
        raise InputError("\n".join([*problems, f"The cohorts hold: {', '.join(map(repr, sorted(after)[:12]))}."]))


def check_covariates(
    values: Mapping[str, Columns], studies: Mapping[str, StudyTable], wanted: Sequence[str] | None
) -> dict[str, dict[str, Sequence[Value]]]:
    """Return the covariates to keep of each cohort, integers as floats where another cohort has floats.

    Args:
        values: By cohort and name.
        studies: The tables, for the units that their JSON files give.
        wanted: Names to keep; None: all.

    Raises:
        InputError: A wanted one is nowhere; one is texts here and numbers there, or in two units.
    """
    names = list(dict.fromkeys(name for columns in values.values() for name in columns))
    problems = [
        f"no cohort has a column {name!r} (covariates).{did_you_mean(name, names)}"
        for name in wanted or ()
        if name not in names
    ]
    kept = names if wanted is None else [name for name in names if name in wanted]
    for name in kept:
        columns = {cohort: present for cohort, own in values.items() if (present := _present(own.get(name, ())))}
        problem = _kinds_problem(name, columns) or _units_problem(name, {c: studies[c] for c in columns})
        if problem:
            problems.append(problem)
        else:
            _tell_of_differences(name, columns)
    if problems:
        raise InputError("\n".join(problems))
    return {
        cohort: {
            name: _alike(own[name], [other.get(name, ()) for other in values.values()]) for name in kept if name in own
        }
        for cohort, own in values.items()
    }


def _present(cells: Sequence[Value]) -> list[Value]:
    return [cell for cell in cells if cell is not None]


def _alike(cells: Sequence[Value], everywhere: Sequence[Sequence[Value]]) -> Sequence[Value]:
    if any(isinstance(cell, float) for column in everywhere for cell in column):
        return [float(cell) if isinstance(cell, int) else cell for cell in cells]
    return cells


def _kinds_problem(name: str, columns: Mapping[str, Sequence[Value]]) -> str | None:
    texts = {cohort: cells for cohort, cells in columns.items() if isinstance(cells[0], str)}
    if not texts or len(texts) == len(columns):
        return None
    listed = "; ".join(f"{cohort}: {_some(cells)}" for cohort, cells in columns.items())
    return (
        f"the column {name!r} is texts in some cohorts and numbers in others ({listed}). Give it one coding with "
        f"columns: {{{name}: {{column: ..., recode: ...}}}}, or leave it out of 'covariates'."
    )


def _units_problem(name: str, studies: Mapping[str, StudyTable]) -> str | None:
    units = {cohort: unit for cohort, study in studies.items() if (unit := units_of(study, name))}
    if len({unit.casefold().rstrip("s") for unit in units.values()}) < 2:
        return None
    listed = ", ".join(f"{cohort}: {unit}" for cohort, unit in units.items())
    return (
        f"the column {name!r} is in several units by the tables' JSON files ({listed}). Convert it with columns: "
        f"{{{name}: {{column: {name}, scale: ..., unit: ...}}}}."
    )


def _tell_of_differences(name: str, columns: Mapping[str, Sequence[Value]]) -> None:
    for (one, first), (two, second) in combinations(columns.items(), 2):
        if isinstance(first[0], str):
            few = len(set(first) | set(second)) <= _CATEGORIES
            if few and not set(first) & set(second):
                _log.warning(
                    "cohorts: the values of %r have nothing in common in %s (%s) and %s (%s). If they mean the same, "
                    "give them one name with columns.%s.recode.", name, one, _some(first), two, _some(second), name,
                )  # fmt: skip
        else:
            low, high = sorted(abs(median(_numbers(cells))) for cells in (first, second))
            if low > 0 and high / low > _FACTOR:
                _log.warning(
                    "cohorts: %r is of another size in %s (median %g) than in %s (median %g). Another unit? Convert it "
                    "with columns.%s.scale.", name, one, median(_numbers(first)), two, median(_numbers(second)), name,
                )  # fmt: skip


def _numbers(cells: Sequence[Value]) -> list[float]:
    return [float(cell) for cell in cells if isinstance(cell, int | float)]


def _some(cells: Sequence[Value]) -> str:
    found = list(dict.fromkeys(cells))
    return ", ".join(repr(cell) for cell in found[:4]) + (", ..." if len(found) > 4 else "")
