"""Statistics across people against SciPy, statsmodels, pingouin, refits by hand and planted truth."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xai_analyses_atlas._statistics import (
    Block,
    Covariate,
    Design,
    adjusted,
    bootstrap_intervals,
    correlation,
    correlations,
    freedman_lane,
    linear_model,
    mixed_model,
    partial_correlation,
    standardised_slopes,
)
from xai_core import InputError

CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    covariates = rng.normal(size=(37, 2))
    x = covariates[:, 0] + rng.normal(size=37)
    y = 0.5 * x + covariates[:, 1] + rng.normal(size=37)
    y[4] = 14.0  # far off
    return {"x": x, "y": y, "covariates": covariates}


# --- p values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [("fdr-bh", "fdr_bh"), ("fdr-by", "fdr_by"), ("holm", "holm"), ("bonferroni", "bonferroni")],
)
def test_corrected_p_values_are_those_of_statsmodels(mine: Any, theirs: str) -> None:
    p = np.random.default_rng(0).random(40) ** 3
    p[7] = p[8]
    np.testing.assert_allclose(adjusted(p, mine), multipletests(p, method=theirs)[1], rtol=0, atol=1e-12)


def test_nan_is_no_test() -> None:
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    found = adjusted(p, "bonferroni")
    assert np.isnan(found[0, 1])
    np.testing.assert_allclose(found[~np.isnan(p)], [0.03, 0.12, 0.09])
    assert np.isnan(adjusted([np.nan], "fdr-bh")).all()


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    # 3 * 0.01, then the larger of that and 2 * 0.02, then 0.5
    np.testing.assert_allclose(adjusted([0.5, 0.01, 0.02], "holm"), [0.5, 0.03, 0.04])
    # 3 * 0.01 / 1 = 0.03, but 3 * 0.02 / 2 = 0.03, and 3 * 0.5 / 3
    np.testing.assert_allclose(adjusted([0.5, 0.01, 0.02], "fdr-bh"), [0.5, 0.03, 0.03])


def test_a_p_value_outside_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside of"):
        adjusted([0.2, 1.2], "holm")


# --- correlations -----------------------------------------------------------------------------------------------------


def test_pearson_is_scipys(people: dict[str, np.ndarray]) -> None:
    found, theirs = correlation(people["y"], people["x"]), stats.pearsonr(people["y"], people["x"])
    interval = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(
        [found.estimate.item(), found.p.item(), found.low.item(), found.high.item()],
        [theirs.statistic, theirs.pvalue, interval.low, interval.high],
        **CLOSE,
    )


def test_spearman_with_ties_is_scipys(people: dict[str, np.ndarray]) -> None:
    x = np.round(people["x"])
    found, theirs = correlation(people["y"], x, "spearman"), stats.spearmanr(people["y"], x)
    np.testing.assert_allclose([found.estimate.item(), found.p.item()], [theirs.statistic, theirs.pvalue], **CLOSE)


def test_spearmans_interval_by_hand() -> None:
    # Bonett and Wright 2000: z = atanh(r), SE = sqrt((1 + r^2 / 2) / (n - 3))
    x, y = np.arange(10.0), np.array([0, 2, 1, 3, 5, 4, 7, 6, 9, 8.0])
    found = correlation(y, x, "spearman")
    r = 1 - 6 * 8 / (10 * 99)
    assert found.estimate.item() == pytest.approx(r, abs=1e-12)
    half = 1.959963984540054 * math.sqrt((1 + r * r / 2) / 7)
    np.testing.assert_allclose(
        [found.low.item(), found.high.item()],
        [math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)],
        **CLOSE,
    )


def test_percentage_bend_is_pingouins(people: dict[str, np.ndarray]) -> None:
    found = correlation(people["y"], people["x"], "percentage-bend")
    theirs = pingouin.corr(people["x"], people["y"], method="percbend")
    np.testing.assert_allclose(
        [found.estimate.item(), found.p.item()], [theirs["r"].item(), theirs.filter(regex="^p").iloc[0, 0]], **CLOSE
    )
    assert np.isnan(found.low).all()


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlation_is_pingouins(people: dict[str, np.ndarray], method: Any) -> None:
    frame = pd.DataFrame(people["covariates"], columns=["a", "b"]).assign(x=people["x"], y=people["y"])
    theirs = pingouin.partial_corr(frame, "x", "y", ["a", "b"], method=method)
    covariates = people["covariates"] if method == "pearson" else stats.rankdata(people["covariates"], axis=0)
    found = partial_correlation(people["y"], people["x"], covariates, method)
    p = theirs.filter(regex="^p").iloc[0, 0]
    np.testing.assert_allclose([found.estimate.item(), found.p.item()], [theirs["r"].item(), p], **CLOSE)
    if method == "pearson":
        interval = theirs.filter(regex="^CI95").iloc[0, 0]
        np.testing.assert_allclose([found.low.item(), found.high.item()], interval, rtol=0, atol=0.006)  # 2 decimals


def test_partial_pearsons_interval_is_fishers_with_fewer_people(people: dict[str, np.ndarray]) -> None:
    found = partial_correlation(people["y"], people["x"], people["covariates"])
    theirs = pingouin.compute_esci(found.estimate.item(), nx=35, ny=35, eftype="r", decimals=9)
    np.testing.assert_allclose([found.low.item(), found.high.item()], theirs, **CLOSE)


def test_every_pair_of_columns_at_once() -> None:
    rng = np.random.default_rng(5)
    y, x, covariates = rng.normal(size=(20, 3)), rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    whole = partial_correlation(y, x, covariates, "spearman")
    assert whole.estimate.shape == (3, 4)
    alone = partial_correlation(y[:, 2], x[:, 1], covariates, "spearman")
    assert whole.estimate[2, 1] == pytest.approx(alone.estimate.item(), abs=1e-12)


@pytest.mark.parametrize("method", ["pearson", "spearman", "percentage-bend"])
def test_a_constant_column_has_no_correlation(method: Any) -> None:
    x = np.stack([np.full(12, 0.1), np.arange(12.0)], axis=1)
    found = correlation(np.arange(12.0) ** 2, x, method)
    assert np.isnan(found.estimate[0, 0])
    assert np.isnan(found.p[0, 0])
    assert np.isfinite(found.estimate[0, 1])


def test_nothing_is_left_of_a_column_that_the_covariates_explain(people: dict[str, np.ndarray]) -> None:
    x = people["covariates"] @ [2.0, -1.0] + 5
    assert np.isnan(partial_correlation(people["y"], x, people["covariates"]).estimate).all()


def test_a_perfect_relation_is_one() -> None:
    found = correlation(np.arange(9.0), 3 * np.arange(9.0) - 2)
    assert found.estimate.item() == pytest.approx(1, abs=1e-12)
    assert found.p.item() < 1e-12


def test_too_few_people_and_nan_are_refused(people: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="6 are needed"):
        partial_correlation(people["y"][:5], people["x"][:5], people["covariates"][:5])
    with pytest.raises(ValueError, match="1 values are not finite"):
        correlation([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="x 4"):
        correlation([1, 2, 3, 4, 5], [1, 2, 3, 4])


def test_spearmans_interval_covers_the_truth() -> None:
    """Of 95 % intervals about 95 % hold the true rank correlation of a bivariate normal, 6 / pi * asin(r / 2)."""
    rng, truth, hits = np.random.default_rng(8), 6 / math.pi * math.asin(0.35), 0
    for _ in range(600):
        a, b = rng.normal(size=(2, 40))
        found = correlation(0.7 * a + math.sqrt(0.51) * b, a, "spearman")
        hits += bool(found.low.item() <= truth <= found.high.item())
    assert 0.92 <= hits / 600 <= 0.98


# --- models -----------------------------------------------------------------------------------------------------------


def fitted(kind: str, y: np.ndarray, design: np.ndarray) -> Any:
    if kind == "rlm":
        return sm.RLM(y, design, M=sm.robust.norms.HuberT()).fit(tol=1e-12, maxiter=1000)
    return sm.OLS(y, design).fit(**({"cov_type": "HC3", "use_t": True} if kind == "hc3" else {}))


@pytest.mark.parametrize("kind", ["ols", "hc3", "rlm"])
def test_linear_models_are_those_of_statsmodels(people: dict[str, np.ndarray], kind: Any) -> None:
    design = sm.add_constant(np.column_stack([people["x"], people["covariates"]]))
    theirs = fitted(kind, people["y"], design)
    found = linear_model(people["y"], people["x"], people["covariates"], kind)
    low, high = theirs.conf_int()[1]
    np.testing.assert_allclose(
        [found.slope, found.error, found.statistic, found.p, found.low, found.high],
        [theirs.params[1], theirs.bse[1], theirs.tvalues[1], theirs.pvalues[1], low, high],
        **CLOSE,
    )
    assert found.df == (None if kind == "rlm" else 33)


def test_the_standardised_slope_is_that_of_standardised_columns(people: dict[str, np.ndarray]) -> None:
    y, x, covariates = (stats.zscore(people[name], axis=0) for name in ("y", "x", "covariates"))
    theirs = sm.OLS(y, sm.add_constant(np.column_stack([x, covariates]))).fit()
    found = linear_model(people["y"], people["x"], people["covariates"])
    np.testing.assert_allclose([found.beta, found.beta_low], [theirs.params[1], theirs.conf_int()[1, 0]], **CLOSE)
    slopes = standardised_slopes(people["y"][:, None], people["x"][:, None], people["covariates"])
    assert slopes.item() == pytest.approx(found.beta, abs=1e-10)


def test_partial_r_squared_is_what_the_variable_adds(people: dict[str, np.ndarray]) -> None:
    full = sm.OLS(people["y"], sm.add_constant(np.column_stack([people["x"], people["covariates"]]))).fit()
    without = sm.OLS(people["y"], sm.add_constant(people["covariates"])).fit()
    found = linear_model(people["y"], people["x"], people["covariates"])
    assert found.partial_r_squared == pytest.approx((without.ssr - full.ssr) / without.ssr, abs=1e-9)


def test_robust_regression_is_not_carried_away(people: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = 2 * x + 0.1 * rng.normal(size=60)
    y[np.argmax(x)] = -300.0
    assert abs(linear_model(y, x, kind="ols").slope - 2) > 1
    assert abs(linear_model(y, x, kind="rlm").slope - 2) < 0.05


def test_models_that_cannot_be_fitted_are_refused(people: dict[str, np.ndarray]) -> None:
    y, x, covariates = people["y"], people["x"], people["covariates"]
    with pytest.raises(ValueError, match="the variable is constant"):
        linear_model(y, np.ones(37), covariates)
    with pytest.raises(ValueError, match="the outcome is constant"):
        linear_model(np.full(37, 0.3), x)
    with pytest.raises(ValueError, match="explain all of the variable"):
        linear_model(y, covariates.sum(axis=1), covariates)
    with pytest.raises(ValueError, match="too few"):
        linear_model(y[:4], x[:4], covariates[:4])
    alone = np.zeros((37, 1))
    alone[0] = 1
    with pytest.raises(ValueError, match="leverage of 1"):
        linear_model(y, x, alone, "hc3")


def visits(seed: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(14), 3)
    x = rng.normal(size=42) + rng.normal(size=14)[people]
    y = 0.8 * x + 2 * rng.normal(size=14)[people] + rng.normal(size=42)
    return {"people": people, "x": x, "y": y}


def test_a_mixed_model_is_that_of_statsmodels() -> None:
    data = visits()
    kept = np.ones(42, dtype=bool)
    kept[[0, 1, 5]] = False  # people with one, two and three visits
    y, x, people = (data[name][kept] for name in ("y", "x", "people"))
    covariate = np.random.default_rng(0).normal(size=(39, 1))
    design = sm.add_constant(np.column_stack([x, covariate]))
    theirs = sm.MixedLM(y, design, groups=people).fit(method="powell", ftol=1e-14)
    found = mixed_model(y, x, people, covariate)
    # bse_fe holds the covariance with the variances, too. lme4, nlme and SAS report inv(X' inv(V) X), as GLS has it.
    between = np.equal.outer(people, people) * theirs.cov_re.item()
    known = sm.GLS(y, design, sigma=between + theirs.scale * np.eye(39))
    error = np.sqrt(known.fit().normalized_cov_params[1, 1])
    p = 2 * stats.norm.sf(abs(theirs.fe_params[1] / error))
    np.testing.assert_allclose([found.slope, found.error, found.p], [theirs.fe_params[1], error, p], **CLOSE)
    assert found.error == pytest.approx(theirs.bse_fe[1], rel=0.01)
    assert (found.n, found.groups, found.df) == (39, 14, None)


def test_a_balanced_mixed_model_has_a_known_answer() -> None:
    """A variable of the person in a balanced design: slope and error are those of least squares on people's means."""
    data = visits()
    x = np.random.default_rng(4).normal(size=14)
    means = data["y"].reshape(14, 3).mean(axis=1)
    known = linear_model(means, x)
    found = mixed_model(data["y"], x[data["people"]], data["people"])
    np.testing.assert_allclose([found.slope, found.error], [known.slope, known.error], **CLOSE)


def test_a_mixed_model_says_when_the_visits_are_as_if_independent() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 2)
    noise = rng.normal(size=12)
    y = np.stack([noise, -noise], axis=1).ravel()  # people have no mean of their own
    y, x = y + 1e-3 * rng.normal(size=24), rng.normal(size=24)
    found, independent = mixed_model(y, x, people), linear_model(y, x)
    assert "zero" in found.note
    np.testing.assert_allclose([found.slope, found.error], [independent.slope, independent.error], **CLOSE)


def test_a_mixed_model_of_what_does_not_vary_within_people_is_refused() -> None:
    people = np.repeat(np.arange(10), 2)
    y = np.random.default_rng(0).normal(size=10)[people]
    with pytest.raises(ValueError, match="does not vary within people"):
        mixed_model(y, np.arange(10.0)[people] ** 2, people)


def test_a_mixed_model_needs_repeated_visits() -> None:
    with pytest.raises(ValueError, match="nobody has two visits"):
        mixed_model(np.arange(9.0) ** 2, np.arange(9.0), np.arange(9))


# --- bootstrap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mine", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_bootstrap_intervals_are_scipys(people: dict[str, np.ndarray], mine: Any, theirs: Any) -> None:
    y, x = people["y"], people["x"]

    def estimate(rows: np.ndarray) -> np.ndarray:
        return correlations(y[rows, None], x[rows, None], None, "pearson")[0]

    found = bootstrap_intervals(estimate, 37, 499, np.random.default_rng(6), mine)
    known = stats.bootstrap(
        (y, x), lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic, paired=True, vectorized=True,
        n_resamples=499, method=theirs, rng=np.random.default_rng(6),
    ).confidence_interval  # fmt: skip
    np.testing.assert_allclose([found.low[0], found.high[0]], [known.low, known.high], **CLOSE)
    assert found.usable[0] == 499


def test_resamples_without_variation_are_counted() -> None:
    x = np.zeros(10)
    x[0] = 1  # absent in (1 - 1/10)^10 = 35 % of the resamples

    def estimate(rows: np.ndarray) -> np.ndarray:
        y = np.arange(10.0)[rows, None]
        return correlations(y, np.stack([x, np.arange(10.0) ** 2], axis=1)[rows], None, "pearson")[0]

    found = bootstrap_intervals(estimate, 10, 400, np.random.default_rng(0), "percentile")
    assert np.isnan(found.low[0])
    assert 0.55 < found.usable[0] / 400 < 0.75
    assert np.isfinite(found.low[1])


# --- permutation ------------------------------------------------------------------------------------------------------


def brute_force(y: np.ndarray, x: np.ndarray, covariates: np.ndarray, orders: list[Any]) -> np.ndarray:
    """Freedman and Lane by refitting: permute the reduced model's residuals, add its fit, fit the full model."""
    reduced = sm.add_constant(covariates)
    expected = [sm.OLS(column, reduced).fit().fittedvalues for column in y.T]

    def sizes(order: np.ndarray) -> np.ndarray:
        found = np.zeros((y.shape[1], x.shape[1]))
        for region, fit in enumerate(expected):
            renewed = fit + (y[:, region] - fit)[order]
            for variable in range(x.shape[1]):
                design = np.column_stack([np.ones(len(y)), x[:, variable], covariates])
                found[region, variable] = abs(sm.OLS(renewed, design).fit().tvalues[1])
        return found

    observed = sizes(np.arange(len(y)))
    largest = np.array([observed.max(), *(sizes(np.array(order)).max() for order in orders)])
    return np.array([[(largest >= t - 1e-9).mean() for t in row] for row in observed])


def test_the_largest_t_is_that_of_refitting_every_permutation() -> None:
    rng = np.random.default_rng(7)
    y, x, covariates = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    y[:, 0] += 1.5 * x[:, 1]
    orders = list(itertools.permutations(range(6)))[1::7]
    pairs = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    block = Block(np.arange(6), y, x, covariates, pairs)
    [found] = freedman_lane([block], np.array(orders))
    np.testing.assert_allclose(found, brute_force(y, x, covariates, orders).ravel(), rtol=0, atol=1e-12)


def test_blocks_are_one_family() -> None:
    rng = np.random.default_rng(9)
    y, x = rng.normal(size=(12, 2)), rng.normal(size=(12, 1))
    one = Block(np.arange(12), y, x, None, np.array([(0, 0), (1, 0)]))
    parts = [Block(np.arange(12), y[:, [i]], x, None, np.array([(0, 0)])) for i in (0, 1)]
    [whole] = freedman_lane([one], 300, np.random.default_rng(1))
    split = freedman_lane(parts, 300, np.random.default_rng(1))
    np.testing.assert_array_equal(whole, np.concatenate(split))
    alone = freedman_lane(parts[:1], 300, np.random.default_rng(1))[0]
    assert alone[0] <= split[0][0]


def test_without_a_relation_the_family_wise_error_is_as_promised() -> None:
    rng, hits = np.random.default_rng(10), 0
    for number in range(150):
        block = Block(
            np.arange(18), rng.normal(size=(18, 4)), rng.normal(size=(18, 4)), rng.normal(size=(18, 2)),
            np.array([(i, j) for i in range(4) for j in range(4)]),
        )  # fmt: skip
        hits += freedman_lane([block], 99, np.random.default_rng(number))[0].min() <= 0.05
    assert 0.01 <= hits / 150 <= 0.11


# --- covariates -------------------------------------------------------------------------------------------------------


def table(n: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "age": rng.uniform(55, 90, n), "sex": ["F", "M"] * (n // 2), "site": ["a", "b", "c"] * (n // 3),
        "scanner": [1, 2] * (n // 2),
    })  # fmt: skip


def test_covariates_are_coded_as_patsy_codes_them() -> None:
    patsy = pytest.importorskip("patsy")
    frame = table()
    design = Design(frame, [Covariate("age", 2), Covariate("sex"), Covariate("site")])
    assert design.names == ["age", "age^2", "sex=M", "site=b", "site=c"]
    theirs = np.asarray(patsy.dmatrix("age + I(age ** 2) + sex + site", frame))
    y, x = np.random.default_rng(1).normal(size=(2, 24))
    known = sm.OLS(y, np.column_stack([theirs, x])).fit()
    found = linear_model(y, x, design.matrix())
    np.testing.assert_allclose([found.slope, found.p], [known.params[-1], known.pvalues[-1]], **CLOSE)


def test_numbers_can_name_categories() -> None:
    assert Design(table(), [Covariate("scanner", coding="categories")]).names == ["scanner=2"]


def test_ranks_of_a_square_are_squares_of_ranks() -> None:
    frame = table()
    matrix = Design(frame, [Covariate("age", 2)]).matrix(ranks=True)
    ranks = stats.zscore(stats.rankdata(frame["age"]))
    np.testing.assert_allclose(matrix, np.stack([ranks, ranks**2], axis=1), atol=1e-12)


def test_what_some_people_lack_is_not_adjusted_for() -> None:
    frame = table()
    design = Design(frame, [Covariate("age"), Covariate("sex"), Covariate("site")])
    women = np.flatnonzero((frame["sex"] == "F") & (frame["site"] != "c"))
    matrix, names = design.used(women)
    assert names == ["age", "site=b"]
    assert matrix.shape == (len(women), 2)


@pytest.mark.parametrize(
    ("change", "covariates", "message"),
    [
        ({"sex": "F"}, [Covariate("sex")], "sex is the same"),
        ({"age": np.nan}, [Covariate("age")], "age is missing for 24 of 24"),
        ({}, [Covariate("sex", 2)], "sex has categories"),
        ({}, [Covariate("site", coding="number")], "site is not a number"),
    ],
)
def test_covariates_that_make_no_model_are_named(change: dict[str, Any], covariates: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Design(table().assign(**change), covariates)


def test_columns_that_follow_from_others_and_too_few_people_are_named() -> None:
    frame = table().assign(months=lambda frame: frame["age"] * 12 + 3)
    with pytest.raises(InputError, match="months follows from the columns before it"):
        Design(frame, [Covariate("age"), Covariate("months")])
    with pytest.raises(InputError, match="5 people are fewer than the 6"):
        Design(frame.head(5), [Covariate("age"), Covariate("site")])


def test_no_covariates_are_no_columns_of_every_row() -> None:
    design = Design(table(), [])
    assert design.matrix().shape == (24, 0)
    assert design.used(np.arange(5))[0].shape == (5, 0)
