"""Splitters: by person, stratified by the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xai_core import ConfigError, Fold, Splitter

from ._schema import parameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Holdout", "StratifiedKFold"]


class Holdout(Splitter):
    """One division of the people into training, validation and test parts.

    Fractions are of the people. With ``stratify`` each class (each stretch of a numeric target, sorted) is divided
    by itself: its number in a part differs from the exact fraction by less than one, and no part is without it. A
    person with several scans counts once, with the class of the last row, or the mean of the numbers. The division
    depends on ids, targets and seed only.
    """

    config_schema = parameters(
        {
            "test": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.2,
                "description": "Fraction of the people for testing.",
            },
            "validation": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.2,
                "description": "Fraction of the people for the choice of the best weights; 0: no validation part.",
            },
            "stratify": {
                "type": "boolean",
                "default": True,
                "description": "Give every part the same mixture of classes, or of small and large targets.",
            },
        }
    )

    def __init__(self, *, test: float = 0.2, validation: float = 0.2, stratify: bool = True) -> None:
        if test + validation >= 1:
            raise ConfigError(
                f"holdout: test ({test}) and validation ({validation}) leave nobody for training; "
                "their sum must be below 1."
            )
        self.test = test
        self.validation = validation
        self.stratify = stratify

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the one fold, ids sorted.

        Raises:
            InputError: A part, or a class in a part, would be empty; only one class; a target is missing.
        """
        from ._splitters import holdout

        return [holdout(table, seed, test=self.test, validation=self.validation, stratify=self.stratify)]


class StratifiedKFold(Splitter):
    """Cross-validation: every person is in the test part of exactly one fold.

    Each class (each stretch of a numeric target, sorted) is dealt out evenly: its numbers in two test parts differ by
    at most one, and so do the parts' sizes. A fraction of each fold's training part, stratified likewise, is its
    validation part. A person with several scans counts once, with the class of the last row, or the mean of the
    numbers. The folds depend on ids, targets and seed only.
    """

    config_schema = parameters(
        {
            "folds": {"type": "integer", "minimum": 2, "default": 5, "description": "Number of folds."},
            "validation": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.15,
                "description": "Fraction of a fold's training part for the choice of the best weights; 0: none.",
            },
        }
    )

    def __init__(self, *, folds: int = 5, validation: float = 0.15) -> None:
        self.folds = folds
        self.validation = validation

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds, ids sorted.

        Raises:
            InputError: A class has too few people for the folds; only one class; a target is missing.
        """
        from ._splitters import stratified_folds

        return stratified_folds(table, seed, folds=self.folds, validation=self.validation)
