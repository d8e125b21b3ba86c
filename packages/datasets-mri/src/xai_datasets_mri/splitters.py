"""Splitters: by person, stratified by the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xai_core import ConfigError, Fold, Splitter

from ._schema import parameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Holdout", "SklearnStratifiedKFold", "StratifiedKFold"]

_TEST_ONLY: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "column": {"type": "string", "minLength": 1, "description": "Column of the study's table."},
        "values": {
            "type": "array",
            "items": {"type": ["string", "integer"]},
            "minItems": 1,
            "uniqueItems": True,
            "description": "Values that mark a held-out scan.",
        },
    },
    "required": ["column", "values"],
    "default": None,
    "description": "Cohort that is only ever tested, such as {column: cohort, values: [ADNI3]}: its people are in no "
    "part of any fold, every fold's network predicts them, and they are scored apart (held-out/).",
}


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
            "test_only": _TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        test: float = 0.2,
        validation: float = 0.2,
        stratify: bool = True,
        test_only: Mapping[str, Any] | None = None,
    ) -> None:
        if test + validation >= 1:
            raise ConfigError(
                f"holdout: test ({test}) and validation ({validation}) leave nobody for training; "
                "their sum must be below 1."
            )
        self.test = test
        self.validation = validation
        self.stratify = stratify
        self.test_only = test_only

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the one fold, ids sorted.

        Raises:
            InputError: A part, or a class in a part, would be empty; only one class; a target is missing.
        """
        from ._held_out import set_apart
        from ._splitters import holdout

        rest, held_out = set_apart(table, self.test_only)
        fold = holdout(rest, seed, test=self.test, validation=self.validation, stratify=self.stratify)
        return [replace(fold, held_out=held_out)]


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
            "test_only": _TEST_ONLY,
        }
    )

    def __init__(self, *, folds: int = 5, validation: float = 0.15, test_only: Mapping[str, Any] | None = None) -> None:
        self.folds = folds
        self.validation = validation
        self.test_only = test_only

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds, ids sorted.

        Raises:
            InputError: A class has too few people for the folds; only one class; a target is missing.
        """
        from ._held_out import set_apart
        from ._splitters import stratified_folds

        rest, held_out = set_apart(table, self.test_only)
        folds = stratified_folds(rest, seed, folds=self.folds, validation=self.validation)
        return [replace(fold, held_out=held_out) for fold in folds]


class SklearnStratifiedKFold(Splitter):
    """Cross-validation with exactly scikit-learn's folds, for the comparison with an earlier study.

    The test parts are those of ``StratifiedKFold(folds, shuffle=True, random_state=RandomState(shuffle_seed))`` over
    the people in the order of the study's table, so another order of its rows gives other folds; the seed of the run
    decides the validation parts only. A person with several scans counts once, where the first one stands, with the
    class of the last one. For a new study, ``stratified-kfold`` does not depend on the order.
    """

    config_schema = parameters(
        {
            "folds": {"type": "integer", "minimum": 2, "default": 5, "description": "Number of folds (n_splits)."},
            "shuffle_seed": {
                "type": "integer",
                "minimum": 0,
                "maximum": 4294967295,
                "default": 42,
                "description": "Seed of scikit-learn's random_state.",
            },
            "column": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Column to stratify by, such as a diagnosis finer than the target; null: the target.",
            },
            "validation": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.15,
                "description": "Fraction of a fold's training part, stratified likewise, for the choice of the best "
                "weights; 0: none.",
            },
            "test_only": _TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        folds: int = 5,
        shuffle_seed: int = 42,
        column: str | None = None,
        validation: float = 0.15,
        test_only: Mapping[str, Any] | None = None,
    ) -> None:
        self.folds = folds
        self.shuffle_seed = shuffle_seed
        self.column = column
        self.validation = validation
        self.test_only = test_only

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds, ids sorted.

        Raises:
            InputError: A class has too few people for the folds; a person has no class; the column is not there.
        """
        from ._held_out import set_apart
        from ._splitters import sklearn_folds

        rest, held_out = set_apart(table, self.test_only)
        folds = sklearn_folds(
            rest,
            seed,
            folds=self.folds,
            shuffle_seed=self.shuffle_seed,
            column=self.column,
            validation=self.validation,
        )
        return [replace(fold, held_out=held_out) for fold in folds]
