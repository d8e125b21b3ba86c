"""Whom a transform is fitted to, and what can be said against a study before any scan is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xai_core.errors import InputError

from ._design import is_missing, level_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_missing", "check_no_leak", "fit_people", "rows_of", "who_fits"]

Row = Mapping[str, Any]
FitOn = str | Mapping[str, Any]

# As the core puts them first among the classes.
_CONTROLS = {"cn", "nc", "hc", "con", "ctl", "ctrl", "control", "controls", "healthy", "normal", "no", "0", "negative"}
_SHOWN = 30


def who_fits(fit_on: FitOn) -> str:
    """Return in words whom a transform is fitted to."""
    if isinstance(fit_on, str):
        return "controls" if fit_on == "controls" else "people"
    return f"people with {fit_on['column']} {' or '.join(map(str, fit_on['values']))}"


def fit_people(rows: Sequence[Row], fit_on: FitOn) -> list[int]:
    """Return the positions of the people whom a transform is fitted to.

    Args:
        rows: What is known of the training part.
        fit_on: ``"controls"`` (the one target with a name that controls usually have), ``"all"``, or
            ``{"column": name, "values": [...]}``.

    Raises:
        InputError: Nobody is, or it is not clear who the controls are.
    """
    if fit_on == "all":
        return list(range(len(rows)))
    if isinstance(fit_on, str):
        name = _controls(rows)
        return [i for i, row in enumerate(rows) if row.get("target") == name]
    column, values = fit_on["column"], {level_of(value) for value in fit_on["values"]}
    if all(column not in row for row in rows):
        raise InputError(f"fit_on names the column {column!r}, which the study does not have. {_there(rows)}")
    there = {level_of(row.get(column)) for row in rows if not is_missing(row.get(column))}
    found = [i for i, row in enumerate(rows) if level_of(row.get(column)) in values]
    if not found:
        raise InputError(
            f"fit_on: nobody in the training part has {column} {' or '.join(sorted(values))}. There is: "
            f"{', '.join(sorted(there)) or 'nothing'}."
        )
    return found


def _controls(rows: Sequence[Row]) -> str:
    targets = {row.get("target") for row in rows}
    usual = sorted(t for t in targets if isinstance(t, str) and t.lower() in _CONTROLS)
    if len(usual) == 1:
        return usual[0]
    kind = f"targets are {', '.join(sorted(map(str, targets))[:5])}"
    what = "more than one of them is" if usual else "none of them is"
    raise InputError(
        f"it cannot tell who the controls are: the {kind}, and {what} a usual name of controls. Say it by 'fit_on': "
        "{column: target, values: [...]} or another column, or all."
    )


def _there(rows: Sequence[Row]) -> str:
    return f"It has: {', '.join(sorted({key for row in rows for key in row}))}."


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a study's table as one mapping for each scan."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def check_missing(rows: Sequence[Row], names: Sequence[str], allowed: Sequence[str]) -> dict[str, int]:
    """Return how many scans lack each covariate.

    Args:
        rows: What is known of every scan of the study.
        names: The covariates.
        allowed: Those of them that are replaced where they are missing.

    Raises:
        InputError: The study lacks a covariate altogether, or some people lack one and it is not replaced.
    """
    absent = [name for name in names if all(is_missing(row.get(name)) for row in rows)]
    if absent:
        raise InputError(f"the study has no covariate {' and no '.join(map(repr, absent))}. {_there(rows)}")
    lacking = {
        name: [str(row.get("scan_id", row.get("subject_id", "?"))) for row in rows if is_missing(row.get(name))]
        for name in names
    }
    lacking = {name: people for name, people in lacking.items() if people}
    refused = {name: people for name, people in lacking.items() if name not in allowed}
    if refused:
        listed = "; ".join(f"{name}: {_listed(people)}" for name, people in refused.items())
        raise InputError(
            f"some people lack a covariate ({listed}). Fill the table, leave these people out, or take the mean of the "
            "fit (missing: mean)."
        )
    return {name: len(people) for name, people in lacking.items()}


def _listed(people: Sequence[str]) -> str:
    rest = len(people) - _SHOWN
    return ", ".join(people[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def check_no_leak(rows: Sequence[Row], names: Sequence[str], classes: Sequence[str] | None) -> None:
    """Refuse a covariate that gives the class away: using it on a test person would use the person's class.

    Raises:
        InputError: People with the same value of it always have the same class.
    """
    if classes is None:
        return
    for name in names:
        groups: dict[str, set[Any]] = defaultdict(set)
        for row in rows:
            if not is_missing(row.get(name)):
                groups[level_of(row[name])].add(row.get("target"))
        # With nearly as many values as people, nothing is said by each belonging to one class.
        few = 1 < len(groups) <= len(rows) / 4
        if few and all(len(targets) == 1 for targets in groups.values()):
            pairs = ", ".join(f"{level}: {next(iter(targets))}" for level, targets in sorted(groups.items())[:6])
            raise InputError(
                f"the covariate {name} gives the class away ({pairs}), so it would carry the class of test people into "
                "their images. Leave it out."
            )
