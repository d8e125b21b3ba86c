"""Test scores against scikit-learn and cases worked by hand; intervals over people."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as skl

from xai_core import InputError
from xai_core.registry import create
from xai_core.statistics import weighted as _bootstrap


def metrics(table, task="classification", classes=("CN", "AD"), seed=1, **params):
    return create("trainer", "as-stored", **params).metrics(table, task, classes, seed)


def table_of(true, probabilities, classes=("CN", "AD"), people=None):
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    predicted = [classes[i] for i in probabilities.argmax(1)]
    people = [f"sub-{i:03}" for i in range(len(true))] if people is None else people
    return pd.DataFrame({"fold": 0, "subject_id": people, "target": true, "prediction": predicted, **columns})


HAND = table_of(["CN", "CN", "CN", "AD", "AD"], [0.1, 0.6, 0.2, 0.9, 0.4])


def test_worked_by_hand():
    """True negatives 2, false positives 1, true positives 1, false negatives 1; AUC: 5 of 6 pairs."""
    result = metrics(HAND)
    assert result["confusion_matrix"] == [[2, 1], [1, 1]]
    expected = {
        "accuracy": 3 / 5,
        "sensitivity": 1 / 2,
        "specificity": 2 / 3,
        "balanced_accuracy": 7 / 12,
        "f1": 1 / 2,
        "mcc": (2 * 1 - 1 * 1) / np.sqrt(2 * 2 * 3 * 3),
        "auc": 5 / 6,
    }
    assert {name: result[name]["value"] for name in expected} == pytest.approx(expected)
    assert (result["n"], result["people"], result["positive_class"]) == (5, 5, "AD")


def test_auc_takes_the_last_class_as_positive():
    perfect = table_of(["z-control", "z-control", "a-patient"], [0.1, 0.2, 0.9], ("z-control", "a-patient"))
    assert metrics(perfect, classes=("z-control", "a-patient"))["auc"]["value"] == 1.0


def test_ties_count_one_half():
    tied = table_of(["CN", "AD", "CN", "AD"], [0.5, 0.5, 0.5, 0.5])
    assert metrics(tied)["auc"]["value"] == 0.5


def random_case(classes, n=60, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    probabilities = rng.dirichlet(np.ones(classes), n).round(2) + 0.3 * np.eye(classes)[true]
    return true, probabilities, probabilities.argmax(1), rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("classes", [2, 3])
def test_weighted_scores_equal_scikit_learn(classes):
    """The vectorised scores of a resample are those of scikit-learn with the resample's counts as sample weights."""
    true, probabilities, predicted, weights = random_case(classes)
    got = _bootstrap.classification(true, predicted, classes, weights[None])
    labels = [1] if classes == 2 else list(range(classes))
    shared = {"sample_weight": weights, "labels": labels, "average": "macro"}
    specificity = [skl.recall_score(true != k, predicted != k, sample_weight=weights) for k in labels]
    expected = {
        "accuracy": skl.accuracy_score(true, predicted, sample_weight=weights),
        "balanced_accuracy": skl.balanced_accuracy_score(true, predicted, sample_weight=weights),
        "sensitivity": skl.recall_score(true, predicted, **shared),
        "specificity": np.mean(specificity),
        "f1": skl.f1_score(true, predicted, **shared),
        "mcc": skl.matthews_corrcoef(true, predicted, sample_weight=weights),
    }
    assert {name: float(value[0]) for name, value in got.items()} == pytest.approx(expected)
    for k in labels:
        area = _bootstrap.auc(true == k, probabilities[:, k], weights[None])[0]
        assert area == pytest.approx(skl.roc_auc_score(true == k, probabilities[:, k], sample_weight=weights))


def test_weighted_regression_equals_scikit_learn():
    rng = np.random.default_rng(3)
    true = rng.normal(70, 8, 50)
    predicted = true + rng.normal(2, 5, 50)
    weights = rng.integers(0, 4, 50).astype(float)
    got = _bootstrap.regression(true, predicted, weights[None])
    repeated = np.repeat(np.arange(50), weights.astype(int))
    expected = {
        "mae": skl.mean_absolute_error(true, predicted, sample_weight=weights),
        "rmse": skl.root_mean_squared_error(true, predicted, sample_weight=weights),
        "r": stats.pearsonr(true[repeated], predicted[repeated]).statistic,
        "r2": skl.r2_score(true, predicted, sample_weight=weights),
    }
    assert {name: float(value[0]) for name, value in got.items()} == pytest.approx(expected)


def test_three_classes():
    classes = ("CN", "MCI", "AD")
    true, probabilities, predicted, _ = random_case(3)
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    result = metrics(table_of([classes[i] for i in true], probabilities, classes), classes=classes)
    assert result["auc"]["value"] == pytest.approx(
        skl.roc_auc_score(true, probabilities, multi_class="ovr", average="macro")
    )
    assert result["f1"]["value"] == pytest.approx(skl.f1_score(true, predicted, average="macro"))
    assert [name for name in result if name.startswith("auc_")] == ["auc_CN_vs_MCI", "auc_CN_vs_AD", "auc_MCI_vs_AD"]
    rows = true != 1
    score = probabilities[rows, 2] / (probabilities[rows, 0] + probabilities[rows, 2])
    assert result["auc_CN_vs_AD"]["value"] == pytest.approx(skl.roc_auc_score(true[rows] == 2, score))
    assert "positive_class" not in result


def test_regression():
    table = pd.DataFrame(
        {"subject_id": list("abcd"), "target": [60.0, 70.0, 80.0, 90.0], "prediction": [62.0, 69.0, 83.0, 86.0]}
    )
    result = metrics(table, "regression", None)
    values = {name: result[name]["value"] for name in ("mae", "rmse", "r", "r2")}
    assert values["mae"] == pytest.approx(2.5)
    assert values["rmse"] == pytest.approx(np.sqrt(30 / 4))
    assert values["r2"] == pytest.approx(1 - 30 / 500)
    assert values["r"] == pytest.approx(stats.pearsonr(table["target"], table["prediction"]).statistic)
    assert result["mae"]["low"] <= 2.5 <= result["mae"]["high"]


def test_interval_of_the_accuracy_is_the_binomial_one():
    """Accuracy of independent people: the percentile bootstrap is the binomial distribution of n draws."""
    n, right = 200, 150
    scores = np.r_[np.full(right, 0.9), np.full(n - right, 0.1)]
    truth = ["AD"] * n
    truth[:20] = ["CN"] * 20
    scores[:20] = 0.1
    result = metrics(table_of(truth, scores), bootstrap=20000)["accuracy"]
    low, high = stats.binom.ppf([0.025, 0.975], n, result["value"]) / n
    assert result["low"] == pytest.approx(low, abs=0.0051)
    assert result["high"] == pytest.approx(high, abs=0.0051)


def test_people_are_resampled_not_scans():
    """Ten copies of each person's scan change no interval: the people are the same."""
    true, probabilities, _, _ = random_case(2, n=30)
    names = [("CN", "AD")[i] for i in true]
    people = [f"sub-{i:02}" for i in range(30)]
    once = metrics(table_of(names, probabilities, people=people))
    ten = metrics(table_of(names * 10, np.tile(probabilities, (10, 1)), people=people * 10))
    assert ten["n"] == 300
    assert ten["people"] == 30
    for name in ("accuracy", "auc", "f1"):
        assert ten[name] == pytest.approx(once[name])


def test_same_seed_same_interval_in_any_order_of_rows():
    true, probabilities, _, _ = random_case(2)
    table = table_of([("CN", "AD")[i] for i in true], probabilities)
    first = metrics(table)
    assert metrics(table.sample(frac=1, random_state=4))["auc"] == pytest.approx(first["auc"])
    assert metrics(table) == first
    assert metrics(table, seed=2)["auc"] != first["auc"]


def test_one_class_in_the_test_part():
    result = metrics(table_of(["AD", "AD", "AD"], [0.9, 0.8, 0.2]))
    undefined = {"value": None, "low": None, "high": None}
    for name in ("auc", "balanced_accuracy", "specificity", "mcc"):
        assert result[name] == undefined, name
    assert result["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert result["confusion_matrix"] == [[0, 0], [1, 2]]
    json.dumps(result, allow_nan=False)


def test_one_person_has_no_interval():
    table = pd.DataFrame({"subject_id": ["a"], "target": [70.0], "prediction": [72.0]})
    result = metrics(table, "regression", None)
    assert result["mae"] == {"value": 2.0, "low": None, "high": None}
    assert result["r"] == result["r2"] == {"value": None, "low": None, "high": None}


def test_without_bootstrap():
    assert metrics(HAND, bootstrap=0)["auc"] == {"value": pytest.approx(5 / 6), "low": None, "high": None}


def test_class_names_that_look_like_numbers():
    table = table_of([0, 0, 1], [0.2, 0.4, 0.9], classes=("0", "1"))
    assert metrics(table, classes=("0", "1"))["auc"]["value"] == 1.0


def test_unknown_class():
    with pytest.raises(InputError, match="'MCI' is not a class of this study"):
        metrics(table_of(["CN", "MCI"], [0.1, 0.9]))


def test_fast_enough():
    true, probabilities, _, _ = random_case(3, n=200)
    classes = ("CN", "MCI", "AD")
    table = table_of([classes[i] for i in true], probabilities, classes)
    start = time.perf_counter()
    metrics(table, classes=classes)
    assert time.perf_counter() - start < 3
