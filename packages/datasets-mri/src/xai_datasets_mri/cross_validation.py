"""Splitters that divide people several times, by site, or as a file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core import Fold

from ._schema import parameters
from ._split_params import FOLDS, MATCH, STRATIFY, TEST_ONLY, VALIDATION
from .splitters import Options, PersonSplitter

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LeaveOneSiteOut", "NestedKFold", "RepeatedKFold", "SplitFile"]


class RepeatedKFold(PersonSplitter):
    """Repeated cross-validation: everybody is tested once in each repeat, by networks trained on other people.

    Each repeat is a ``stratified-kfold`` with a seed of its own; the first one has the seed of the run. Scores are
    those of each repeat, averaged: the repeats are not independent. A person has a relevance map for each of them.
    """

    config_schema = parameters(
        {
            "repeats": {"type": "integer", "minimum": 2, "default": 5, "description": "Number of repeats."},
            "folds": {**FOLDS, "description": "Number of folds of each repeat."},
            "validation": VALIDATION,
            "stratify": STRATIFY,
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        repeats: int = 5,
        folds: int = 5,
        validation: float = 0.15,
        stratify: Sequence[str] | None = None,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        self.repeats = repeats
        self.folds = folds
        self.validation = validation
        self.stratify = stratify
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return repeats x folds folds, one repeat after the other.

        Raises:
            InputError: A class has too few people for the folds; only one class; a target is missing.
        """
        from ._splitters import repeated_folds

        return repeated_folds(
            table, seed, repeats=self.repeats, folds=self.folds, validation=self.validation, stratify=self.stratify
        )


class NestedKFold(PersonSplitter):
    """Nested cross-validation: in each outer fold every inner part is the validation part of one network.

    The outer test part is left alone by all of them: weights and settings are chosen on inner parts only. Each outer
    fold gives ``inner`` networks, one in each repeat; their scores are averaged over the repeats.
    """

    config_schema = parameters(
        {
            "folds": {**FOLDS, "description": "Number of outer folds, whose parts are tested."},
            "inner": {
                **FOLDS,
                "description": "Number of inner folds: parts of an outer training part that validate in turn.",
            },
            "stratify": STRATIFY,
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        folds: int = 5,
        inner: int = 5,
        stratify: Sequence[str] | None = None,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        self.folds = folds
        self.inner = inner
        self.stratify = stratify
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return inner x outer folds: repeat i holds every outer fold with its inner part i for validation.

        Raises:
            InputError: A class has too few people for the folds; only one class; a target is missing.
        """
        from ._splitters import nested_folds

        return nested_folds(table, seed, folds=self.folds, inner=self.inner, stratify=self.stratify)


class LeaveOneSiteOut(PersonSplitter):
    """Cross-validation in which each fold tests the people of one site (scanner, study) on the others.

    A fraction of each training part, stratified by the target, is its validation part. Nobody may belong to two sites.
    """

    config_schema = parameters(
        {
            "column": {
                "type": "string",
                "minLength": 1,
                "default": "site",
                "description": "Column of the study's table with the site.",
            },
            "smallest": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "Sites with fewer people are tested together, in one fold.",
            },
            "validation": VALIDATION,
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(
        self,
        *,
        column: str = "site",
        smallest: int = 1,
        validation: float = 0.15,
        match: Options = None,
        test_only: Options = None,
    ) -> None:
        self.column = column
        self.smallest = smallest
        self.validation = validation
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return one fold for each site, sites sorted.

        Raises:
            InputError: People have no site or several, there is one site only, or a class is at one site only.
        """
        from ._sites import site_folds

        return site_folds(table, seed, column=self.column, smallest=self.smallest, validation=self.validation)


class SplitFile(PersonSplitter):
    """The folds of a file, such as another run's ``splits.tsv``.

    A table (.tsv, .csv) with the columns ``part`` (train, val, test, held_out), ``subject_id`` and, where there are
    several, ``fold`` and ``repeat``; or JSON: the same rows, or a list of ``{train: [...], val: [...], test: [...]}``.
    """

    config_schema = parameters(
        {
            "path": {"type": "string", "format": "path", "minLength": 1, "description": "The file with the folds."},
            "match": MATCH,
            "test_only": TEST_ONLY,
        }
    )

    def __init__(self, *, path: str, match: Options = None, test_only: Options = None) -> None:
        self.path = path
        self.match = match
        self.test_only = test_only

    def divide(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds in the order of (repeat, fold).

        Raises:
            InputError: The file cannot be read, names unknown people, or puts somebody into two parts.
        """
        from ._split_file import folds_from

        del seed
        study = "the study" if self.test_only is None else "the study without the cohort of test_only"
        return folds_from(Path(self.path), list(dict.fromkeys(table["subject_id"].astype(str))), study)
