"""Which scans belong to each comparison of a finer group with one other, such as AD against CN among all patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["finer_pairs", "group_text"]


def finer_pairs(
    predictions: pd.DataFrame, classes: Sequence[str] | None, *, column: str, against: str | int
) -> dict[str, Array]:
    """Return ``{"AD_vs_CN": rows, ...}``: bool [n], the scans of the two groups.

    Args:
        predictions: One row for each test scan, with covariates.
        classes: The two classes, the positive one last.
        column: Covariate that holds the groups.
        against: The group that every other one is compared with.

    Raises:
        InputError: There are not two classes, no such column or group, or a group is spread over both classes.
    """
    where = "training.params.pairwise"
    if classes is None or len(classes) != 2:
        what = "a regression" if classes is None else f"the classes {', '.join(map(str, classes))}"
        raise InputError(f"{where} needs a study with two classes, but this one has {what}. Leave it out.")
    if column not in predictions:
        raise InputError(
            f"{where}.column: the study's table has no column {column!r}.{did_you_mean(column, predictions.columns)} "
            f"Columns: {', '.join(map(str, predictions.columns))}."
        )
    groups = np.array([group_text(value) for value in predictions[column]], dtype=object)
    names = sorted({group for group in groups if group is not None} - {str(against)})
    target = predictions["target"].astype(str).to_numpy()
    for name, expected in [(str(against), str(classes[0])), *((name, str(classes[1])) for name in names)]:
        others = sorted(set(target[groups == name]) - {expected})
        if others and str(against) not in groups:
            raise InputError(
                f"{where}.against: the column {column!r} holds no {str(against)!r}.{did_you_mean(str(against), names)} "
                f"It holds: {', '.join(names)}."
            )
        if others:
            raise InputError(
                f"{where}: the group {name!r} ({column}) has scans of the class {others[0]!r}, but scores against "
                f"{against!r} need it in {expected!r} only. Choose a column that divides the classes further."
            )
    return {f"{name}_vs_{against}": (groups == name) | (groups == str(against)) for name in names}


def group_text(value: Any) -> str | None:
    """Return a covariate's value as the name of a group; None where it is missing."""
    if pd.isna(value):
        return None
    # A column of integers with missing values is one of floats in pandas.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
