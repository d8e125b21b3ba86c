"""What can be said against fitting and applying a transform to a study before any scan is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from xai_core import Fold
from xai_core.engine.progress import log
from xai_core.errors import InputError

from ._design import Design
from ._fit_people import Row, check_missing, check_no_leak, rows_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coded", "check_study", "told_by", "warn_of_imprint"]

# Part of the target's variance that covariates tell, from which on people are warned.
_CONFOUNDED = 0.05


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


def told_by(rows: Sequence[Row], design: Design) -> float:
    """Return which part of the target's variance the covariates tell in some people (adjusted R2, at least 0).

    Of several classes, that of the class that they tell best.

    Args:
        rows: The people, with their ``target``.
        design: The covariates' coding.
    """
    columns = np.array([design.row(row, "mean") for row in rows])
    texts = sorted({row["target"] for row in rows if isinstance(row["target"], str)})
    targets = [[float(row["target"] == name) for row in rows] for name in texts] or [[row["target"] for row in rows]]
    full = np.column_stack([np.ones(len(rows)), columns])
    free = len(rows) - np.linalg.matrix_rank(full)
    if free < 1:
        return 0.0
    best = 0.0
    for values in np.array(targets, dtype=np.float64):
        total = ((values - values.mean()) ** 2).sum()
        rest = ((values - full @ np.linalg.lstsq(full, values, rcond=None)[0]) ** 2).sum()
        if total > 0:
            best = max(best, float(1 - (rest / free) / (total / (len(rows) - 1))))
    return best


def warn_of_imprint(
    step: str, table: pd.DataFrame, folds: Sequence[Fold], design: Callable[[Sequence[Row]], Design], who: str
) -> None:
    """Say where the errors of what is learnt from some people write the confound into everybody's scan.

    With more voxels than people, the slopes' errors form a pattern that is in every corrected scan, in proportion to
    the person's covariate. Slopes from the whole training part leave no such relation in it that could be learnt.

    Args:
        step: The transform's name.
        table: One row for each scan.
        folds: The divisions of the people.
        design: Codes what is removed, from the rows of a training part.
        who: The people whom it is learnt from.
    """
    rows = rows_of(table)
    parts = [_of(rows, fold.train) for fold in folds]
    share = max((told_by(part, design(part)) for part in parts), default=0.0)
    if share > _CONFOUNDED:
        log.warning(
            "%s: what it removes tells %.0f %% of the target's variance in the training part, and is learnt from its "
            "%s alone. The errors of such estimates are a pattern in every corrected scan, by which a network can read "
            "the covariate, and so the target. fit_on: all prevents this, and takes as much of the disease's own "
            "effect away; groups that are matched need neither.",
            step, 100 * share, who,
        )  # fmt: skip


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
