"""Tests of scores against published numbers, plain formulas and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from xai_core.statistics import delong
from xai_core.statistics.counts import mcnemar
from xai_core.statistics.overfolds import across, corrected_t_test

# Ovarian cancer and intestinal obstruction: albumin, total protein, K-G score, whether surgery helped. The 43 complete
# of the 49 patients of DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837.
OVARIAN = np.fromstring(
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
    3.7 6.7 6 1   3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
    4.0 6.6 6 0   3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
    4.3 6.5 4 1   3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
    2.9 5.7 9 0   2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
    """,
    sep=" ",
).reshape(-1, 4)


def random_case(n=80, m=3, seed=0):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    scores = (rng.standard_normal((m, n)) + 0.8 * positive + rng.standard_normal(n)).round(1)  # rounded: with ties
    return positive, scores


def plain(positive, scores, people):
    """Covariance by all pairs, in the form of Obuchowski 1997 (her equations 3 to 5), person by person."""
    x, y = scores[:, positive], scores[:, ~positive]
    wins = np.array([[[(a > b) + 0.5 * (a == b) for b in y[k]] for a in x[k]] for k in range(len(scores))])
    area, v10, v01 = wins.mean(axis=(1, 2)), wins.mean(axis=2), wins.mean(axis=1)
    (m, n), everyone = wins.shape[1:], np.unique(people)
    own10 = {p: people[positive] == p for p in everyone}
    own01 = {p: people[~positive] == p for p in everyone}
    i10, i01 = (sum(own[p].any() for p in everyone) for own in (own10, own01))
    a = np.array([(v10[:, own10[p]] - area[:, None]).sum(axis=1) for p in everyone])
    b = np.array([(v01[:, own01[p]] - area[:, None]).sum(axis=1) for p in everyone])
    s10, s01 = i10 / ((i10 - 1) * m) * a.T @ a, i01 / ((i01 - 1) * n) * b.T @ b
    s11 = len(everyone) / (len(everyone) - 1) * a.T @ b
    return area, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def test_delong_gives_the_published_numbers():
    """Areas, standard errors, intervals and contrasts as SAS/STAT's guide prints them for these patients."""
    found = delong.areas(OVARIAN[:, 3] == 1, np.stack([OVARIAN[:, 0], 10 - OVARIAN[:, 2], OVARIAN[:, 1]]))
    errors = np.sqrt(np.diag(found.covariance))
    assert found.value.round(4).tolist() == [0.7366, 0.7258, 0.6478]
    assert errors.round(4).tolist() == [0.0927, 0.1028, 0.1000]
    low, high = delong.interval(found.value[0], found.covariance[0, 0])
    assert (round(low, 4), round(high, 4)) == (0.5549, 0.9182)
    albumin = delong.paired_test(found, (1, 0))
    assert {k: round(v, 4) for k, v in albumin.items()} == {
        "difference": 0.0108,
        "se": 0.0953,
        "z": 0.1128,
        "p": 0.9102,
    }
    assert round(delong.paired_test(found, (1, 2))["p"], 4) == 0.4561


@pytest.mark.parametrize("seed", range(3))
def test_delong_equals_all_pairs(seed):
    positive, scores = random_case(seed=seed)
    found = delong.areas(positive, scores)
    area, covariance = plain(positive, scores, np.arange(len(positive)))
    assert found.value == pytest.approx(area)
    assert found.covariance == pytest.approx(covariance)
    assert found.value == pytest.approx([roc_auc_score(positive, row) for row in scores])


@pytest.mark.parametrize("same_class", [True, False])
def test_scans_of_a_person_stay_together(same_class):
    positive, scores = random_case()
    people = np.random.default_rng(1).integers(0, 30, len(positive))
    if same_class:
        people = 2 * people + positive
    found = delong.areas(positive, scores, people.astype(str))
    area, covariance = plain(positive, scores, people)
    assert found.value == pytest.approx(area)
    assert found.covariance == pytest.approx(covariance)


def test_a_second_copy_of_every_scan_says_nothing_new():
    positive, scores = random_case()
    once = delong.areas(positive, scores)
    people = np.tile(np.arange(len(positive)), 2)
    twice = delong.areas(np.tile(positive, 2), np.tile(scores, 2), people)
    assert twice.covariance == pytest.approx(once.covariance)
    # Taken for other people, they would halve the variance.
    others = delong.areas(np.tile(positive, 2), np.tile(scores, 2))
    assert (np.diag(others.covariance) < 0.6 * np.diag(once.covariance)).all()


def test_delong_covers():
    """The mean variance is the variance of areas between two normal distributions one standard deviation apart."""
    rng, truth = np.random.default_rng(6), stats.norm.cdf(1 / math.sqrt(2))
    positive = np.arange(200) < 100
    found = [delong.areas(positive, (rng.standard_normal(200) + positive)[None]) for _ in range(1500)]
    values, variances = (
        np.array([v.item() for v in part]) for part in zip(*((f.value, f.covariance) for f in found), strict=True)
    )
    assert variances.mean() == pytest.approx(values.var(), rel=0.1)
    intervals = [delong.interval(v, s) for v, s in zip(values, variances, strict=True)]
    assert 0.93 < np.mean([low <= truth <= high for low, high in intervals]) < 0.97


def test_delong_of_a_perfect_area_and_of_one_person_has_no_interval():
    positive = np.array([False, False, True, True])
    perfect = delong.areas(positive, np.array([[0.1, 0.2, 0.8, 0.9]]))
    assert perfect.value[0] == 1.0
    assert delong.interval(1.0, perfect.covariance[0, 0]) == (None, None)
    alone = delong.areas(positive[:3], np.array([[0.1, 0.9, 0.5]]))
    assert delong.interval(alone.value[0], alone.covariance[0, 0]) == (None, None)
    same = delong.areas(positive, np.array([[0.1, 0.6, 0.5, 0.9]] * 2))
    assert delong.paired_test(same) == {"difference": 0.0, "se": None, "z": None, "p": None}
    with pytest.raises(ValueError, match="positive and negative"):
        delong.areas(np.ones(3, dtype=bool), np.ones((1, 3)))


def test_mean_over_folds_worked_by_hand():
    """Five folds of 0.8, 0.9, 0.7, 0.85, 0.75: mean 0.8, variance 0.00625; 1/5 + 1/4 = 0.45; t(0.975, 4) = 2.7764."""
    found = across([0.8, 0.9, 0.7, 0.85, 0.75], 0.25)
    half = 2.7764451 * math.sqrt(0.45 * 0.00625)
    assert found["mean"] == pytest.approx(0.8)
    assert found["sd"] == pytest.approx(math.sqrt(0.00625))
    assert (found["low"], found["high"]) == (pytest.approx(0.8 - half), pytest.approx(0.8 + half))
    # Independent test people, no training people in common: the usual t interval.
    usual = stats.t.interval(0.95, 4, 0.8, stats.sem([0.8, 0.9, 0.7, 0.85, 0.75]))
    assert (across([0.8, 0.9, 0.7, 0.85, 0.75], 0.0)["low"]) == pytest.approx(usual[0])
    assert across([0.8], 0.25) == {"mean": 0.8, "sd": None, "n": 1, "low": None, "high": None}
    assert across([], 0.25)["mean"] is None
    assert across([0.8, 0.9], None)["low"] is None


def test_corrected_t_test():
    """By hand: mean 0.02, variance 0.0010 / 4; t = 0.02 / sqrt(0.45 * 0.00025). Without overlap: the paired t-test."""
    differences = [0.02, 0.04, 0.00, 0.01, 0.03]
    found = corrected_t_test(differences, 0.25)
    assert found["t"] == pytest.approx(0.02 / math.sqrt(0.45 * 0.00025))
    assert found["p"] == pytest.approx(2 * stats.t.sf(found["t"], 4))
    plain_test = stats.ttest_1samp(differences, 0.0)
    independent = corrected_t_test(differences, 0.0)
    assert (independent["t"], independent["p"]) == (
        pytest.approx(plain_test.statistic),
        pytest.approx(plain_test.pvalue),
    )
    assert corrected_t_test([0.1, 0.1, 0.1], 0.5)["p"] is None
    assert corrected_t_test([0.1], 0.5)["p"] is None


def test_mcnemar():
    """8 against 2: p = 2 (1 + 10 + 45) / 1024."""
    assert mcnemar(8, 2) == pytest.approx(2 * 56 / 1024)
    assert mcnemar(2, 8) == mcnemar(8, 2)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0
