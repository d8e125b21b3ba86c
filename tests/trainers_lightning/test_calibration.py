"""Temperature scaling, reliability and the correction of the age gap: plain formulas, known truths, hard cases."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from xai_core.registry import create
from xai_trainers_lightning import _agegap, _calibration


def trainer(**params):
    return create("trainer", "as-stored", **params)


def sharpened(n=4000, classes=2, factor=3.0, seed=0):
    """True classes drawn from softmax(z), and the overconfident softmax(factor * z): the best temperature is factor."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    loud = np.exp(factor * logits)
    return true, loud / loud.sum(axis=1, keepdims=True), honest


def table_of(true, probabilities, classes=("CN", "AD"), fold=0):
    people = [f"sub-{i:04}" for i in range(len(true))]
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame({
        "fold": fold, "scan_id": people, "subject_id": people, "target": [classes[i] for i in true],
        "prediction": [classes[i] for i in probabilities.argmax(axis=1)], **columns,
    })  # fmt: skip


@pytest.mark.parametrize("classes", [2, 3])
def test_temperature_is_found_again(classes):
    true, loud, honest = sharpened(classes=classes)
    t = _calibration.temperature(loud, true)
    assert t == pytest.approx(3.0, rel=0.1)
    assert _calibration.scaled(loud, 3.0) == pytest.approx(honest)
    # The same minimum by another way: scikit-learn's log loss on a grid of temperatures.
    grid = np.geomspace(1, 9, 200)
    losses = [log_loss(true, _calibration.scaled(loud, g), labels=range(classes)) for g in grid]
    assert t == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_probabilities_of_zero_and_one_stay_finite():
    scaled = _calibration.scaled(np.array([[1.0, 0.0], [0.5, 0.5]]), 2.0)
    assert np.isfinite(scaled).all()
    assert scaled.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_an_undetermined_temperature_is_no_temperature(right, caplog):
    """All right: sharper is always better. All wrong: flatter is. Neither is calibration."""
    true = np.arange(20) % 2
    told = true if right else 1 - true
    validation = table_of(true, np.where(np.arange(2) == told[:, None], 0.9, 0.1))
    found = trainer(calibration="temperature").calibrate(validation, validation, "classification", ["CN", "AD"])
    assert found[["calibrated_CN", "calibrated_AD", "temperature"]].isna().all(axis=None)
    assert "do not determine a temperature" in caplog.text
    scores = trainer(calibration="temperature").metrics(found, "classification", ["CN", "AD"], 1)
    assert scores["brier_calibrated"] == {"value": None, "low": None, "high": None}
    assert scores["brier"]["value"] == pytest.approx(0.01 if right else 0.81)
    one_class = validation[validation["target"] == "CN"]
    found = trainer(calibration="temperature").calibrate(one_class, validation, "classification", ["CN", "AD"])
    assert found["temperature"].isna().all()


def test_calibrated_columns_and_scores():
    true, loud, _ = sharpened(600)
    validation, test = table_of(true[:300], loud[:300]), table_of(true[300:], loud[300:])
    chosen = trainer(calibration="temperature")
    found = chosen.calibrate(validation, test, "classification", ["CN", "AD"])
    pd.testing.assert_frame_equal(found[test.columns], test)
    expected = _calibration.scaled(loud[300:], found["temperature"].iloc[0])
    assert found["calibrated_AD"].to_numpy() == pytest.approx(expected[:, 1])
    # Nothing is learnt from the people it is applied to.
    other = chosen.calibrate(validation, test.assign(target="AD"), "classification", ["CN", "AD"])
    assert (other["calibrated_AD"] == found["calibrated_AD"]).all()
    scores = chosen.metrics(found, "classification", ["CN", "AD"], 1)
    assert scores["brier"]["value"] == pytest.approx(brier_score_loss(true[300:], loud[300:, 1]))
    assert scores["brier_calibrated"]["value"] == pytest.approx(brier_score_loss(true[300:], expected[:, 1]))
    assert scores["brier_calibrated"]["value"] < scores["brier"]["value"]
    assert scores["ece_calibrated"]["value"] < scores["ece"]["value"] / 2
    assert scores["brier"]["low"] < scores["brier"]["value"] < scores["brier"]["high"]
    kinds = chosen.tables(found, "classification", ["CN", "AD"], 1)["calibration"]["kind"]
    assert set(kinds) == {"probability", "calibrated"}
    assert list(trainer().calibrate(validation, test, "classification", ["CN", "AD"]).columns) == list(test.columns)


def test_brier_of_three_classes_is_the_sum():
    true, loud, _ = sharpened(50, classes=3)
    by_hand = [sum((p - (k == t)) ** 2 for k, p in enumerate(row)) for t, row in zip(true, loud, strict=True)]
    assert _calibration.brier(true, loud) == pytest.approx(by_hand)


def test_expected_calibration_error_by_hand():
    """Bins of 1/15: 0.95 (right) and 0.96 (wrong) are in (14/15, 1], 0.55 (right) is in (8/15, 9/15]."""
    p = np.array([[0.05, 0.95], [0.04, 0.96], [0.55, 0.45]])
    true = np.array([1, 0, 0])
    expected = 2 / 3 * abs(0.5 - 0.955) + 1 / 3 * abs(1 - 0.55)
    assert _calibration.expected_error(true, p) == pytest.approx(expected)


def test_reliability_curve_is_scikit_learns():
    true, loud, _ = sharpened(500)
    found = _calibration.reliability(true, loud, ["CN", "AD"], "probability")
    observed, predicted = calibration_curve(true, loud[:, 1], n_bins=10)
    assert found["observed"].to_numpy() == pytest.approx(observed)
    assert found["predicted"].to_numpy() == pytest.approx(predicted)
    assert set(found["class"]) == {"AD"}
    assert found["n"].sum() == 500
    row = found.iloc[0]
    interval = stats.binomtest(round(row["observed"] * row["n"]), row["n"]).proportion_ci(method="wilson")
    assert (row["observed_low"], row["observed_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def ages(n=200, slope=0.6, noise=3.0, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.uniform(40, 80, n)
    people = [f"sub-{i}" for i in range(n)]
    predicted = 60 + slope * (age - 60) + noise * rng.standard_normal(n)
    return pd.DataFrame({"fold": 0, "subject_id": people, "target": age, "prediction": predicted})


def test_line_is_scipys():
    table = ages()
    expected = stats.linregress(table["target"], table["prediction"])
    found = _agegap.line(table["target"].to_numpy(), table["prediction"].to_numpy())
    assert found == pytest.approx((expected.intercept, expected.slope, expected.stderr))


def test_corrections_worked_by_hand():
    """Validation exactly on predicted = 30 + 0.5 age. A person of 70 predicted 67: 65 is expected at this age."""
    validation = pd.DataFrame({"target": [50.0, 60, 70, 80], "prediction": [55.0, 60, 65, 70]})
    person = pd.DataFrame({"subject_id": ["a"], "target": [70.0], "prediction": [67.0]})
    beheshti = trainer(bias_correction="beheshti").calibrate(validation, person, "regression", None).iloc[0]
    assert beheshti["gap"] == -3
    assert (beheshti["prediction_corrected"], beheshti["gap_corrected"]) == (pytest.approx(72), pytest.approx(2))
    cole = trainer(bias_correction="cole").calibrate(validation, person, "regression", None).iloc[0]
    assert (cole["prediction_corrected"], cole["gap_corrected"]) == (pytest.approx(74), pytest.approx(4))
    assert (cole["bias_intercept"], cole["bias_slope"]) == (pytest.approx(30), pytest.approx(0.5))
    plain = trainer().calibrate(validation.iloc[:0], person, "regression", None)
    assert list(plain.columns) == [*person.columns, "gap"]


@pytest.mark.parametrize("correction", ["beheshti", "cole"])
def test_the_gap_no_longer_depends_on_age(correction):
    chosen = trainer(bias_correction=correction, bootstrap=100)
    test = ages(seed=1)
    found = chosen.calibrate(ages(seed=0), test, "regression", None)
    scores = chosen.metrics(found, "regression", None, 1)
    assert scores["gap_r"]["value"] < -0.8
    assert abs(scores["gap_r_corrected"]["value"]) < 0.1
    assert scores["gap_r_corrected"]["low"] < 0 < scores["gap_r_corrected"]["high"]
    assert scores["gap_r"]["value"] == pytest.approx(stats.pearsonr(found["target"], found["gap"]).statistic)
    assert scores["gap"]["value"] == pytest.approx(found["gap"].mean())
    assert scores["gap_sd"]["value"] == pytest.approx(found["gap"].std())
    assert scores["gap_sd"]["low"] < scores["gap_sd"]["value"] < scores["gap_sd"]["high"]
    # Noise is not made smaller: SD 3 with beheshti, 3 / 0.6 with cole.
    assert scores["gap_sd_corrected"]["value"] == pytest.approx({"beheshti": 3, "cole": 5}[correction], rel=0.15)


def test_whose_corrected_value_knows_the_true_age():
    """Another true age leaves the value corrected by ``cole`` alone and changes that by ``beheshti``."""
    test, validation = ages(seed=1), ages()
    for correction, knows in (("beheshti", True), ("cole", False)):
        chosen = trainer(bias_correction=correction)
        one, other = (
            chosen.calibrate(validation, test.assign(target=test["target"] + years), "regression", None)
            for years in (0, 10)
        )
        assert (not np.allclose(one["prediction_corrected"], other["prediction_corrected"])) is knows
        accuracy = [n for n in chosen.metrics(one, "regression", None, 1) if n in ("mae_corrected", "r_corrected")]
        assert bool(accuracy) is not knows


def test_a_network_that_learnt_nothing_is_not_made_perfect(caplog):
    """One age for everybody: beheshti would have a mean absolute error of 0, so it is not told; cole divides by 0."""
    flat, validation = ages(slope=0.0, seed=1), ages(slope=0.0)
    beheshti = trainer(bias_correction="beheshti", permutations=0)
    scores = beheshti.metrics(beheshti.calibrate(validation, flat, "regression", None), "regression", None, 1)
    assert "mae_corrected" not in scores
    cole = trainer(bias_correction="cole", permutations=0)
    found = cole.calibrate(validation, flat, "regression", None)
    assert found["prediction_corrected"].isna().all()
    assert "would blow up noise" in caplog.text
    scores = cole.metrics(found, "regression", None, 1)
    assert scores["mae_corrected"]["value"] is scores["gap_corrected"]["value"] is None
    assert scores["mae"]["value"] is not None


def test_validation_people_of_one_age(caplog):
    found = trainer(bias_correction="cole").calibrate(ages().assign(target=60.0), ages(seed=1), "regression", None)
    assert found["gap_corrected"].isna().all()
    assert found["gap"].notna().all()
    assert "of one age" in caplog.text


def test_needed_validation():
    assert trainer().validation_needed("regression") == trainer().validation_needed("classification") == 0
    assert trainer(bias_correction="cole").validation_needed("regression") == 10
    assert trainer(bias_correction="cole").validation_needed("classification") == 0
    assert trainer(calibration="temperature").validation_needed("classification") == 10


def test_loss_is_minimal_at_the_temperature():
    """Against another optimiser and loss: BFGS on the logarithm, torch-free."""
    true, loud, _ = sharpened(300, classes=3, seed=2)

    def loss(log_t):
        z = np.log(loud) / math.exp(log_t[0])
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(true)), true]))

    best = optimize.minimize(loss, [0.0], method="BFGS").x[0]
    assert math.log(_calibration.temperature(loud, true)) == pytest.approx(best, abs=1e-4)
