"""Covariates as columns of a linear model, coded by the controls it is fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._statistics import Covariate, is_number

__all__ = ["Coding", "Numeric", "covariates_of"]

Array = npt.NDArray[np.float64]
_MOST_LEVELS = 20


@dataclass(frozen=True)
class Numeric:
    """A number among the controls: powers of (value - centre) / scale enter the model."""

    centre: float
    scale: float
    low: float
    high: float


@dataclass(frozen=True)
class Coding:
    """How the values of covariates become columns; decided by the controls alone.

    Attributes:
        covariates: In the order of the columns.
        numeric: Centre, scale and range by name.
        levels: Of each category, sorted; the first is the one that the others are compared with.
    """

    covariates: tuple[Covariate, ...]
    numeric: Mapping[str, Numeric]
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, controls: pd.DataFrame, covariates: Sequence[Covariate], whose: str) -> Coding:
        """Learn centres, scales and levels.

        Args:
            controls: One row for each control, no missing values in the covariates.
            covariates: Columns of ``controls``.
            whose: Names the controls in a message.

        Raises:
            InputError: Covariates are constant among the controls, or have too many levels: all are named.
        """
        numeric: dict[str, Numeric] = {}
        levels: dict[str, tuple[str, ...]] = {}
        problems = []
        for covariate in covariates:
            name, column = covariate.column, controls[covariate.column]
            numbers = is_number(column) if covariate.coding == "auto" else covariate.coding == "number"
            problem = _problem(column, covariate, numbers=numbers)
            if problem:
                problems.append(f"{name} {problem}.")
            elif numbers:
                values = column.to_numpy(np.float64)
                low, high = float(values.min()), float(values.max())
                numeric[name] = Numeric(float(values.mean()), float(values.std()), low, high)
            else:
                levels[name] = tuple(sorted({_level(value) for value in column}))
        if problems:
            raise InputError(
                f"covariates: they make no model of {whose}: {' '.join(problems)} Change 'covariates' or take "
                "these out (nothing can be expected for a value that no control has)."
            )
        return cls(tuple(covariates), numeric, levels)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of ``matrix``."""
        names = ["intercept"]
        for covariate in self.covariates:
            if covariate.column in self.numeric:
                powers = range(1, covariate.degree + 1)
                names += [covariate.column if power == 1 else f"{covariate.column}^{power}" for power in powers]
            else:
                names += [f"{covariate.column}={level}" for level in self.levels[covariate.column][1:]]
        return tuple(names)

    def matrix(self, people: pd.DataFrame) -> Array:
        """Return the design [n, p] of people without a ``gap``."""
        columns = [np.ones(len(people))]
        for covariate in self.covariates:
            if covariate.column in self.numeric:
                about = self.numeric[covariate.column]
                scaled = (people[covariate.column].to_numpy(np.float64) - about.centre) / about.scale
                columns += [scaled**power for power in range(1, covariate.degree + 1)]
            else:
                found = np.asarray([_level(value) for value in people[covariate.column]], dtype=object)
                columns += [(found == level).astype(np.float64) for level in self.levels[covariate.column][1:]]
        return np.column_stack(columns)

    def gap(self, person: Mapping[str, Any]) -> str | None:
        """Return why nothing can be expected for a person, or None: a value is missing, or no control has its level."""
        lacking = [c.column for c in self.covariates if pd.isna(person[c.column])]
        if lacking:
            return f"no {', '.join(lacking)}"
        for name, levels in self.levels.items():
            if _level(person[name]) not in levels:
                return f"no control of the training part has {name} {_level(person[name])}"
        return None

    def outside(self, person: Mapping[str, Any]) -> str | None:
        """Return where a person lies outside of the controls' range (the model extrapolates), or None."""
        found = [
            f"{name} {float(person[name]):.4g} (controls {about.low:.4g} to {about.high:.4g})"
            for name, about in self.numeric.items()
            if not about.low <= float(person[name]) <= about.high
        ]
        return "; ".join(found) or None

    def as_json(self) -> dict[str, Any]:
        """Return what is needed to rebuild the columns."""
        numeric = {
            name: {"centre": about.centre, "scale": about.scale, "low": about.low, "high": about.high}
            for name, about in self.numeric.items()
        }
        return {
            "columns": list(self.columns),
            "numeric": numeric,
            "levels": {name: list(levels) for name, levels in self.levels.items()},
        }


def covariates_of(given: Sequence[Any]) -> tuple[Covariate, ...]:
    """Return the parameter ``covariates`` as objects.

    Raises:
        InputError: One is named twice.
    """
    found = tuple(Covariate.of(item) for item in given)
    names = [covariate.column for covariate in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"covariates: {', '.join(twice)} is there twice. A polynomial is one entry with its degree.")
    return found


def _problem(column: pd.Series[Any], covariate: Covariate, *, numbers: bool) -> str | None:
    """Return why a covariate's values [n] make no columns, or None."""
    if column.nunique() < 2:
        return f"is {column.iloc[0]} for all of them"
    if numbers and not is_number(column):
        return f"is not a number (such as {column.iloc[0]!r})"
    if not numbers and covariate.degree > 1:
        return f"has categories, so it has no power {covariate.degree}"
    many = column.nunique()
    if not numbers and many > _MOST_LEVELS:
        return f"has {many} different categories: is it a number that was written as text?"
    return None


def _level(value: Any) -> str:
    """Return a level as text; whole numbers are read as floats where the column has a gap."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
