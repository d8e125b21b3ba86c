"""t, effect sizes, intervals, permutation and TFCE against SciPy, statsmodels, pingouin, nilearn and brute force."""

from __future__ import annotations

from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from nilearn.mass_univariate import permuted_ols
from nilearn.mass_univariate._utils import calculate_tfce
from scipy import ndimage, stats

from xai_analyses_atlas._contrasts.inference import estimate, family_wise
from xai_analyses_atlas._contrasts.models import Linear, Welch
from xai_analyses_atlas._contrasts.shuffles import Shuffles, plan
from xai_analyses_atlas._contrasts.significance import significant
from xai_analyses_atlas._contrasts.tfce import enhanced
from xai_analyses_atlas._grids import Grid
from xai_analyses_atlas._stack import Stack
from xai_core import InputError

RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])


def stack_of(y: Any, shape: tuple[int, int, int] | None = None) -> Stack:
    shape = shape or (y.shape[1], 1, 1)
    return Stack(np.asarray(y, dtype=np.float32), np.ones(shape, dtype=bool), Grid(shape, RAS))


def people(seed: int, n: int, voxels: int = 30, unequal: bool = False) -> Any:
    generator = np.random.default_rng(seed)
    y = generator.normal(size=(n, voxels)) + generator.normal(size=voxels)
    if unequal:
        y[: n // 3] *= 3
    return y


def groups(n: int, first: int) -> Any:
    return np.repeat([1.0, 0.0], [first, n - first])


ONE = np.ones


def centred(seed: int, n: int, columns: int) -> Any:
    values = np.random.default_rng(seed + 100).normal(size=(n, columns))
    return values - values.mean(axis=0)


def test_welch_is_that_of_scipy_and_hedges_g_that_of_pingouin() -> None:
    y = people(0, 17, unequal=True)
    found = Welch(groups(17, 6) > 0).observed(y, two_sided=True)
    theirs = stats.ttest_ind(y[:6], y[6:], equal_var=False)
    np.testing.assert_allclose(found.t, theirs.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, theirs.pvalue, rtol=1e-9)
    np.testing.assert_allclose(found.difference, y[:6].mean(axis=0) - y[6:].mean(axis=0), rtol=1e-10)
    one = Welch(groups(17, 6) > 0).observed(y, two_sided=False)
    np.testing.assert_allclose(
        one.p, stats.ttest_ind(y[:6], y[6:], equal_var=False, alternative="greater").pvalue, rtol=1e-9
    )
    for voxel in range(5):
        g = pingouin.compute_effsize(y[:6, voxel], y[6:, voxel], eftype="hedges")
        assert found.effect[voxel] == pytest.approx(g, rel=1e-9)
        interval = pingouin.compute_esci(g, nx=6, ny=11, eftype="hedges", decimals=9)
        assert [found.low[voxel], found.high[voxel]] == pytest.approx(list(interval), abs=1e-8)


def test_student_is_that_of_scipy() -> None:
    y = people(1, 15)
    found = Linear(groups(15, 8), ONE((15, 1)), slope=False).observed(y, two_sided=True)
    theirs = stats.ttest_ind(y[:8], y[8:])
    np.testing.assert_allclose(found.t, theirs.statistic, rtol=1e-9)
    np.testing.assert_allclose(found.p, theirs.pvalue, rtol=1e-8)
    welch = Welch(groups(15, 8) > 0).observed(y, two_sided=True)
    np.testing.assert_allclose(found.effect, welch.effect, rtol=1e-9)
    np.testing.assert_allclose(found.low, welch.low, rtol=1e-9)


def test_a_mean_against_zero_is_that_of_scipy() -> None:
    y = people(2, 9)
    model = Linear(ONE(9), np.empty((9, 0)), slope=False)
    found = model.observed(y, two_sided=True)
    theirs = stats.ttest_1samp(y, 0)
    np.testing.assert_allclose(found.t, theirs.statistic, rtol=1e-9)
    np.testing.assert_allclose(found.p, theirs.pvalue, rtol=1e-8)
    g = y.mean(axis=0) / y.std(axis=0, ddof=1) * (1 - 3 / (4 * 8 - 1))
    np.testing.assert_allclose(found.effect, g, rtol=1e-9)
    interval = pingouin.compute_esci(g[3], nx=9, ny=1, eftype="hedges", decimals=9)
    assert [found.low[3], found.high[3]] == pytest.approx(list(interval), abs=1e-8)


def test_groups_with_covariates_are_those_of_statsmodels() -> None:
    y, covariates = people(3, 20), centred(3, 20, 2)
    nuisance = np.column_stack([ONE(20), covariates])
    found = Linear(groups(20, 9), nuisance, slope=False).observed(y, two_sided=True)
    for voxel in range(6):
        fit = sm.OLS(y[:, voxel], np.column_stack([groups(20, 9), nuisance])).fit()
        assert found.difference[voxel] == pytest.approx(fit.params[0], rel=1e-9)
        assert found.t[voxel] == pytest.approx(fit.tvalues[0], rel=1e-9)
        assert found.p[voxel] == pytest.approx(fit.pvalues[0], rel=1e-8)
        d = fit.params[0] / np.sqrt(fit.scale)
        assert found.effect[voxel] == pytest.approx(d * (1 - 3 / (4 * fit.df_resid - 1)), rel=1e-9)


def test_a_slope_is_that_of_statsmodels_and_its_effect_the_partial_correlation_of_pingouin() -> None:
    y, x = people(4, 25), centred(4, 25, 3)
    y[:, 0] += x[:, 0]
    nuisance = np.column_stack([ONE(25), x[:, 1:]])
    found = Linear(x[:, 0], nuisance, slope=True).observed(y, two_sided=True)
    for voxel in range(6):
        fit = sm.OLS(y[:, voxel], np.column_stack([x[:, 0], nuisance])).fit()
        assert found.difference[voxel] == pytest.approx(fit.params[0], rel=1e-9)
        assert found.t[voxel] == pytest.approx(fit.tvalues[0], rel=1e-9)
        table = pd.DataFrame({"y": y[:, voxel], "x": x[:, 0], "a": x[:, 1], "b": x[:, 2]})
        partial = pingouin.partial_corr(table, "x", "y", covar=["a", "b"])
        assert found.effect[voxel] == pytest.approx(float(partial["r"].iloc[0]), rel=1e-9)
        reach = stats.norm.ppf(0.975) / np.sqrt(25 - 2 - 3)
        wanted = np.tanh(np.arctanh(found.effect[voxel]) + np.array([-reach, reach]))
        assert [found.low[voxel], found.high[voxel]] == pytest.approx(list(wanted), rel=1e-9)
        low, high = next(value for name, value in partial.iloc[0].items() if str(name).startswith("CI95"))
        assert [low, high] == pytest.approx(list(wanted), abs=0.006)  # pingouin rounds to two digits


@pytest.mark.parametrize("kind", ["welch", "student"])
def test_shuffled_groups_are_those_of_scipy(kind: str) -> None:
    y = people(5, 11, unequal=True)
    orders = np.stack([np.random.default_rng(i).permutation(11) for i in range(20)])
    model = Welch(groups(11, 4) > 0) if kind == "welch" else Linear(groups(11, 4), ONE((11, 1)), slope=False)
    found = model.shuffled(model.prepared(y), Shuffles(orders, True))
    for order, t in zip(orders, found, strict=True):
        theirs = stats.ttest_ind(y[order][:4], y[order][4:], equal_var=kind == "student").statistic
        np.testing.assert_allclose(t, theirs, rtol=1e-8)


def test_shuffles_with_covariates_are_those_of_freedman_and_lane() -> None:
    y, x = people(6, 14), centred(6, 14, 3)
    nuisance = np.column_stack([ONE(14), x[:, 1:]])
    model = Linear(x[:, 0], nuisance, slope=True)
    orders = np.stack([np.random.default_rng(i).permutation(14) for i in range(10)])
    found = model.shuffled(model.prepared(y), Shuffles(orders, True))
    for order, t in zip(orders, found, strict=True):
        for voxel in range(3):
            reduced = sm.OLS(y[:, voxel], nuisance).fit()
            again = reduced.fittedvalues + reduced.resid[order]
            fit = sm.OLS(again, np.column_stack([x[:, 0], nuisance])).fit()
            assert t[voxel] == pytest.approx(fit.tvalues[0], rel=1e-8)


@pytest.mark.parametrize("covariates", [0, 2])
def test_sign_flips_are_those_of_statsmodels(covariates: int) -> None:
    y, nuisance = people(7, 12), centred(7, 12, covariates)
    model = Linear(ONE(12), nuisance, slope=False)
    signs = np.random.default_rng(0).integers(0, 2, (10, 12)) * 2.0 - 1
    found = model.shuffled(model.prepared(y), Shuffles(signs, False))
    for flips, t in zip(signs, found, strict=True):
        for voxel in range(3):
            left_over = y[:, voxel]
            if covariates:
                left_over = sm.OLS(y[:, voxel], nuisance).fit().resid
            fit = sm.OLS(left_over * flips, np.column_stack([ONE(12), nuisance])).fit()
            assert t[voxel] == pytest.approx(fit.tvalues[0], rel=1e-8)


def corrected(observed: Any, all_t: Any, two_sided: bool) -> Any:
    size = np.abs if two_sided else np.asarray
    largest = np.array([size(t).max() for t in all_t])
    return np.array([(largest >= size(t) - 1e-9).mean() for t in observed])


@pytest.mark.parametrize("two_sided", [True, False])
def test_p_of_all_groupings_is_that_of_brute_force(two_sided: bool) -> None:
    y = people(8, 7)
    y[:3, 0] += 4
    stack, model = stack_of(y), Welch(groups(7, 3) > 0)
    drawn = plan("groups", 7, 1000, 0, first=3, two_sided=two_sided)
    assert drawn.exhaustive
    assert len(drawn) == 35
    found = estimate(model, stack, two_sided=two_sided)
    mine = family_wise(model, stack, found, drawn, "max-t", connectivity=6, two_sided=two_sided)
    values = stack.values.astype(float)
    every = []
    for chosen in combinations(range(7), 3):
        inside = np.isin(range(7), chosen)
        every.append(stats.ttest_ind(values[inside], values[~inside], equal_var=False).statistic)
    np.testing.assert_allclose(mine.p, corrected(found.t, every, two_sided), rtol=1e-12)
    assert mine.p.min() >= 1 / 35


def test_p_of_all_sign_flips_is_that_of_brute_force() -> None:
    y = people(9, 6)
    y[:, 0] += 5
    stack, model = stack_of(y), Linear(ONE(6), np.empty((6, 0)), slope=False)
    drawn = plan("signs", 6, 100, 0)
    assert (drawn.exhaustive, len(drawn), drawn.least_p) == (True, 64, 2 / 64)
    found = estimate(model, stack, two_sided=True)
    mine = family_wise(model, stack, found, drawn, "max-t", connectivity=6, two_sided=True)
    values = stack.values.astype(float)
    every = [stats.ttest_1samp(values * np.array(s)[:, None], 0).statistic for s in product((1, -1), repeat=6)]
    np.testing.assert_allclose(mine.p, corrected(found.t, every, True), rtol=1e-12)
    assert mine.p.min() == drawn.least_p


def test_p_of_all_orders_is_that_of_brute_force() -> None:
    y, x = people(10, 5), centred(10, 5, 1)[:, 0]
    stack, model = stack_of(y), Linear(x, ONE((5, 1)), slope=True)
    drawn = plan("orders", 5, 200, 0)
    assert (drawn.exhaustive, len(drawn)) == (True, 120)
    found = estimate(model, stack, two_sided=True)
    mine = family_wise(model, stack, found, drawn, "max-t", connectivity=6, two_sided=True)
    values = stack.values.astype(float)
    every = []
    for order in permutations(range(5)):
        r = np.array([np.corrcoef(x, values[list(order), v])[0, 1] for v in range(values.shape[1])])
        every.append(r * np.sqrt(3 / (1 - r**2)))
    np.testing.assert_allclose(found.t, every[0], rtol=1e-5)
    np.testing.assert_allclose(mine.p, corrected(found.t, every, True), rtol=1e-12)


def test_random_shuffles_come_after_the_people_as_they_are() -> None:
    drawn = plan("orders", 30, 50, 3)
    assert (len(drawn), drawn.exhaustive, drawn.least_p) == (51, False, 1 / 51)
    assert drawn.table[0].tolist() == list(range(30))
    assert len(np.unique(drawn.table, axis=0)) == 51
    assert np.array_equal(drawn.table, plan("orders", 30, 50, 3).table)
    assert not np.array_equal(drawn.table, plan("orders", 30, 50, 4).table)
    signs = plan("signs", 30, 50, 3)
    assert set(np.unique(signs.table)) == {-1.0, 1.0}
    assert (signs.table[0] == 1).all()
    places = [where for where, _ in drawn.batches(7)]
    assert [i for where in places for i in range(where.start, where.stop)] == list(range(1, 51))


@pytest.mark.parametrize("connectivity", [6, 26])
def test_tfce_is_that_of_nilearn_times_its_step(connectivity: int) -> None:
    t = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 14, 10)), 1) * 20
    step = np.abs(t).max() / 100
    structure = ndimage.generate_binary_structure(3, {6: 1, 26: 3}[connectivity])
    theirs = calculate_tfce(t[..., None], structure, two_sided_test=True)[..., 0] * step
    np.testing.assert_allclose(enhanced(t, step, connectivity=connectivity), theirs, rtol=1e-6)
    one = enhanced(t, step, connectivity=connectivity, two_sided=False)
    np.testing.assert_allclose(one, np.maximum(theirs, 0), rtol=1e-6)


def test_tfce_of_a_box_is_that_of_the_paper() -> None:
    """A box of 8 voxels of height 3: the integral of sqrt(8) h^2 dh from 0 to 3 is 9 sqrt(8)."""
    t = np.zeros((6, 6, 6))
    t[2:4, 2:4, 2:4] = 3
    found = enhanced(t, 0.001)
    assert found[3, 3, 3] != 0
    # 1000 steps are the most, so that only heights up to 1 are added up: the integral to 1 is sqrt(8) / 3.
    assert found[2, 2, 2] == pytest.approx(np.sqrt(8) / 3, rel=2e-3)
    assert enhanced(t, 0.01)[2, 2, 2] == pytest.approx(9 * np.sqrt(8), rel=6e-3)
    assert enhanced(t, 0.01)[0, 0, 0] == 0


def planted(seed: int, effect: float, shape: tuple[int, int, int] = (8, 8, 8), n: int = 20) -> Any:
    generator = np.random.default_rng(seed)
    y = np.stack([ndimage.gaussian_filter(generator.normal(size=shape), 0.8) for _ in range(n)])
    y /= y.std()
    y[: n // 2, 2:5, 2:5, 2:5] += effect
    return y.reshape(n, -1)


def test_t_and_p_are_those_of_nilearns_permuted_ols() -> None:
    """nilearn draws its own permutations, so that p agrees within the error of drawing them."""
    y, shape = planted(1, 1.2), (8, 8, 8)
    theirs = permuted_ols(
        groups(20, 10), y, model_intercept=True, n_perm=1000, two_sided_test=True, random_state=0, output_type="dict"
    )
    stack, model = stack_of(y, shape), Linear(groups(20, 10), ONE((20, 1)), slope=False)
    found = estimate(model, stack, two_sided=True)
    np.testing.assert_allclose(found.t, theirs["t"][0], rtol=1e-4, atol=1e-5)  # the stack is float32
    drawn = plan("groups", 20, 1000, 1, first=10)
    mine = family_wise(model, stack, found, drawn, "max-t", connectivity=6, two_sided=True)
    # Twice the standard error of a difference of two shares of 1000 is 0.045 at most.
    assert np.abs(mine.p - 10 ** -theirs["logp_max_t"][0]).max() < 0.07
    assert mine.p.min() < 0.05


def test_p_of_tfce_is_that_of_brute_force_with_scipy_and_nilearn() -> None:
    y, shape = planted(3, 1.0, (5, 5, 5), 7), (5, 5, 5)
    stack, model = stack_of(y, shape), Welch(groups(7, 3) > 0)
    found = estimate(model, stack, two_sided=True)
    mine = family_wise(model, stack, found, plan("groups", 7, 99, 0, first=3), "tfce", connectivity=6, two_sided=True)
    values, step = stack.values.astype(float), np.abs(found.t).max() / 100
    largest = []
    for chosen in combinations(range(7), 3):
        inside = np.isin(range(7), chosen)
        t = stats.ttest_ind(values[inside], values[~inside], equal_var=False).statistic.reshape(shape)
        # nilearn fits a whole number of steps to the map's height, and leaves the step out of the sum.
        steps = np.clip(round(np.abs(t).max() / step), 10, 1000)
        tfce = calculate_tfce(t[..., None], ndimage.generate_binary_structure(3, 1), dh=step)[..., 0]
        largest.append(np.abs(tfce).max() * np.abs(t).max() / steps)
    np.testing.assert_allclose(mine.largest, largest, rtol=0.05)
    np.testing.assert_allclose(mine.largest[0], largest[0], rtol=1e-6)
    wanted = (np.array(largest) >= np.abs(mine.statistic)[:, None] * (1 - 1e-9)).mean(axis=1)
    assert np.abs(mine.p - wanted).max() <= 2 / 35 + 1e-9


@pytest.mark.parametrize("method", ["max-t", "tfce"])
def test_a_planted_difference_is_found_where_it_is(method: Any) -> None:
    inside = np.zeros((8, 8, 8), dtype=bool)
    inside[2:5, 2:5, 2:5] = True
    y, shape = planted(2, 3.0), (8, 8, 8)
    stack, model = stack_of(y, shape), Welch(groups(20, 10) > 0)
    found = estimate(model, stack, two_sided=True)
    test = family_wise(
        model, stack, found, plan("groups", 20, 199, 0, first=10), method, connectivity=6, two_sided=True
    )
    counts = significant(found, test, "fwe", 0.05, two_sided=True).counts.reshape(shape)
    assert counts[inside].mean() > 0.9
    # TFCE lends height to the neighbours of a cluster; nothing farther off may count.
    assert not (counts & ~ndimage.binary_dilation(inside, iterations=2 if method == "tfce" else 1)).any()


@pytest.mark.parametrize("design", ["welch", "signs", "freedman-lane", "tfce"])
def test_without_a_difference_the_error_rate_is_the_promised_one(design: str) -> None:
    """Of 200 studies (24 with TFCE) without an effect about 5 % find something somewhere; bounds of 0.1 %."""
    studies, drawings = (24, 19) if design == "tfce" else (200, 99)
    shape, hits = (4, 4, 4), 0
    for seed in range(studies):
        y = planted(1000 + seed, 0.0, shape, 12)
        if design == "freedman-lane":
            age = centred(seed, 12, 1)
            y = y + age * 2  # a covariate that decides the maps
            tested = groups(12, 6)
            model: Any = Linear(tested, np.column_stack([ONE(12), age]), slope=False)
            drawn = plan("orders", 12, drawings, seed)
        elif design == "signs":
            model, drawn = Linear(ONE(12), np.empty((12, 0)), slope=False), plan("signs", 12, drawings, seed)
        else:
            model, drawn = Welch(groups(12, 6) > 0), plan("groups", 12, drawings, seed, first=6)
        stack = stack_of(y, shape)
        found = estimate(model, stack, two_sided=True)
        method: Any = "tfce" if design == "tfce" else "max-t"
        hits += int((family_wise(model, stack, found, drawn, method, connectivity=6, two_sided=True).p <= 0.05).any())
    low, high = stats.binom.ppf([0.001, 0.999], studies, 0.05)
    assert low <= hits <= high


def test_voxels_in_which_nobody_differs_are_not_tested() -> None:
    y = people(11, 10, 6)
    y[:, 1], y[:, 2] = 0.0, 7.0  # a voxel of zeros, and a constant one
    y[:, 3] = groups(10, 5)  # no variance within the groups
    for model in (Welch(groups(10, 5) > 0), Linear(groups(10, 5), ONE((10, 1)), slope=False)):
        stack = stack_of(y)
        found = estimate(model, stack, two_sided=True)
        assert found.tested.tolist() == [True, False, False, False, True, True]
        assert found.separated.tolist() == [False, False, False, True, False, False]
        assert np.isfinite(np.concatenate([found.t, found.p, found.effect, found.low, found.high])).all()
        assert (found.t[1:4] == 0).all()
        assert (found.p[1:4] == 1).all()
        test = family_wise(
            model, stack, found, plan("groups", 10, 99, 0, first=5), "max-t", connectivity=6, two_sided=True
        )
        assert np.isfinite(test.largest).all()
        assert (test.p[1:4] == 1).all()


def test_a_shuffle_that_leaves_no_variance_counts_against_the_finding() -> None:
    """A grouping that splits two values nearly exactly must not vanish from the null distribution."""
    y = np.array([[0.0], [1.0], [0.0], [1.0], [0.1], [1.1]])
    stack, model = stack_of(y), Welch(groups(6, 3) > 0)
    found = estimate(model, stack, two_sided=True)
    test = family_wise(model, stack, found, plan("groups", 6, 99, 0, first=3), "max-t", connectivity=6, two_sided=True)
    assert np.isfinite(test.largest).all()
    assert test.largest.max() > 5


def test_maps_of_zeros_have_no_finding() -> None:
    stack, model = stack_of(np.zeros((8, 5))), Welch(groups(8, 4) > 0)
    found = estimate(model, stack, two_sided=True)
    for method in ("max-t", "tfce"):
        test = family_wise(
            model, stack, found, plan("groups", 8, 19, 0, first=4), method, connectivity=6, two_sided=True
        )
        assert (test.p == 1).all()
    assert not significant(found, None, "top", 5, two_sided=True).counts.any()


def test_designs_that_cannot_be_fitted_are_refused() -> None:
    x = centred(0, 8, 1)
    with pytest.raises(InputError, match="covariates depend on each other: a, b"):
        Linear(groups(8, 4), np.column_stack([ONE(8), x, 2 * x]), slope=False, names=["intercept", "a", "b"])
    with pytest.raises(InputError, match="follows from the covariates: sex"):
        Linear(groups(8, 4), np.column_stack([ONE(8), groups(8, 4) - 0.5]), slope=False, names=["intercept", "sex"])
    with pytest.raises(InputError, match="3 people are too few"):
        Linear(np.array([1.0, -1, 0]), np.column_stack([ONE(3), [1.0, 1, -2]]), slope=True)
    with pytest.raises(InputError, match="fewer than two people"):
        Welch(groups(5, 1) > 0)


def test_thresholds_by_hand(tmp_path: Path) -> None:
    y = people(12, 16, 200)
    y[:8, :10] += 2
    stack, model = stack_of(y), Welch(groups(16, 8) > 0)
    found = estimate(model, stack, two_sided=True)

    def counts(threshold: Any, level: float, two_sided: bool = True) -> Any:
        return significant(found, None, threshold, level, two_sided=two_sided).counts

    np.testing.assert_array_equal(counts("p", 0.01), found.p <= 0.01)
    np.testing.assert_array_equal(counts("t", 2.5), np.abs(found.t) >= 2.5)
    np.testing.assert_array_equal(counts("t", 2.5, False), found.t >= 2.5)
    assert counts("top", 5).sum() == 10
    assert np.abs(found.t)[counts("top", 5)].min() > np.abs(found.t)[~counts("top", 5)].max()
    fdr = stats.false_discovery_control(found.p)
    np.testing.assert_allclose(significant(found, None, "fdr", 0.05, two_sided=True).p_fdr, fdr, rtol=1e-12)
    np.testing.assert_array_equal(counts("fdr", 0.05), fdr <= 0.05)
    assert counts("fdr", 0.05).any()
