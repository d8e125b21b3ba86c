"""What relevance is related to: features of regions, columns of a study, and what is adjusted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._features import Features
from .._features.people import listed
from .._hints import target_hint
from .._statistics import Covariate, is_number

__all__ = ["Variable", "Vocabulary", "feature_variables", "named_variables"]

Array = npt.NDArray[np.float64]
_MOST_LEVELS = 20


@dataclass(frozen=True, eq=False)
class Variable:
    """One column that relevance is related to.

    Attributes:
        feature: Its name, such as ``ThickAvg``, ``age`` or ``target=AD``.
        region: Of the atlas, or None: it belongs to the person.
        unit: Of the values, or an empty string.
        source: Where it comes from.
        values: [N] of the scans, NaN where it is missing.
        column: Name of the column that it was made of, which is not adjusted for at the same time.
        others: [N, m], the other 0/1 columns of the same categories, which are adjusted for.
        other_names: Their names.
    """

    feature: str
    region: str | None
    unit: str
    source: str
    values: Array
    column: str | None = None
    others: Array | None = None
    other_names: tuple[str, ...] = ()


class Vocabulary:
    """Columns that a parameter may name: of the study and its predictions, or features of the whole brain.

    Args:
        scans: One row for each scan.
        features: Brain features of the scans.
    """

    def __init__(self, scans: pd.DataFrame, features: Features) -> None:
        self._scans = scans
        self._whole = features.table[features.table["region"].isna()]

    def column(self, name: str, parameter: str) -> pd.Series[Any]:
        """Return the values of a column by scan, in the order of the scans; infinite ones are missing.

        Raises:
            InputError: There is none, or several features have the name.
        """
        if name in self._scans.columns:
            values = self._scans[name].reset_index(drop=True)
            return values.where(np.isfinite(values.to_numpy(np.float64))) if is_number(values) else values
        found = self._whole[(self._whole["feature"] == name) | (self._whole["name"] == name)]
        features = found["feature"].unique()
        if len(features) > 1:
            raise InputError(f"{parameter}: {name!r} may be {listed(map(str, features))}. Take one of these names.")
        if not len(features):
            known = self.names()
            raise InputError(
                f"{parameter}: the study has no column {name!r}, and no source a feature of the whole brain of this "
                f"name.{did_you_mean(name, known)}{target_hint(known)} There are: {listed(known, 15)}."
            )
        by_scan = found.set_index("scan_id")["value"]
        return self._scans["scan_id"].map(by_scan).reset_index(drop=True)

    def names(self) -> list[str]:
        """Return everything that may be named."""
        return [*map(str, self._scans.columns), *map(str, self._whole["feature"].unique())]

    def check(self, names: Sequence[str], parameter: str) -> None:
        """Raise where one of the names is not known.

        Raises:
            InputError: All that are unknown are in one message.
        """
        problems = []
        for name in names:
            try:
                self.column(name, parameter)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError("\n".join(problems))


def feature_variables(features: Features, scans: Sequence[str]) -> list[Variable]:
    """Return one variable for each feature of each region, in the order of the sources."""
    table = features.table[features.table["region"].notna()]
    found = []
    for (feature, region), rows in table.groupby(["feature", "region"], sort=False):
        values = rows.set_index("scan_id")["value"].reindex(list(scans)).to_numpy(dtype=np.float64)
        about = rows.iloc[0]
        found.append(Variable(str(feature), str(region), str(about["unit"]), str(about["source"]), values))
    return found


def named_variables(names: Sequence[str], vocabulary: Vocabulary, classes: Sequence[str] | None) -> list[Variable]:
    """Return variables of columns: a number as it is, k categories as k - 1 columns of 0 and 1.

    The category that the others are compared with is the first class of the target, otherwise the first by name.

    Raises:
        InputError: A column does not exist, is empty, or names too many categories.
    """
    vocabulary.check(names, "variables")
    found = []
    for name in names:
        values = vocabulary.column(name, "variables")
        if not values.notna().any():
            raise InputError(f"variables: the column {name!r} is empty for every tested scan. Leave it out.")
        if is_number(values):
            found.append(Variable(name, None, "", "study", values.to_numpy(dtype=np.float64), name))
        else:
            found += _categories(name, values, classes)
    return found


def _categories(name: str, values: pd.Series[Any], classes: Sequence[str] | None) -> list[Variable]:
    present = set(values.dropna())
    levels = [one for one in classes or () if one in present]
    levels = levels if len(levels) == len(present) else sorted(present, key=str)
    if len(levels) > _MOST_LEVELS:
        raise InputError(
            f"variables: the column {name!r} names {len(levels)} categories; at most {_MOST_LEVELS} can be related."
        )
    if len(levels) < 2:
        raise InputError(f"variables: {name!r} is {levels[0]!r} for every tested scan, so nothing relates to it.")
    missing = values.isna().to_numpy()
    columns = np.stack([np.where(missing, np.nan, values == level) for level in levels[1:]], axis=1)
    labels = [f"{name}={level}" for level in levels[1:]]
    found = []
    for place, label in enumerate(labels):
        others = np.delete(columns, place, axis=1) if len(labels) > 1 else None
        names = tuple(label for other, label in enumerate(labels) if other != place)
        unit = f"against {levels[0]}"
        found.append(Variable(label, None, unit, "study", columns[:, place], name, others, names))
    return found


def covariates_of(given: Sequence[Any]) -> tuple[Covariate, ...]:
    """Return the parameter ``covariates`` as objects.

    Raises:
        InputError: A column is there twice.
    """
    found = tuple(Covariate.of(one) for one in given)
    names = [one.column for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"covariates: {', '.join(twice)} is there more than once. For a square write "
            f"{{column: {twice[0]}, degree: 2}} alone."
        )
    return found
