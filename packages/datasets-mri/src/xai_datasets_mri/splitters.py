"""Splitters that divide people once, or each into one test part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xai_core import ConfigError, Fold, Splitter

from ._schema import parameters
from ._split_params import FOLDS, MATCH, STRATIFY, TEST_ONLY, VALIDATION

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Holdout", "PersonSplitter", "SklearnStratifiedKFold", "StratifiedKFold"]

Options = Mapping[str, Any] | None


class PersonSplitter(Splitter):
    """Base: sets the held-out cohort apart, divides the others, and matches controls to patients in the parts."""

    test_only: Options = None
    match: Options = None

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds, ids sorted.

        Raises:
            InputError: The people cannot be divided, held out or matched as asked.
        """
        from ._held_out import set_apart

        rest, held_out = set_apart(table, self.test_only)
        folds = [replace(fold, held_out=tuple(sorted({*held_out, *fold.held_out}))) for fold in self.divide(rest, seed)]
        if self.match is None:
            return folds
        from ._matching import matched

        return matched(folds, table, self.match, seed)

    @abstractmethod
    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds of everybody who is not held out."""


class Holdout(PersonSplitter):
    """One division of the people into training, validation and test parts.

    Fractions are of the people. With ``stratify`` each class (each stretch of a numeric target, sorted) is divided
    by itself: its number in a part differs from the exact fraction by less than one, and no part is without it. A
    person with several scans counts once, with the class of the last row, or the mean of the numbers. The division
    depends on ids, targets, the columns to stratify by and seed only.
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
                "type": ["boolean", "array"],
                "items": {"type": "string", "minLength": 1},
                "uniqueItems": True,
                "default": True,
                "description": "Give every part the same mixture of classes, or of small and large targets; a list of "
                "columns: of these, too, the most important one first.",
            },
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        test: float = 0.2,
        validation: float = 0.2,
        stratify: bool | Sequence[str] = True,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        if test + validation >= 1:
            raise ConfigError(
                f"holdout: test ({test}) and validation ({validation}) leave nobody for training; "
                "their sum must be below 1."
            )
        self.test = test
        self.validation = validation
        self.stratify = stratify
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the one fold.

        Raises:
            InputError: A part, or a class in a part, would be empty; only one class; a target is missing.
        """
        from ._splitters import holdout

        return [holdout(table, seed, test=self.test, validation=self.validation, stratify=self.stratify)]


class StratifiedKFold(PersonSplitter):
    """Cross-validation: every person is in the test part of exactly one fold.

    Each class (each stretch of a numeric target, sorted) is dealt out evenly: its numbers in two test parts differ by
    at most one, and so do the parts' sizes. With ``stratify`` so are its combinations with further columns. A fraction
    of each fold's training part, stratified likewise, is its validation part. A person with several scans counts once,
    with the class of the last row, or the mean of the numbers. The folds depend on ids, targets, the columns to
    stratify by and seed only.
    """

    config_schema = parameters(
        {"folds": FOLDS, "validation": VALIDATION, "stratify": STRATIFY, "match": MATCH, "test_only": TEST_ONLY}
    )

    def __init__(
        self,
        *,
        folds: int = 5,
        validation: float = 0.15,
        stratify: Sequence[str] | None = None,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        self.folds = folds
        self.validation = validation
        self.stratify = stratify
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds.

        Raises:
            InputError: A class has too few people for the folds; only one class; a target is missing.
        """
        from ._splitters import stratified_folds

        return stratified_folds(table, seed, folds=self.folds, validation=self.validation, stratify=self.stratify)


class SklearnStratifiedKFold(PersonSplitter):
    """Cross-validation with exactly scikit-learn's folds, for the comparison with an earlier study.

    The test parts are those of ``StratifiedKFold(folds, shuffle=True, random_state=RandomState(shuffle_seed))`` over
    the people in the order of the study's table, so another order of its rows gives other folds; the seed of the run
    decides the validation parts only. A person with several scans counts once, where the first one stands, with the
    class of the last one. For a new study, ``stratified-kfold`` does not depend on the order.
    """

    config_schema = parameters(
        {
            "folds": {**FOLDS, "description": "Number of folds (n_splits)."},
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
                **VALIDATION,
                "description": "Fraction of a fold's training part, stratified likewise, for the choice of the best "
                "weights; 0: none.",
            },
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        folds: int = 5,
        shuffle_seed: int = 42,
        column: str | None = None,
        validation: float = 0.15,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        self.folds = folds
        self.shuffle_seed = shuffle_seed
        self.column = column
        self.validation = validation
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds.

        Raises:
            InputError: A class has too few people for the folds; a person has no class; the column is not there.
        """
        from ._splitters import sklearn_folds

        return sklearn_folds(
            table,
            seed,
            folds=self.folds,
            shuffle_seed=self.shuffle_seed,
            column=self.column,
            validation=self.validation,
        )
