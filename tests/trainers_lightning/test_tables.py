"""Curves, groups, DeLong's interval and the permutation tests of the test scores."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as skl

from xai_core import InputError
from xai_core.registry import create
from xai_trainers_lightning import _groups, _permutation

CLASSES = ["CN", "AD"]


def trainer(**params):
    return create("trainer", "as-stored", **params)


def table(n=90, folds=3, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, n)
    p = 1 / (1 + np.exp(-(strength * (2 * true - 1) + rng.standard_normal(n))))
    people = [f"sub-{i:03}" for i in range(n)]
    return pd.DataFrame({
        "fold": np.arange(n) % folds, "scan_id": people, "subject_id": people, "target": np.array(CLASSES)[true],
        "prediction": np.array(CLASSES)[(p > 0.5).astype(int)], "probability_CN": 1 - p, "probability_AD": p,
        "site": np.where(np.arange(n) < 30, "A", "B"), "sex": np.where(np.arange(n) % 3, "F", "M"),
        "age": rng.uniform(50, 90, n),
    })  # fmt: skip


def test_roc_curves_are_scikit_learns():
    rows = table()
    found = trainer().tables(rows, "classification", CLASSES, 1)["roc"]
    assert list(found["fold"].unique()) == ["all", "0", "1", "2"]
    for fold, curve in found.groupby("fold"):
        part = rows if fold == "all" else rows[rows["fold"] == int(fold)]
        fpr, tpr, threshold = skl.roc_curve(part["target"] == "AD", part["probability_AD"])
        assert curve["fpr"].to_list() == fpr.tolist()
        assert curve["tpr"].to_list() == tpr.tolist()
        assert curve["threshold"].to_list() == threshold.tolist()


def test_curves_of_parts_of_one_class_and_without_folds():
    rows = table()
    rows.loc[rows["fold"] == 1, "target"] = "CN"
    found = trainer().tables(rows, "classification", CLASSES, 1)["roc"]
    assert list(found["fold"].unique()) == ["all", "0", "2"]
    merged = trainer().tables(rows.drop(columns="fold"), "classification", CLASSES, 1)["roc"]
    assert list(merged["fold"].unique()) == ["all"]
    nobody = trainer().tables(rows.assign(target="CN"), "classification", CLASSES, 1)["roc"]
    assert list(nobody.columns) == ["class", "fold", "threshold", "fpr", "tpr"]
    assert len(nobody) == 0


def test_delong_interval_beside_the_bootstrap():
    rows = table(200)
    scores = trainer().metrics(rows, "classification", CLASSES, 1)
    assert scores["auc_delong"]["value"] == pytest.approx(scores["auc"]["value"])
    for end in ("low", "high"):
        assert scores["auc_delong"][end] == pytest.approx(scores["auc"][end], abs=0.015)
    # Two scans each of half as many people: the same scans, less certain.
    pairs = rows.sort_values("target").assign(subject_id=[f"p{i // 2}" for i in range(200)])
    wide = trainer(bootstrap=0).metrics(pairs, "classification", CLASSES, 1)["auc_delong"]
    assert wide["value"] == pytest.approx(scores["auc"]["value"])
    assert wide["low"] != pytest.approx(scores["auc_delong"]["low"], abs=1e-6)
    one = trainer().metrics(rows.assign(target="CN"), "classification", CLASSES, 1)
    assert one["auc_delong"] == {"value": None, "low": None, "high": None}


def test_groups_have_the_scores_of_their_scans():
    rows = table()
    found = trainer(by=["site", "age"]).tables(rows, "classification", CLASSES, 1)["by-group"]
    assert list(found["by"].unique()) == ["site", "age"]
    site = found[(found["by"] == "site") & (found["group"] == "A")].set_index("metric")
    alone = trainer().metrics(rows[rows["site"] == "A"], "classification", CLASSES, 1)
    for name in ("auc", "balanced_accuracy", "brier", "auc_delong"):
        assert site.loc[name, "value"] == pytest.approx(alone[name]["value"])
        assert (site.loc[name, "n"], site.loc[name, "people"]) == (30, 30)
    assert site.loc["auc", "low"] < site.loc["auc", "value"] < site.loc["auc", "high"]
    thirds = found[(found["by"] == "age") & (found["metric"] == "auc")]
    assert thirds["n"].tolist() == [30, 30, 30]
    assert thirds["group"].iloc[0].startswith("<= ")


def test_a_group_of_one_class_has_its_number_and_no_area():
    rows = table()
    rows.loc[rows["site"] == "A", "target"] = "CN"
    found = trainer(by=["site"]).tables(rows, "classification", CLASSES, 1)["by-group"]
    chosen = found[(found["group"] == "A") & (found["metric"] == "auc")].iloc[0]
    assert chosen["n"] == 30
    assert pd.isna([chosen["value"], chosen["low"], chosen["high"]]).all()


def test_a_group_of_one_person_has_no_interval():
    """Each resample of one person is that person again: an interval without width would claim to be certain."""
    rows = table().assign(fold=0)
    alone = rows["site"] == "A"
    rows.loc[alone, "subject_id"] = "one"  # with 30 scans
    found = trainer(by=["site"]).tables(rows, "classification", CLASSES, 1)["by-group"].set_index(["group", "metric"])
    for name in ("accuracy", "brier", "auc"):
        assert found.loc[("A", name), "people"] == 1
        assert pd.isna(found.loc[("A", name), ["low", "high"]]).all(), name
        assert found.loc[("B", name), "low"] < found.loc[("B", name), "high"]


def test_which_columns_are_taken():
    rows = table()
    assert _groups.group_columns(rows, None) == ["site", "sex"]
    assert _groups.group_columns(rows.assign(site=None), None) == ["sex"]
    assert _groups.group_columns(rows, []) == []
    assert "by-group" not in trainer(by=[]).tables(rows, "classification", CLASSES, 1)
    with pytest.raises(InputError, match=r"by: the study's table has no column 'sit'\. Did you mean 'site'"):
        trainer(by=["sit"]).check_study(rows, "classification", CLASSES)


def test_missing_values_and_numbers_as_groups():
    found = _groups.groups_of(pd.Series([1, 0, None, 1]))
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "0": [False, True, False, False], "1": [True, False, False, True], "n/a": [False, False, True, False],
    }  # fmt: skip
    numbers = pd.Series([*range(12), None], dtype=float)
    assert sum(rows.sum() for rows in _groups.groups_of(numbers).values()) == 13
    assert _groups.groups_of(pd.Series([None, None], dtype=object)).keys() == {"n/a"}
    lesions = pd.Series([0] * 20 + [*range(1, 10)])  # two thirds have none: both cuts are 0
    assert {name: int(rows.sum()) for name, rows in _groups.groups_of(lesions).items()} == {"<= 0": 20, "> 0": 9}


def test_regression_has_groups_too():
    rows = table().drop(columns=["probability_CN", "probability_AD"])
    rows = rows.assign(target=rows["age"], prediction=rows["age"] + 2, gap=2.0)
    found = trainer(by=["sex"]).tables(rows, "regression", None, 1)
    assert list(found) == ["by-group"]
    scores = found["by-group"]
    assert scores[scores["metric"] == "mae"]["value"].tolist() == pytest.approx([2, 2])
    assert {"gap", "gap_sd"} <= set(scores["metric"])


def exact_p(positive, score, statistic):
    """By all permutations."""
    observed = statistic(positive, score)
    found = [statistic(np.array(order), score) for order in permutations(positive)]
    return np.mean([value >= observed - 1e-12 for value in found])


def test_permutation_p_is_that_of_all_permutations():
    positive, p = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8, 0.6, 0.3])
    people = [f"s{i}" for i in range(6)]
    rows = pd.DataFrame({"subject_id": people, "target": np.array(CLASSES)[positive], "fold": 0,
                         "prediction": np.array(CLASSES)[(p > 0.5).astype(int)], "probability_CN": 1 - p,
                         "probability_AD": p})  # fmt: skip
    found = trainer(permutations=8000, bootstrap=0).metrics(rows, "classification", CLASSES, 1)["permutation"]
    expected = exact_p(positive, p, lambda y, s: skl.roc_auc_score(y, s))
    assert found["auc"]["p"] == pytest.approx(expected, abs=0.015)
    assert found["auc"]["chance"] == pytest.approx(0.5, abs=0.01)
    expected = exact_p(positive, p > 0.5, lambda y, s: skl.balanced_accuracy_score(y, s))
    assert found["balanced_accuracy"]["p"] == pytest.approx(expected, abs=0.015)


def test_permutation_p_of_a_correlation():
    rng = np.random.default_rng(0)
    age = rng.uniform(50, 80, 60)
    rows = pd.DataFrame({"subject_id": [f"s{i}" for i in range(60)], "target": age,
                         "prediction": 60 + 0.2 * (age - 65) + 7 * rng.standard_normal(60)})  # fmt: skip
    found = trainer(permutations=5000, bootstrap=0).metrics(rows, "regression", None, 1)["permutation"]
    expected = stats.pearsonr(rows["target"], rows["prediction"], alternative="greater").pvalue
    assert found["r"]["p"] == pytest.approx(expected, abs=0.02)
    assert found["mae"]["chance"] > np.abs(rows["target"] - rows["prediction"]).mean()


def test_p_is_never_zero_and_false_alarms_are_rare():
    best = trainer(permutations=100, bootstrap=0).metrics(table(strength=5), "classification", CLASSES, 1)
    assert best["permutation"]["auc"]["p"] == pytest.approx(1 / 101)
    by_chance = [
        trainer(permutations=100, bootstrap=0).metrics(table(40, seed=s, strength=0), "classification", CLASSES, 1)
        for s in range(100)
    ]
    small = np.mean([scores["permutation"]["auc"]["p"] < 0.05 for scores in by_chance])
    assert small <= 0.1
    assert trainer(permutations=0).metrics(table(), "classification", CLASSES, 1).get("permutation") is None


def test_values_change_places_within_folds_and_people_only():
    """What a fold's true values are made of stays, as does what a person's scans have in common."""
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    people = np.array(list("aabcddef"))
    target = np.array([1, 1, 0, 0, 0, 0, 1, 1])
    seen = set()
    for rows in _permutation.permuted(target, folds, people, 200, 0):
        values = target[rows]
        assert values[0] == values[1]
        assert values[4] == values[5]
        assert set(rows[:4]) <= {0, 1, 2, 3}
        assert set(rows[4:]) <= {4, 5, 6, 7}
        seen.add(tuple(values))
    assert len(seen) == 9  # in each fold any of three people may be the one who differs


def test_people_whose_value_changes_swap_whole_histories():
    people, target = np.array(list("aabbc")), np.array([0, 1, 0, 0, 1])
    seen = {tuple(target[rows]) for rows in _permutation.permuted(target, np.zeros(5), people, 50, 0)}
    assert seen == {(0, 1, 0, 0, 1), (0, 0, 0, 1, 1)}


def test_confounded_folds_are_no_evidence():
    """Two folds with other shares of patients and other outputs: the pooled area is large by that alone."""
    n, small = 200, []
    fold = np.arange(n) % 2
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = (rng.random(n) < np.where(fold, 0.8, 0.2)).astype(int)
        p = np.clip(np.where(fold, 0.7, 0.3) + 0.1 * rng.standard_normal(n), 0.01, 0.99)
        rows = pd.DataFrame({
            "subject_id": [f"s{i}" for i in range(n)], "target": np.array(CLASSES)[true], "fold": fold,
            "prediction": np.array(CLASSES)[(p > 0.5).astype(int)], "probability_CN": 1 - p, "probability_AD": p,
        })  # fmt: skip
        found = trainer(permutations=100, bootstrap=0).metrics(rows, "classification", CLASSES, 1)
        assert found["auc"]["value"] > 0.7
        assert found["permutation"]["auc"]["chance"] == pytest.approx(found["auc"]["value"], abs=0.07)
        small.append(found["permutation"]["auc"]["p"] < 0.05)
    assert np.mean(small) <= 0.15
