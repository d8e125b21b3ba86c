"""Controls matched to patients: hand-worked cases, an exhaustive search, and properties of random studies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xai_core import ConfigError, Fold, InputError, registry
from xai_datasets_mri._matching import match_pairs, standardized_difference

COLUMNS = {"age": 5, "sex": "exact"}


def split(name: str, table: pd.DataFrame, seed: int = 0, **params: Any) -> Sequence[Fold]:
    folds: Sequence[Fold] = registry.create("splitter", name, **params).split(table, seed)
    return folds


def group(ages: Sequence[float], sexes: str = "", prefix: str = "p") -> pd.DataFrame:
    index = [f"{prefix}{n}" for n in range(len(ages))]
    return pd.DataFrame({"age": np.array(ages, dtype=float), "sex": list(sexes or "F" * len(ages))}, index=index)


def pairs(
    patients: pd.DataFrame, controls: pd.DataFrame, method: str = "optimal", ratio: int = 1
) -> set[tuple[str, str]]:
    calipers = {"age": 5.0, "sex": None}
    return set(match_pairs(patients, controls, calipers, ratio, method, np.random.default_rng(0)))


class TestPairs:
    def test_optimal_makes_more_pairs_than_greed(self) -> None:
        """70 is nearest to 71, but only 71 is within 5 of 75: both have a partner the other way round."""
        patients, controls = group([70, 75]), group([71, 66], prefix="c")
        assert pairs(patients, controls) == {("p0", "c1"), ("p1", "c0")}

    def test_nearest_takes_the_nearest_left(self) -> None:
        assert pairs(group([70]), group([74, 71, 68], prefix="c"), "nearest") == {("p0", "c1")}

    def test_a_difference_of_the_caliper_is_a_pair_and_more_is_not(self) -> None:
        assert pairs(group([70]), group([75], prefix="c")) == {("p0", "c0")}
        assert pairs(group([70]), group([75.01], prefix="c")) == set()

    def test_exact_columns_are_never_crossed(self) -> None:
        found = pairs(group([70, 70], "FM"), group([70, 71, 72], "MMM", "c"))
        assert found == {("p1", "c0")}

    def test_several_controls_for_each_patient_go_round(self) -> None:
        """Four controls for two patients: two each, though three of them are nearer to the first."""
        found = pairs(group([70, 73]), group([70, 70, 70.5, 71], prefix="c"), ratio=2)
        assert sorted(patient for patient, _ in found) == ["p0", "p0", "p1", "p1"]
        assert len({control for _, control in found}) == 4
        assert pairs(group([70, 73]), group([70, 70.5], prefix="c"), ratio=2) == {("p0", "c0"), ("p1", "c1")}

    def test_optimal_is_what_an_exhaustive_search_finds(self) -> None:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            patients, controls = group(rng.uniform(60, 80, 4)), group(rng.uniform(60, 80, 5), prefix="c")
            differences = np.abs(patients["age"].to_numpy()[:, None] - controls["age"].to_numpy()[None])
            best = (0, 0.0)
            for order in permutations(range(5), 4):
                chosen = np.array([differences[row, column] for row, column in enumerate(order)])
                chosen = chosen[chosen <= 5]
                best = min(best, (-len(chosen), float(((chosen / 5) ** 2).sum())))
            found = pairs(patients, controls)
            cost = sum((abs(patients["age"][p] - controls["age"][c]) / 5) ** 2 for p, c in found)
            assert (-len(found), cost) == (best[0], pytest.approx(best[1]))


class TestBalance:
    def test_numbers_by_hand(self) -> None:
        """Means 72 and 70, variances 4 and 16: 2 / sqrt(10)."""
        one, other = pd.Series([70.0, 72, 74]), pd.Series([66.0, 70, 74])
        assert standardized_difference(one, other) == pytest.approx(2 / np.sqrt(10))

    def test_shares_by_hand(self) -> None:
        """3/4 and 1/4 women: 0.5 / sqrt(3/16)."""
        assert standardized_difference(pd.Series(list("FFFM")), pd.Series(list("FMMM"))) == pytest.approx(
            0.5 / np.sqrt(3 / 16)
        )

    def test_what_is_not_defined(self) -> None:
        assert standardized_difference(pd.Series([1.0]), pd.Series([1.0, 2])) is None
        assert standardized_difference(pd.Series([1.0, 1]), pd.Series([2.0, 2])) is None
        assert standardized_difference(pd.Series(["a"]), pd.Series(["b"])) is None
        assert standardized_difference(pd.Series([], dtype=float), pd.Series([2.0])) is None
        assert standardized_difference(pd.Series([1.0, 1]), pd.Series([1.0, 1])) == 0


def cohort(seed: int, people: int = 240) -> pd.DataFrame:
    """Return patients who are older than controls, and more often women; one in twenty ages is not known."""
    rng = np.random.default_rng(seed)
    ill = rng.random(people) < 0.4
    return pd.DataFrame(
        {
            "subject_id": [f"{n:04d}" for n in range(people)],
            "target": np.where(ill, "AD", "CN"),
            "age": np.where(rng.random(people) < 0.05, np.nan, rng.normal(70 + 6 * ill, 6)),
            "sex": np.where(rng.random(people) < 0.45 + 0.2 * ill, "F", "M"),
        }
    )


class TestParts:
    def test_parts_are_balanced_and_nobody_moves(self) -> None:
        for seed in range(8):
            table = cohort(seed)
            person = table.set_index("subject_id")
            plain = split("stratified-kfold", table, seed, folds=3, validation=0.3)
            found = split("stratified-kfold", table, seed, folds=3, validation=0.3, match={"columns": COLUMNS})
            for before, after in zip(plain, found, strict=True):
                for part in ("train", "val", "test"):
                    kept = person.loc[list(getattr(after, part))]
                    assert set(kept.index) <= set(getattr(before, part))
                    ill, well = kept[kept["target"] == "AD"], kept[kept["target"] == "CN"]
                    assert len(ill) == len(well) > 0
                    assert (ill["sex"] == "F").sum() == (well["sex"] == "F").sum()
                    assert abs(ill["age"].mean() - well["age"].mean()) <= 5

    def test_only_the_parts_that_are_named(self) -> None:
        table = cohort(1)
        (plain,), (found,) = (
            split("holdout", table, **options) for options in ({}, {"match": {"columns": COLUMNS, "parts": ["test"]}})
        )
        assert (found.train, found.val) == (plain.train, plain.val)
        assert set(found.test) < set(plain.test)

    def test_the_held_out_cohort_can_be_matched(self) -> None:
        table = cohort(2).assign(cohort=["new", "old"] * 120)
        params: dict[str, Any] = {"test_only": {"column": "cohort", "values": ["new"]}}
        plain = split("stratified-kfold", table, folds=2, **params)
        match = {"columns": COLUMNS, "parts": ["held_out"]}
        found = split("stratified-kfold", table, folds=2, match=match, **params)
        assert found[0].held_out == found[1].held_out
        assert set(found[0].held_out) < set(plain[0].held_out)
        assert [fold.test for fold in found] == [fold.test for fold in plain]

    def test_the_log_tells_numbers_balance_and_who_was_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        rows = [("p1", "AD", 70.0), ("p2", "AD", 71.0), ("p3", "AD", 90.0), ("c1", "CN", 70.0), ("c2", "CN", 73.0),
                ("c3", "CN", 60.0), ("c4", "CN", np.nan)]  # fmt: skip
        table = pd.DataFrame(rows, columns=["subject_id", "target", "age"])
        others = table.assign(subject_id="t" + table["subject_id"])
        from xai_datasets_mri._matching import matched

        fold = Fold(tuple(others["subject_id"]), (), tuple(table["subject_id"]))
        with caplog.at_level("INFO", "xai"):
            (found,) = matched([fold], pd.concat([table, others]), {"columns": {"age": 5}, "parts": ["test"]}, 0)
        assert found.test == ("c1", "c2", "p1", "p2")
        assert found.train == fold.train
        line = caplog.text
        assert "fold 0, test part: matched by age within 5: 3 patients, 4 controls -> 2 patients, 2 controls" in line
        # Means 77 and 67.67, variances 127 and 46.33; then 70.5 and 71.5, variances 0.5 and 4.5.
        before, after = (77 - 203 / 3) / np.sqrt((127 + 139 / 3) / 2), 1 / np.sqrt(2.5)
        assert f"age {before:.2f} -> {after:.2f}" in line
        assert "3 left out (1 without a value): c3, c4, p3" in line

    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        table = cohort(3)
        for method in ("optimal", "nearest"):
            match = {"columns": COLUMNS, "method": method}
            first = split("holdout", table, 4, match=match)
            assert split("holdout", table.sample(frac=1, random_state=1), 4, match=match) == first


class TestRefused:
    @pytest.mark.parametrize(
        ("match", "said"),
        [
            ({"columns": {"ag": 5}}, "no column 'ag'. Did you mean 'age'"),
            ({"columns": {"sex": 5}}, "sex has a caliper but holds no numbers"),
            ({"columns": COLUMNS, "controls": "HC"}, "nobody has the class 'HC'"),
            ({"columns": {"age": 1e-9}}, "leaves nobody in 3 parts"),
        ],
    )
    def test_messages(self, match: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said):
            split("holdout", cohort(1), match=match)

    def test_controls_must_be_named_where_no_usual_name_is_there(self) -> None:
        table = cohort(1).assign(target=lambda rows: rows["target"].map({"AD": "x", "CN": "y"}))
        with pytest.raises(InputError, match="say which class the controls are: x, y"):
            split("holdout", table, match={"columns": COLUMNS})
        assert split("holdout", table, match={"columns": COLUMNS, "controls": "y"})

    def test_a_regression_has_no_controls(self) -> None:
        with pytest.raises(InputError, match="matches controls to patients, but the target is a number"):
            split("holdout", cohort(1).assign(target=range(240)), match={"columns": COLUMNS})

    @pytest.mark.parametrize("match", [{}, {"columns": {}}, {"columns": {"age": -1}}, {"columns": {"age": "near"}}])
    def test_the_schema_refuses(self, match: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="match"):
            registry.create("splitter", "holdout", match=match)
