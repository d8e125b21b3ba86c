"""Splitters: properties that every division must have, on random studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from xai_core import ConfigError, Fold, InputError, registry

SEEDS = range(25)


def split(name: str, table: pd.DataFrame, seed: int = 0, **params: Any) -> Sequence[Fold]:
    folds: Sequence[Fold] = registry.create("splitter", name, **params).split(table, seed)
    return folds


def study(seed: int, numeric: bool = False, smallest: int = 8) -> pd.DataFrame:
    """Return a random study: 2 to 4 classes, up to three visits a person, rows in random order."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, name in enumerate(["CN", "MCI", "AD", "FTD"][: rng.integers(2, 5)]):
        for person in range(rng.integers(smallest, 60)):
            target = float(rng.normal(70 + number, 8)) if numeric else name
            visits = rng.integers(1, 4)
            rows += [
                {"subject_id": f"{name}{person:02d}", "target": target, "session_id": str(v)} for v in range(visits)
            ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def people(table: pd.DataFrame) -> dict[str, Any]:
    return dict(zip(table["subject_id"], table["target"], strict=True))


def counts(ids: Sequence[str], classes: dict[str, Any]) -> Counter[Any]:
    return Counter(classes[name] for name in ids)


class TestEveryDivision:
    @pytest.mark.parametrize("numeric", [False, True])
    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("holdout", {}),
            ("holdout", {"stratify": False}),
            ("holdout", {"validation": 0, "test": 0.5}),
            ("stratified-kfold", {}),
            ("stratified-kfold", {"folds": 2, "validation": 0}),
            ("stratified-kfold", {"folds": 7, "validation": 0.3}),
        ],
    )
    def test_no_person_in_two_parts_and_nobody_forgotten(
        self, name: str, params: dict[str, Any], numeric: bool
    ) -> None:
        for seed in SEEDS:
            table = study(seed, numeric)
            folds = split(name, table, seed, **params)
            assert len(folds) == params.get("folds", 1 if name == "holdout" else 5)
            for fold in folds:
                everybody = [*fold.train, *fold.val, *fold.test]
                assert sorted(everybody) == sorted(set(table["subject_id"]))
                assert fold.train
                assert fold.test
                assert bool(fold.val) == (params.get("validation", 1) > 0)
            if name == "stratified-kfold":
                tested = [person for fold in folds for person in fold.test]
                assert sorted(tested) == sorted(set(table["subject_id"]))

    @pytest.mark.parametrize("name", ["holdout", "stratified-kfold"])
    def test_depends_on_people_and_seed_only(self, name: str) -> None:
        table = study(1)
        first = split(name, table, 5)
        shuffled = table.sample(frac=1, random_state=99).assign(age=1.0)
        assert split(name, shuffled, 5) == first
        assert split(name, table, 6) != first

    @pytest.mark.parametrize("name", ["holdout", "stratified-kfold"])
    def test_a_person_counts_once_with_the_last_class(self, name: str) -> None:
        rows = [(f"c{n}", "CN") for n in range(10)] + [(f"p{n}", dx) for n in range(10) for dx in ("CN", "CN", "AD")]
        table = pd.DataFrame(rows, columns=["subject_id", "target"])
        for fold in split(name, table):
            assert counts(fold.test, people(table)) == {"CN": 2, "AD": 2}  # people() keeps the last row, too


class TestProportions:
    def test_holdout_is_within_one_person_of_the_fractions(self) -> None:
        for seed in SEEDS:
            table = study(seed)
            classes = people(table)
            total = Counter(classes.values())
            (fold,) = split("holdout", table, seed, test=0.25, validation=0.15)
            for part, fraction in ((fold.test, 0.25), (fold.val, 0.15), (fold.train, 0.6)):
                for name, count in counts(part, classes).items():
                    # The training part gets what two roundings leave over.
                    allowed = 2 if fraction == 0.6 else 1
                    assert abs(count - fraction * total[name]) < allowed, (seed, name)
            assert abs(len(fold.test) - 0.25 * len(classes)) <= 1
            assert set(counts(fold.val, classes)) == set(total)

    def test_folds_are_as_even_as_scikit_learns(self) -> None:
        for seed in SEEDS:
            table = study(seed)
            classes = people(table)
            folds = split("stratified-kfold", table, seed, folds=5)
            names = sorted(classes)
            reference = StratifiedKFold(5, shuffle=True, random_state=seed).split(names, [classes[n] for n in names])
            theirs = [Counter(classes[names[i]] for i in test) for _, test in reference]
            for name in set(classes.values()):
                ours = sorted(counts(fold.test, classes)[name] for fold in folds)
                assert ours == sorted(one[name] for one in theirs)
            sizes = [len(fold.test) for fold in folds]
            assert max(sizes) - min(sizes) <= 1
            for fold in folds:
                rest = counts([*fold.train, *fold.val], classes)
                for name, count in counts(fold.val, classes).items():
                    assert abs(count - 0.15 * rest[name]) < 1

    @pytest.mark.parametrize(("name", "params"), [("holdout", {}), ("stratified-kfold", {"folds": 4})])
    def test_numbers_are_balanced_better_than_by_chance(self, name: str, params: dict[str, Any]) -> None:
        spread = {}
        for stratify in (True, False):
            means = []
            for seed in SEEDS:
                table = study(seed, numeric=True)
                ages = people(table)
                how = params | ({"stratify": stratify} if name == "holdout" else {})
                if not stratify and name != "holdout":
                    shuffled = np.random.default_rng(seed).permutation(sorted(ages))
                    tests = [tuple(shuffled[n::4]) for n in range(4)]
                else:
                    tests = [fold.test for fold in split(name, table, seed, **how)]
                overall = np.mean(list(ages.values()))
                means += [np.mean([ages[p] for p in test]) - overall for test in tests]
            spread[stratify] = np.std(means)
        assert spread[True] < 0.5 * spread[False]

    @pytest.mark.parametrize("people_there", [12, 24, 60, 200])
    @pytest.mark.parametrize(
        ("name", "params", "validation"),
        [
            ("stratified-kfold", {"folds": 2}, 0.15),
            ("stratified-kfold", {"folds": 3}, 0.15),
            ("repeated-kfold", {"folds": 3, "repeats": 2}, 0.15),
            ("leave-one-site-out", {"validation": 0.08}, 0.08),
            ("holdout", {"test": 0.1, "validation": 0.05}, 0.05),
        ],
    )
    def test_numbers_do_not_enlarge_the_validation_part(
        self, name: str, params: dict[str, Any], validation: float, people_there: int
    ) -> None:
        """One person of each small stretch of ages would be half of the training part."""
        ages = np.random.default_rng(0).normal(70, 8, people_there)
        ids = [f"{n:03d}" for n in range(people_there)]
        table = pd.DataFrame({"subject_id": ids, "target": ages, "site": [n[-1] in "02468" for n in ids]})
        for fold in split(name, table.astype({"site": str}), **params):
            whole = people_there if name == "holdout" else len(fold.train) + len(fold.val)
            assert abs(len(fold.val) - validation * whole) <= 1

    def test_smallest_study_that_can_be_divided(self) -> None:
        rows = [(f"{dx}{n}", dx) for dx in ("CN", "AD") for n in range(3)]
        table = pd.DataFrame(rows, columns=["subject_id", "target"])
        (fold,) = split("holdout", table, test=0.6, validation=0.3)
        for part in (fold.train, fold.val, fold.test):
            assert counts(part, people(table)) == {"CN": 1, "AD": 1}
        for fold in split("stratified-kfold", table, folds=3):
            assert counts(fold.val, people(table)) == {"CN": 1, "AD": 1}


def table_of(**sizes: int) -> pd.DataFrame:
    rows = [(f"{dx}{n}", dx) for dx, size in sizes.items() for n in range(size)]
    return pd.DataFrame(rows, columns=["subject_id", "target"])


class TestImpossible:
    @pytest.mark.parametrize(
        ("name", "params", "table", "said"),
        [
            ("stratified-kfold", {}, table_of(CN=20, AD=4), ["AD: 4", "CN: 20", "5 folds", "fewer folds"]),
            ("stratified-kfold", {"folds": 2}, table_of(CN=20, AD=3), ["AD: 3", "4 of each", "validation: 0"]),
            ("holdout", {}, table_of(CN=20, AD=2), ["AD: 2", "3 parts"]),
            ("holdout", {}, table_of(CN=20), ["'CN'", "two classes"]),
            ("stratified-kfold", {}, table_of(CN=20), ["'CN'", "two classes"]),
            ("holdout", {}, table_of(), ["empty"]),
        ],
    )
    def test_too_few_people(self, name: str, params: dict[str, Any], table: pd.DataFrame, said: list[str]) -> None:
        with pytest.raises(InputError) as caught:
            split(name, table, **params)
        for words in said:
            assert words in str(caught.value)

    def test_several_visits_are_not_several_people(self) -> None:
        table = pd.concat([table_of(CN=20, AD=4)] * 3)
        with pytest.raises(InputError, match="AD: 4"):
            split("stratified-kfold", table)

    def test_too_few_people_with_numbers(self) -> None:
        table = pd.DataFrame({"subject_id": ["a", "b", "c"], "target": [1.0, 2.0, 3.0]})
        with pytest.raises(InputError, match="3"):
            split("stratified-kfold", table)

    def test_missing_target(self) -> None:
        table = table_of(CN=5, AD=5)
        table.loc[3, "target"] = None
        with pytest.raises(InputError, match="CN3"):
            split("holdout", table)

    def test_fractions_that_leave_nobody(self) -> None:
        with pytest.raises(ConfigError, match="below 1"):
            split("holdout", table_of(CN=9, AD=9), test=0.6, validation=0.4)
