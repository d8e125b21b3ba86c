"""Covariates as the columns of a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from xai_core import InputError

__all__ = ["Covariate", "Design", "independent", "is_number"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Covariate:
    """One covariate of a model.

    Attributes:
        column: Its name.
        degree: Highest power of a number: 2 adds its square.
        coding: ``"number"``, ``"categories"`` (0/1 columns, one for each category but the first), or ``"auto"``: text
            and true/false are categories.
    """

    column: str
    degree: int = 1
    coding: Literal["auto", "number", "categories"] = "auto"

    @classmethod
    def of(cls, given: Any) -> Covariate:
        """Return the covariate of a configuration's entry: its name, or a mapping of the attributes."""
        return cls(given) if isinstance(given, str) else cls(**given)


def is_number(values: pd.Series[Any]) -> bool:
    """Return whether a column is measured, not named."""
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


class Design:
    """Covariates of people, coded.

    Args:
        table: One row for each person (or visit) with the covariates; none of them may be missing.
        covariates: Which ones.

    Raises:
        InputError: A covariate is missing for somebody, is constant, has a power though it names categories, or the
            columns are not independent of each other; all such problems are in one message.
    """

    def __init__(self, table: pd.DataFrame, covariates: Sequence[Covariate]) -> None:
        self.covariates = tuple(covariates)
        self._people = len(table)
        self._parts = [_part(table[one.column], one) for one in self.covariates]
        problems = [problem for part in self._parts for problem in part.problems]
        if not problems:
            problems = self._dependent(len(table))
        if problems:
            raise InputError("covariates: " + " ".join(problems))

    @property
    def names(self) -> list[str]:
        """Names of the columns, such as ``age``, ``age^2`` and ``site=B``."""
        return [name for part in self._parts for name in part.names]

    def matrix(self, rows: npt.NDArray[np.int64] | None = None, *, ranks: bool = False) -> Array:
        """Return the columns [n, k], without an intercept; numbers are standardised before powers are taken.

        Args:
            rows: Which people; None: everybody. A category that none of them has gives a column of zeros.
            ranks: Take ranks of numbers (among ``rows``) instead of their values.
        """
        blocks = [part.columns(rows, ranks=ranks) for part in self._parts]
        n = self._people if rows is None else len(rows)
        return np.hstack(blocks) if blocks else np.zeros((n, 0))

    def used(self, rows: npt.NDArray[np.int64] | None = None, *, ranks: bool = False) -> tuple[Array, list[str]]:
        """Return ``matrix`` without the columns that are constant or follow from those before them, and their names.

        Among some of the people a category may be missing: what is left is what can be adjusted for.
        """
        whole = self.matrix(rows, ranks=ranks)
        kept = independent(whole)
        return whole[:, kept], [name for name, keep in zip(self.names, kept, strict=True) if keep]

    def _dependent(self, people: int) -> list[str]:
        whole = self.matrix()
        if not whole.shape[1]:
            return []
        if people < whole.shape[1] + 3:
            few = f"{people} people are fewer than the {whole.shape[1] + 3} that an intercept, {whole.shape[1]} columns"
            return [f"{few} ({', '.join(self.names)}) and a variable of interest need. Take fewer covariates."]
        kept = independent(whole)
        if kept.all():
            return []
        names = ", ".join(name for name, keep in zip(self.names, kept, strict=True) if not keep)
        return [f"{names} follows from the columns before it ({', '.join(self.names)}). Leave it out."]


def independent(matrix: Array) -> npt.NDArray[np.bool_]:
    """Return bool [k]: which columns of [n, k] an intercept and the columns before them do not explain."""
    basis = np.full((len(matrix), 1), 1 / np.sqrt(len(matrix)))
    kept = np.zeros(matrix.shape[1], dtype=bool)
    for place, column in enumerate(matrix.T):
        size = float(np.linalg.norm(column - column.mean()))
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        length = float(np.linalg.norm(rest))
        kept[place] = size > 1e-12 * (1 + float(np.abs(column).max())) and length > 1e-7 * size
        if kept[place]:
            basis = np.hstack([basis, (rest / length)[:, None]])
    return kept


@dataclass(frozen=True)
class _Part:
    values: npt.NDArray[Any]  # numbers, or 0/1 columns [n, levels - 1]
    degree: int
    names: list[str]
    problems: list[str]

    def columns(self, rows: npt.NDArray[np.int64] | None, *, ranks: bool) -> Array:
        values = self.values if rows is None else self.values[rows]
        if values.ndim == 2:
            return cast(Array, values)
        numbers = stats.rankdata(values) if ranks else values
        spread = float(numbers.std())
        centred = (numbers - numbers.mean()) / (spread if spread > 0 else 1.0)
        return np.stack([centred**power for power in range(1, self.degree + 1)], axis=1)


def _part(values: pd.Series[Any], covariate: Covariate) -> _Part:
    name, problems = covariate.column, []
    missing = int(values.isna().sum())
    if missing:
        problems.append(f"{name} is missing for {missing} of {len(values)} people.")
    numeric = is_number(values) if covariate.coding == "auto" else covariate.coding == "number"
    if numeric and not is_number(values):
        problems.append(f"{name} is not a number.")
    if not numeric and covariate.degree > 1:
        problems.append(f"{name} has categories, so it has no power {covariate.degree}.")
    if values.nunique() < 2:
        problems.append(f"{name} is the same ({values.iloc[0] if len(values) else 'empty'}) for everybody.")
    if problems:
        return _Part(np.zeros(len(values)), 1, [name], problems)
    if numeric:
        powers = [name if power == 1 else f"{name}^{power}" for power in range(1, covariate.degree + 1)]
        return _Part(values.to_numpy(dtype=np.float64), covariate.degree, powers, [])
    levels = sorted(values.unique(), key=str)
    columns = np.stack([(values == level).to_numpy(dtype=np.float64) for level in levels[1:]], axis=1)
    return _Part(columns, 1, [f"{name}={level}" for level in levels[1:]], [])
