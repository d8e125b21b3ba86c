"""The splitter that deals people out as scikit-learn does, and cohorts that are only ever tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from xai_core import ConfigError, Fold, InputError, registry

NAMES = ["holdout", "stratified-kfold", "sklearn-stratified-kfold"]


def split(name: str, table: pd.DataFrame, seed: int = 0, **params: Any) -> Sequence[Fold]:
    folds: Sequence[Fold] = registry.create("splitter", name, **params).split(table, seed)
    return folds


def cohort(seed: int, people: int = 130) -> pd.DataFrame:
    """Return people in random order with a diagnosis finer than the target, and a cohort."""
    rng = np.random.default_rng(seed)
    diagnosis = rng.choice(["CN", "MCI", "AD"], people, p=[0.5, 0.3, 0.2])
    return pd.DataFrame(
        {
            "subject_id": [f"{number:04d}" for number in rng.permutation(9999)[:people]],
            "target": np.where(diagnosis == "CN", "controls", "patients"),
            "diagnosis": diagnosis,
            "cohort": rng.choice(["ADNI2", "AIBL", "ADNI3"], people),
        }
    )


@pytest.mark.parametrize("column", [None, "diagnosis"])
@pytest.mark.parametrize(("seed", "folds"), [(42, 10), (0, 3), (2**32 - 1, 5)])
def test_folds_are_those_of_scikit_learn(column: str | None, seed: int, folds: int) -> None:
    for number in range(5):
        table = cohort(number)
        labels = table[column or "target"].tolist()
        reference = StratifiedKFold(folds, shuffle=True, random_state=np.random.RandomState(seed))
        expected = list(reference.split(np.zeros(len(table)), labels))
        found = split("sklearn-stratified-kfold", table, 7, folds=folds, shuffle_seed=seed, column=column, validation=0)
        assert len(found) == len(expected)
        for fold, (train, test) in zip(found, expected, strict=True):
            assert fold.test == tuple(sorted(table["subject_id"].iloc[test]))
            assert fold.train == tuple(sorted(table["subject_id"].iloc[train]))
            assert fold.val == ()


def test_the_code_of_a_class_does_not_matter() -> None:
    """The original numbers its diagnoses 1, 2 and 3; names give the same folds."""
    table = cohort(3)
    numbers = table.assign(diagnosis=table["diagnosis"].map({"CN": 1, "MCI": 2, "AD": 3}))
    params: dict[str, Any] = {"folds": 10, "column": "diagnosis"}
    assert split("sklearn-stratified-kfold", numbers, **params) == split("sklearn-stratified-kfold", table, **params)


def test_validation_comes_out_of_the_training_part() -> None:
    table = cohort(1)
    without = split("sklearn-stratified-kfold", table, 5, validation=0)
    first, again, other = (split("sklearn-stratified-kfold", table, seed, validation=0.2) for seed in (5, 5, 6))
    assert first == again
    assert [fold.val for fold in first] != [fold.val for fold in other]
    for plain, fold in zip(without, first, strict=True):
        assert fold.test == plain.test
        assert sorted([*fold.train, *fold.val]) == list(plain.train)
        assert len(fold.val) == pytest.approx(0.2 * len(plain.train), abs=1)


def test_a_person_with_visits_counts_once_with_the_last_class() -> None:
    table = cohort(2, people=60)
    earlier = table.iloc[::3].assign(target="controls", diagnosis="CN")
    visits = pd.concat([table.iloc[:20], earlier, table.iloc[20:]]).reset_index(drop=True)
    order = list(dict.fromkeys(visits["subject_id"]))
    last = dict(zip(visits["subject_id"], visits["target"], strict=True))
    reference = StratifiedKFold(4, shuffle=True, random_state=np.random.RandomState(42))
    for fold, (_, test) in zip(
        split("sklearn-stratified-kfold", visits, folds=4),
        reference.split(order, [last[p] for p in order]),
        strict=True,
    ):
        assert fold.test == tuple(sorted(order[i] for i in test))


class TestImpossible:
    def test_class_with_too_few_people(self) -> None:
        table = cohort(1).assign(target="CN")
        table.loc[:3, "target"] = "AD"
        with pytest.raises(InputError, match=r"5 folds, which needs 5 of each class: AD: 4 \(of AD: 4, CN: 126\)"):
            split("sklearn-stratified-kfold", table)

    def test_unknown_column(self) -> None:
        with pytest.raises(InputError, match=r"column: the study's table has no column 'diagnose'. Did you mean"):
            split("sklearn-stratified-kfold", cohort(1), column="diagnose")

    def test_missing_label(self) -> None:
        table = cohort(1)
        table.loc[[2, 5], "diagnosis"] = None
        with pytest.raises(InputError, match=r"2 scans have no diagnosis, so they cannot be stratified"):
            split("sklearn-stratified-kfold", table, column="diagnosis")

    def test_numbers_are_no_classes(self) -> None:
        with pytest.raises(InputError, match=r"needs classes, but target holds numbers such as 60.5"):
            split("sklearn-stratified-kfold", cohort(1).assign(target=60.5))


class TestTestOnly:
    @pytest.mark.parametrize("name", NAMES)
    def test_held_out_people_are_in_no_part(self, name: str) -> None:
        table = cohort(4)
        rest = table[table["cohort"] != "ADNI3"]
        expected = sorted(set(table["subject_id"]) - set(rest["subject_id"]))
        assert expected
        found = split(name, table, 3, test_only={"column": "cohort", "values": ["ADNI3"]})
        for fold in found:
            assert list(fold.held_out) == expected
            assert sorted([*fold.train, *fold.val, *fold.test]) == sorted(rest["subject_id"])
        plain = split(name, rest, 3)
        assert [(f.train, f.val, f.test) for f in found] == [(f.train, f.val, f.test) for f in plain]

    @pytest.mark.parametrize("name", NAMES)
    def test_nobody_is_held_out_by_default(self, name: str) -> None:
        assert {fold.held_out for fold in split(name, cohort(4))} == {()}

    def test_numbers_with_gaps_are_found_by_their_text(self) -> None:
        table = cohort(5).assign(wave=[None, *([2.0, 3.0] * 70)[:129]])
        fold = split("holdout", table, test_only={"column": "wave", "values": [3]})[0]
        assert fold.held_out == tuple(sorted(table["subject_id"][table["wave"] == 3]))

    def test_two_spellings_of_the_cohort(self) -> None:
        table = cohort(1)
        table.loc[table.index[table["cohort"] == "ADNI3"][0], "cohort"] = "adni3"
        with pytest.raises(InputError, match="holds 'ADNI3', which is held out, and 'adni3', which is not"):
            split("holdout", table, test_only={"column": "cohort", "values": ["ADNI3"]})
        both = split("holdout", table, test_only={"column": "cohort", "values": ["ADNI3", "adni3"]})[0].held_out
        assert len(both) == table["cohort"].isin(["ADNI3", "adni3"]).sum()

    def test_people_without_a_cohort_are_told(self, caplog: pytest.LogCaptureFixture) -> None:
        table = cohort(1)
        table.loc[table.index[:2], "cohort"] = None
        split("holdout", table, test_only={"column": "cohort", "values": ["ADNI3"]})
        assert "2 scans have no cohort" in caplog.text

    def test_a_person_on_both_sides(self) -> None:
        """As people of ADNI2 who went on into ADNI3."""
        table = cohort(6)
        both = table["subject_id"][table["cohort"] == "ADNI2"].iloc[0]
        table = pd.concat([table, table[table["subject_id"] == both].assign(cohort="ADNI3")])
        with pytest.raises(InputError, match=rf"1 people are in the held-out cohort and outside of it: {both}\."):
            split("holdout", table, test_only={"column": "cohort", "values": ["ADNI3"]})

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"column": "cohorts", "values": ["ADNI3"]}, r"no column 'cohorts'. Did you mean 'cohort'\?"),
            ({"column": "cohort", "values": ["ADNI4"]}, r"'ADNI4' does not occur in the column 'cohort'"),
            ({"column": "cohort", "values": ["ADNI2", "ADNI3", "AIBL"]}, r"holds out everybody"),
        ],
    )
    def test_mistakes(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            split("stratified-kfold", cohort(1), test_only=params)

    def test_incomplete(self) -> None:
        with pytest.raises(ConfigError, match="values"):
            split("holdout", cohort(1), test_only={"column": "cohort"})
