"""What can be said against fitting and applying a transform to a study before any scan is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from xai_core import Fold
from xai_core.engine.progress import log
from xai_core.errors import InputError

from ._fit_people import Row, check_missing, check_no_leak, rows_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coded", "check_study"]


class Coded(Protocol):
    """Covariates that are coded for a fold."""

    def row(self, about: Row, unknown: str, /) -> object:
        """Return a person's columns; raises InputError where they cannot be known."""


_SHOWN = 30


def check_study(
    step: str,
    table: pd.DataFrame,
    folds: Sequence[Fold],
    classes: Sequence[str] | None,
    covariates: Sequence[str],
    allowed: Sequence[str],
    unknown: str,
    design: Callable[[Sequence[Row]], Coded],
) -> None:
    """Try the designs of every fold on the study's table.

    Args:
        step: The transform's name.
        table: One row for each scan.
        folds: The divisions of the people.
        classes: Class names, None for a regression.
        covariates: Names of those that are used.
        allowed: Those of them that may be missing.
        unknown: What becomes of a level that the fold's design does not know.
        design: Makes the design from the rows of a training part.

    Raises:
        InputError: What is wrong, with everybody whom it is about.
    """
    rows = rows_of(table)
    try:
        gaps = check_missing(rows, covariates, allowed)
        check_no_leak(rows, covariates, classes)
    except InputError as error:
        raise InputError(f"{step}: {error}") from error
    if gaps:
        listed = ", ".join(f"{name} ({count})" for name, count in gaps.items())
        log.warning("%s: not known of some scans, so that of the average person of the fit is taken: %s", step, listed)
    for index, fold in enumerate(folds):
        where = f"{step}: fold {index}: "
        try:
            made = design(_of(rows, fold.train))
        except InputError as error:
            raise InputError(f"{where}{error}") from error
        used = _of(rows, [*fold.train, *fold.val, *fold.test, *fold.held_out])
        _check_applied(where, made, used, unknown)


def _of(rows: Sequence[Row], people: Sequence[str]) -> list[Row]:
    wanted = set(people)
    return [row for row in rows if str(row["subject_id"]) in wanted]


def _check_applied(where: str, design: Coded, rows: Sequence[Row], unknown: str) -> None:
    problems: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        try:
            design.row(row, unknown)
        except InputError as error:
            problems[str(error)].append(str(row.get("scan_id", row["subject_id"])))
    if problems:
        listed = " ".join(f"{problem} So it is for {_listed(people)}." for problem, people in problems.items())
        raise InputError(f"{where}{listed} Change the split, leave the covariate out, or see the parameter unknown.")


def _listed(people: Sequence[str]) -> str:
    rest = len(people) - _SHOWN
    return ", ".join(people[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
