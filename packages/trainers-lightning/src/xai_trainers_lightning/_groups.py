"""Scores of each site, of each sex, of each range of a covariate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from ._pairwise import group_text

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["group_columns", "groups_of", "scores_by_group"]

_USUAL = ("site", "sex", "gender")
_MOST = 30  # groups of a column that is not asked for: more are likely ids
_VALUES = 8  # different numbers above which a column is cut into thirds


def group_columns(table: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    """Return the columns to group by: those asked for, or site and sex where the table has two or more of them.

    Raises:
        InputError: A column that is asked for is not there.
    """
    if by is None:
        return [name for name in _USUAL if name in table and 2 <= table[name].nunique() <= _MOST]
    for name in by:
        if name not in table:
            raise InputError(
                f"training.params.by: the study's table has no column {name!r}.{did_you_mean(name, table.columns)} "
                f"Columns: {', '.join(map(str, table.columns))}."
            )
    return list(by)


def groups_of(values: pd.Series[Any]) -> dict[str, Array]:
    """Return the rows, bool [n], of each group; rows without a value are in the group ``n/a``.

    Texts and few numbers are groups by themselves; more than eight different numbers are cut into thirds of the scans.
    """
    known = values.notna().to_numpy()
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > _VALUES:
        numbers = values.to_numpy(dtype=np.float64)
        first, second = np.quantile(numbers[known], [1 / 3, 2 / 3])
        found = {
            f"<= {first:g}": numbers <= first,
            f"{first:g} to {second:g}": (numbers > first) & (numbers <= second),
            f"> {second:g}": numbers > second,
        }
        found = {name: rows for name, rows in found.items() if rows.any()}  # many equal numbers leave a third empty
    else:
        texts = np.array([group_text(value) for value in values], dtype=object)
        found = {str(name): texts == name for name in sorted(set(texts[known]))}
    return {**found, **({"n/a": ~known} if not known.all() else {})}


def scores_by_group(
    predictions: pd.DataFrame, by: Sequence[str], score: Callable[[Array], Mapping[str, Any]]
) -> pd.DataFrame:
    """Return a row for each score of each group.

    Columns: ``by``, ``group``, ``n`` scans, ``people``, ``metric``, ``value``, ``low``, ``high``. A score that a group
    does not define (an AUC of people of one class) has no value.

    Args:
        predictions: One row for each test scan, with covariates.
        by: Columns.
        score: Returns the scores of the rows of a group, bool [n].
    """
    rows = []
    for column in by:
        for group, chosen in groups_of(predictions[column]).items():
            people = int(predictions["subject_id"][chosen].nunique())
            about = {"by": column, "group": group, "n": int(chosen.sum()), "people": people}
            for metric, found in score(chosen).items():
                rows.append({**about, "metric": metric, **{key: found[key] for key in ("value", "low", "high")}})
    return pd.DataFrame(rows, columns=["by", "group", "n", "people", "metric", "value", "low", "high"])
