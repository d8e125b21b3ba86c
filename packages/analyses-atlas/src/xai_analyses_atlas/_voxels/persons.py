"""One row for each person: what is tested and the covariates, over all of the person's scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._statistics import Covariate, Design, is_number
from .cases import Case, LeftOut

__all__ = ["Persons", "persons_of"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Persons:
    """People in the order of their first case.

    Attributes:
        table: A row for each: ``person`` and the columns that are needed.
        cases: Of each person, at least one.
    """

    table: pd.DataFrame
    cases: tuple[tuple[Case, ...], ...]

    def of(self, kept: Sequence[int]) -> Persons:
        """Return some of them, by their places."""
        return Persons(self.table.iloc[list(kept)].reset_index(drop=True), tuple(self.cases[k] for k in kept))

    def design(self, covariates: Sequence[Covariate], *, ranks: bool) -> Array:
        """Return the covariates' columns [N, k] without an intercept.

        Raises:
            InputError: See ``Design``.
        """
        return Design(self.table, covariates).matrix(ranks=ranks) if covariates else np.zeros((len(self.table), 0))

    def names(self, covariates: Sequence[Covariate]) -> list[str]:
        """Return the names of the columns of ``design``."""
        return Design(self.table, covariates).names

    def values(self, column: str, classes: Sequence[str] | None) -> tuple[Array, str]:
        """Return a column as numbers [N] and what they mean; of two groups the second is 1.

        Args:
            column: Of the table.
            classes: Order of the groups of ``target`` and ``prediction``; others are in alphabetical order.

        Raises:
            InputError: It is constant, or names more than two groups.
        """
        values = self.table[column]
        if values.nunique() < 2:
            raise InputError(f"column: {column} is the same ({values.iloc[0]}) for all {len(values)} people.")
        if is_number(values):
            return values.to_numpy(dtype=np.float64), column
        groups = sorted(values.unique(), key=str)
        if classes is not None and set(groups) <= set(classes):
            groups = [name for name in classes if name in groups]
        if len(groups) != 2:
            raise InputError(
                f"column: {column} names {len(groups)} groups ({', '.join(map(str, groups[:5]))}); a relation needs a "
                "number or two groups. Groups are compared by group-contrasts."
            )
        return (values == groups[1]).to_numpy(dtype=np.float64), f"{column} ({groups[1]} 1, {groups[0]} 0)"


def persons_of(cases: Sequence[Case], columns: Sequence[str], left_out: LeftOut) -> Persons:
    """Bring cases together by person: numbers are averaged over a person's cases, groups must be the same.

    Args:
        cases: Any number for each person.
        columns: Which must be known.
        left_out: Gets who lacks one.

    Raises:
        InputError: Nobody is left.
    """
    by_person: dict[str, list[Case]] = {}
    for case in cases:
        by_person.setdefault(case.person, []).append(case)
    rows, kept = [], []
    for person, mine in by_person.items():
        found = pd.DataFrame([{name: case.row[name] for name in columns} for case in mine], index=range(len(mine)))
        reason = _problem(found)
        if reason is not None:
            for case in mine:
                left_out.add(case, reason)
            continue
        rows.append({"person": person, **{name: _combined(found[name]) for name in columns}})
        kept.append(tuple(mine))
    if not rows:
        raise InputError(f"voxel-features: nobody is left: {left_out.in_words()}.")
    return Persons(pd.DataFrame(rows), tuple(kept))


def _problem(found: pd.DataFrame) -> str | None:
    missing = [str(name) for name in found if found[name].isna().any()]
    if missing:
        return f"has no {', '.join(missing)}"
    infinite = [str(name) for name in found if is_number(found[name]) and not np.isfinite(found[name]).all()]
    if infinite:
        return f"{', '.join(infinite)} is not finite"
    changing = [str(name) for name in found if not is_number(found[name]) and found[name].nunique() > 1]
    return f"{', '.join(changing)} differs between visits" if changing else None


def _combined(values: pd.Series[Any]) -> Any:
    return float(values.mean()) if is_number(values) else values.iloc[0]
