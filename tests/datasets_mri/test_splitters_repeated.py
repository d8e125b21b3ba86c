"""Splitters that divide people several times, by several columns, by site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import LeaveOneGroupOut, RepeatedStratifiedKFold

from xai_core import Fold, InputError, registry

SEEDS = range(12)
# What the first version of stratified-kfold gave.
FROZEN_TESTS = [("AD1", "AD3", "CN3", "CN4"), ("AD4", "AD5", "CN0", "CN2"), ("AD0", "AD2", "CN1", "CN5")]
FROZEN_VALS = [("AD5", "CN2"), ("AD2", "CN3"), ("AD1", "CN0")]


def split(name: str, table: pd.DataFrame, seed: int = 0, **params: Any) -> Sequence[Fold]:
    folds: Sequence[Fold] = registry.create("splitter", name, **params).split(table, seed)
    return folds


def cohort(seed: int, people: int = 160, numeric: bool = False) -> pd.DataFrame:
    """Return people in random order, some with two visits; sites and sexes of unequal frequency, some ages unknown."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "subject_id": [f"{number:04d}" for number in rng.permutation(9999)[:people]],
            "target": rng.choice(["CN", "MCI", "AD"], people, p=[0.5, 0.3, 0.2]),
            "sex": rng.choice(["F", "M"], people, p=[0.6, 0.4]),
            "site": rng.choice(["A", "B", "C", "D"], people, p=[0.5, 0.3, 0.15, 0.05]),
            "age": np.where(rng.random(people) < 0.05, np.nan, rng.normal(70, 8, people)),
        }
    )
    if numeric:
        table["target"] = rng.normal(70, 8, people)
    return pd.concat([table, table.iloc[::4]]).sample(frac=1, random_state=seed).reset_index(drop=True)


def check_division(folds: Sequence[Fold], table: pd.DataFrame) -> None:
    """Everybody is in exactly one part of each fold, and tested exactly once in each repeat."""
    everybody = sorted(set(table["subject_id"]))
    for fold in folds:
        assert sorted([*fold.train, *fold.val, *fold.test]) == everybody
    for repeat in {fold.repeat for fold in folds}:
        assert sorted(person for fold in folds if fold.repeat == repeat for person in fold.test) == everybody


def classes_in(people: Sequence[str], table: pd.DataFrame) -> set[str]:
    return set(table.loc[table["subject_id"].isin(people), "target"])


class TestStratifiedByColumns:
    def test_hand_worked(self) -> None:
        """16 people, 2 of each of 8 combinations: each half gets one of each."""
        rows = [
            (f"{target}{sex}{site}{n}", target, sex, site)
            for target in ("CN", "AD") for sex in "FM" for site in "AB" for n in range(2)
        ]  # fmt: skip
        table = pd.DataFrame(rows, columns=["subject_id", "target", "sex", "site"])
        for seed in SEEDS:
            for fold in split("stratified-kfold", table, seed, folds=2, validation=0, stratify=["sex", "site"]):
                assert sorted(person[:-1] for person in fold.test) == sorted({row[0][:-1] for row in rows})

    def test_rare_combinations_are_joined_and_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """AD: 8 F at site A stay; 1 F at B and 3 M at A are joined, since 4 folds need 4 people."""
        rows = [("CN", "F", "A")] * 8 + [("AD", "F", "A")] * 8 + [("AD", "F", "B")] + [("AD", "M", "A")] * 3
        table = pd.DataFrame(rows, columns=["target", "sex", "site"])
        table["subject_id"] = [f"p{n:02d}" for n in range(len(table))]
        with caplog.at_level("INFO", "xai"):
            folds = split("stratified-kfold", table, folds=4, validation=0, stratify=["sex", "site"])
        assert "2 combinations of the target, sex, site have fewer than 4 people" in caplog.text
        assert "AD / F / B (1), AD / M / A (3)" in caplog.text
        kinds = dict(
            zip(table["subject_id"], zip(table["target"], table["sex"], table["site"], strict=True), strict=True)
        )
        for fold in folds:
            counts = Counter(kinds[person] for person in fold.test)
            assert counts["CN", "F", "A"] == 2
            assert counts["AD", "F", "A"] == 2
            assert counts["AD", "F", "B"] + counts["AD", "M", "A"] == 1

    @pytest.mark.parametrize("name", ["stratified-kfold", "holdout", "repeated-kfold", "nested-kfold"])
    @pytest.mark.parametrize("numeric", [False, True])
    def test_nobody_is_lost_and_every_part_has_every_class(self, name: str, numeric: bool) -> None:
        params: dict[str, Any] = {"stratify": ["sex", "site", "age"]}
        params |= {"repeats": 2, "folds": 3} if name == "repeated-kfold" else {}
        for seed in SEEDS:
            table = cohort(seed, numeric=numeric)
            folds = split(name, table, seed, **params)
            if name == "holdout":
                (fold,) = folds
                assert sorted([*fold.train, *fold.val, *fold.test]) == sorted(set(table["subject_id"]))
            else:
                check_division(folds, table)
            for fold in folds if not numeric else []:
                for part in (fold.train, fold.val, fold.test):
                    assert classes_in(part, table) == {"CN", "MCI", "AD"}

    def test_columns_are_balanced_better_than_without(self) -> None:
        def spread(**params: Any) -> float:
            shares = []
            for seed in SEEDS:
                table = cohort(seed).drop_duplicates("subject_id").set_index("subject_id")
                for fold in split("stratified-kfold", table.reset_index(), seed, **params):
                    part = table.loc[list(fold.test)]
                    shares.append((part["sex"] == "F").mean() - (table["sex"] == "F").mean())
            return float(np.std(shares))

        assert spread(stratify=["sex"]) < 0.5 * spread()

    def test_without_columns_the_folds_are_those_of_before(self) -> None:
        """Frozen: a study must not get other folds from a new version."""
        table = pd.DataFrame([(f"{t}{n}", t) for t in ("CN", "AD") for n in range(6)], columns=["subject_id", "target"])
        folds = split("stratified-kfold", table, 5, folds=3, validation=0.25)
        assert [fold.test for fold in folds] == FROZEN_TESTS
        assert [fold.val for fold in folds] == FROZEN_VALS
        assert split("stratified-kfold", table, 5, folds=3, validation=0.25, stratify=[]) == folds

    def test_unknown_column(self) -> None:
        with pytest.raises(InputError, match=r"stratify: the study's table has no column 'sx'. Did you mean 'sex'"):
            split("stratified-kfold", cohort(1), stratify=["sx"])

    def test_a_class_that_is_too_rare_is_named_without_the_columns(self) -> None:
        table = cohort(1)
        ill = table["target"] == "AD"
        table = table[~ill | table["subject_id"].isin(table["subject_id"][ill].unique()[:3])]
        with pytest.raises(InputError, match=r"5 folds, which needs 5 of each class: AD: 3 \(of AD: 3, CN: \d+"):
            split("stratified-kfold", table, stratify=["sex", "site"])


class TestRepeated:
    def test_every_repeat_is_a_division_of_its_own(self) -> None:
        for seed in SEEDS:
            table = cohort(seed)
            folds = split("repeated-kfold", table, seed, repeats=4, folds=3)
            assert [fold.repeat for fold in folds] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
            check_division(folds, table)
            tests = {fold.test for fold in folds}
            assert len(tests) == 12
            first = split("stratified-kfold", table, seed, folds=3)
            assert list(folds[:3]) == list(first)

    def test_counts_are_those_of_scikit_learn(self) -> None:
        for seed in SEEDS:
            table = cohort(seed)
            last = table.groupby("subject_id")["target"].last()
            reference = RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=seed)
            theirs = [Counter(last.iloc[test]) for _, test in reference.split(last.index, last)]
            ours = [Counter(last[list(fold.test)]) for fold in split("repeated-kfold", table, seed, repeats=3, folds=4)]
            assert len(ours) == len(theirs)
            for name in set(last):
                assert sorted(one[name] for one in ours) == sorted(one[name] for one in theirs)


class TestNested:
    def test_every_inner_part_validates_once_and_the_test_part_never(self) -> None:
        for seed in SEEDS:
            table = cohort(seed)
            folds = split("nested-kfold", table, seed, folds=4, inner=3)
            assert [fold.repeat for fold in folds] == [0] * 4 + [1] * 4 + [2] * 4
            check_division(folds, table)
            for outer in range(4):
                inner = [folds[outer + 4 * turn] for turn in range(3)]
                assert len({fold.test for fold in inner}) == 1
                validated = sorted(person for fold in inner for person in fold.val)
                assert validated == sorted({*inner[0].train, *inner[0].val})
                sizes = [len(fold.val) for fold in inner]
                assert max(sizes) - min(sizes) <= 1
            for fold in folds:
                assert classes_in(fold.val, table) == classes_in(fold.train, table) == {"CN", "MCI", "AD"}

    def test_smallest_study(self) -> None:
        """2 x 2 folds need 4 people of a class: 2 tested, 1 validating, 1 training."""
        rows = [(f"{target}{n}", target) for target in ("CN", "AD") for n in range(4)]
        table = pd.DataFrame(rows, columns=["subject_id", "target"])
        for fold in split("nested-kfold", table, folds=2, inner=2):
            assert (len(fold.train), len(fold.val), len(fold.test)) == (2, 2, 4)
        with pytest.raises(InputError, match=r"2 outer and 2 inner folds, which needs 4 of each class: AD: 3"):
            split("nested-kfold", table.iloc[:7], folds=2, inner=2)


class TestLeaveOneSiteOut:
    def test_test_parts_are_those_of_scikit_learn(self) -> None:
        for seed in SEEDS:
            table = cohort(seed)
            people = table.groupby("subject_id")["site"].last()
            reference = LeaveOneGroupOut().split(people.index, groups=people)
            folds = split("leave-one-site-out", table, seed)
            expected = [tuple(sorted(people.index[test])) for _, test in reference]
            assert [fold.test for fold in folds] == expected
            check_division(folds, table)
            for fold in folds:
                assert classes_in(fold.val, table) == classes_in(fold.train, table) == {"CN", "MCI", "AD"}

    def test_small_sites_are_left_out_together(self, caplog: pytest.LogCaptureFixture) -> None:
        table = cohort(3)
        sizes = table.groupby("site")["subject_id"].nunique()
        limit = int(sizes["C"]) + 1
        assert sizes["D"] < limit <= min(sizes["A"], sizes["B"])
        with caplog.at_level("INFO", "xai"):
            folds = split("leave-one-site-out", table, smallest=limit)
        assert f"2 values of site have fewer than {limit} people and are left out together: C, D" in caplog.text
        tested = [set(table.loc[table["subject_id"].isin(fold.test), "site"]) for fold in folds]
        assert tested == [{"A"}, {"B"}, {"C", "D"}]

    def test_another_column(self) -> None:
        table = cohort(1).rename(columns={"site": "scanner"})
        assert len(split("leave-one-site-out", table, column="scanner")) == 4

    def test_people_without_site_or_with_two_are_told_together(self) -> None:
        table = cohort(1)
        twice = table["subject_id"][table.duplicated("subject_id")].iloc[0]
        table.loc[table.index[table["subject_id"] == twice][0], "site"] = "Z"
        once = table["subject_id"][~table["subject_id"].duplicated(keep=False)].iloc[0]
        table.loc[table["subject_id"] == once, "site"] = None
        with pytest.raises(InputError) as caught:
            split("leave-one-site-out", table)
        assert f"1 people have no site: {once}" in str(caught.value)
        assert f"1 people were seen at several sites; leaving one out would leave them in: {twice} (" in str(
            caught.value
        )

    def test_a_class_at_one_site_only(self) -> None:
        table = cohort(1).assign(target="CN")
        table.loc[table["site"] == "B", "target"] = "AD"
        with pytest.raises(InputError, match=r"fewer than 2 people of a class to train on: AD: 0 without B"):
            split("leave-one-site-out", table)

    def test_a_site_with_one_class_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        table = cohort(1)
        table.loc[table["site"] == "C", "target"] = "CN"
        split("leave-one-site-out", table)
        assert "fold 2 tests C, where there is only CN" in caplog.text

    def test_one_site(self) -> None:
        with pytest.raises(InputError, match="needs two sites"):
            split("leave-one-site-out", cohort(1).assign(site="A"))

    def test_numbers(self) -> None:
        table = cohort(2, numeric=True)
        check_division(split("leave-one-site-out", table), table)


class TestHeldOutAlwaysApart:
    @pytest.mark.parametrize("name", ["repeated-kfold", "nested-kfold", "leave-one-site-out"])
    def test_held_out_people_are_in_no_part(self, name: str) -> None:
        table = cohort(4).assign(cohort=lambda rows: np.where(rows["subject_id"].str[-1] < "2", "new", "old"))
        rest = table[table["cohort"] == "old"]
        held_out = tuple(sorted(set(table["subject_id"]) - set(rest["subject_id"])))
        folds = split(name, table, 1, test_only={"column": "cohort", "values": ["new"]})
        assert {fold.held_out for fold in folds} == {held_out}
        plain = split(name, rest, 1)
        parts = [[(f.train, f.val, f.test, f.repeat) for f in found] for found in (folds, plain)]
        assert parts[0] == parts[1]
