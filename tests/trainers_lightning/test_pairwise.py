"""Scores of finer groups against one, against scikit-learn on the scans of the two groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as skl

from xai_core import InputError
from xai_core.registry import create

PAIRWISE = {"column": "diagnosis", "against": "CN"}


def predictions(seed: int = 0, scans: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    diagnosis = rng.choice(["CN", "MCI", "AD"], scans)
    score = rng.uniform(size=scans) * 0.6 + 0.2 * (diagnosis == "MCI") + 0.4 * (diagnosis == "AD")
    return pd.DataFrame(
        {
            "subject_id": [f"{i // 2:03d}" for i in range(scans)],
            "target": np.where(diagnosis == "CN", "controls", "patients"),
            "prediction": np.where(score > 0.5, "patients", "controls"),
            "probability_controls": 1 - score,
            "probability_patients": score,
            "diagnosis": diagnosis,
        }
    )


def scores(table: pd.DataFrame, pairwise: Any = PAIRWISE, **params: Any) -> dict[str, Any]:
    classes = params.pop("classes", ["controls", "patients"])
    made: dict[str, Any] = create("trainer", "lightning", pairwise=pairwise, **params).metrics(
        table, params.pop("task", "classification"), classes, 1
    )
    return made


@pytest.mark.parametrize("group", ["MCI", "AD"])
def test_scores_of_a_pair_are_scikit_learns_on_its_scans(group: str) -> None:
    table = predictions()
    result = scores(table)
    pair = table[table["diagnosis"].isin([group, "CN"])]
    true, predicted = pair["diagnosis"] == group, pair["prediction"] == "patients"
    expected = {
        "auc": skl.roc_auc_score(true, pair["probability_patients"]),
        "sensitivity": skl.recall_score(true, predicted),
        "specificity": skl.recall_score(~true, ~predicted),
        "balanced_accuracy": skl.balanced_accuracy_score(true, predicted),
        "accuracy": skl.accuracy_score(true, predicted),
        "f1": skl.f1_score(true, predicted),
        "mcc": skl.matthews_corrcoef(true, predicted),
    }
    for name, value in expected.items():
        found = result[f"{name}_{group}_vs_CN"]
        assert found["value"] == pytest.approx(value)
        assert found["low"] < found["value"] < found["high"]
    assert result[f"n_{group}_vs_CN"] == len(pair)


def test_other_scores_stay_as_they_are() -> None:
    plain, paired = scores(predictions(), None), scores(predictions())
    assert {name: paired[name] for name in plain} == plain
    assert not any("_vs_" in name for name in plain)


def test_the_intervals_are_those_of_a_study_of_the_two_groups() -> None:
    """Percentiles of the same size as where only these people are resampled: the others add no certainty."""
    table = predictions(2, 400)
    pair = table[table["diagnosis"] != "MCI"]
    whole, alone = scores(table)["auc_AD_vs_CN"], scores(pair, None)["auc"]
    assert whole["value"] == alone["value"]
    assert whole["high"] - whole["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.15)


def test_people_without_a_group_and_numbers_as_groups() -> None:
    table = predictions()
    named = scores(table)
    numbered = table.assign(diagnosis=table["diagnosis"].map({"CN": 1, "MCI": 2, "AD": 3}))
    found = scores(numbered, {"column": "diagnosis", "against": 1})
    assert found["auc_3_vs_1"] == named["auc_AD_vs_CN"]
    missing = numbered.copy()
    missing.loc[table["diagnosis"] == "MCI", "diagnosis"] = None  # the numbers become floats
    result = scores(missing, {"column": "diagnosis", "against": 1})
    assert result["auc_3_vs_1"] == named["auc_AD_vs_CN"]
    assert not any(name.endswith("2_vs_1") for name in result)


def test_a_fold_without_the_group_to_compare_with() -> None:
    table = predictions()
    result = scores(table[table["diagnosis"] != "CN"].reset_index(drop=True))
    assert result["auc_AD_vs_CN"] == {"value": None, "low": None, "high": None}
    assert result["sensitivity_AD_vs_CN"]["value"] is not None


class TestBadInput:
    def test_column(self) -> None:
        with pytest.raises(InputError, match=r"pairwise.column: .* no column 'diagnose'. Did you mean 'diagnosis'\?"):
            scores(predictions(), {"column": "diagnose", "against": "CN"})

    def test_a_column_across_the_classes(self) -> None:
        table = predictions().assign(site="a")
        with pytest.raises(InputError, match=r"the group 'a' \(site\) has scans of the class 'patients'"):
            scores(table, {"column": "site", "against": "a"})

    def test_a_wrong_group_to_compare_with(self) -> None:
        with pytest.raises(InputError, match=r"against: the column 'diagnosis' holds no 'CNN'. Did you mean 'CN'\?"):
            scores(predictions(), {"column": "diagnosis", "against": "CNN"})

    def test_regression(self) -> None:
        table = pd.DataFrame({"subject_id": ["a", "b"], "target": [1.0, 2.0], "prediction": [1.0, 3.0]})
        with pytest.raises(InputError, match="needs a study with two classes, but this one has a regression"):
            create("trainer", "lightning", pairwise=PAIRWISE).metrics(table, "regression", None, 1)

    def test_three_classes(self) -> None:
        with pytest.raises(InputError, match=r"two classes, but this one has the classes a, b, c"):
            scores(predictions(), classes=["a", "b", "c"])
