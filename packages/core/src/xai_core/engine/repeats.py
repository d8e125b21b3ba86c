"""Repeated and nested cross-validation: everybody is tested once in each repeat, by several networks in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..types import Fold

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["averaged", "fold_of_map", "is_repeated", "numbered", "repeats_of"]


def is_repeated(folds: Sequence[Fold]) -> bool:
    """Whether people are divided more than once, so that a person may have several predictions and maps."""
    return len({fold.repeat for fold in folds}) > 1


def fold_of_map(folds: Sequence[Fold], index: int) -> int | None:
    """Return the fold that the name of a map must tell, None where a person has one map of each explainer."""
    return index if is_repeated(folds) else None


def numbered(folds: Sequence[Fold], predictions: pd.DataFrame) -> pd.DataFrame:
    """Return rows that have a ``fold`` with a column ``repeat`` beside it, where there are several repeats."""
    if not is_repeated(folds):
        return predictions
    repeats = [folds[int(index)].repeat for index in predictions["fold"]]
    found = predictions.copy()
    found.insert(list(found.columns).index("fold") + 1, "repeat", repeats)
    return found


def repeats_of(predictions: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each repeat, whose people are all different; all rows where there is one repeat only."""
    if "repeat" not in predictions:
        return [predictions]
    return [rows for _, rows in predictions.groupby("repeat", sort=True)]


def averaged(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of the repeats' scores; one repeat's scores as they are.

    Values and the limits of their intervals are averaged: an interval from the rows of all repeats together would
    take one person's predictions for those of several people and be too narrow. A number that a repeat lacks is None;
    curves of different lengths, which have no mean, are left out.

    Args:
        scores: What a trainer's ``metrics`` returned for each repeat.
    """
    if len(scores) == 1:
        return dict(scores[0])
    found = {name: _mean([score.get(name) for score in scores]) for name in scores[0]}
    return {name: value for name, value in found.items() if value is not _NO_MEAN}


_NO_MEAN = object()


def _mean(values: Sequence[Any]) -> Any:
    """Return the mean of numbers, lists or mappings of one form, what is equal in all, or ``_NO_MEAN``."""
    if all(value == values[0] and type(value) is type(values[0]) for value in values):
        return values[0]
    if all(value is None or _is_number(value) for value in values):
        return None if None in values else sum(map(float, values)) / len(values)
    if all(isinstance(value, Mapping) for value in values):
        return averaged(values)
    if all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        means = [_mean(entries) for entries in zip(*values, strict=True)]
        return _NO_MEAN if any(mean is _NO_MEAN for mean in means) else means
    return _NO_MEAN


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
