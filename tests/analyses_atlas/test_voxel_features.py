"""Relations across people against statsmodels, pingouin, SciPy and nilearn; what is planted, and what is not there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import ndimage, stats

from xai_analyses_atlas._contrasts.inference import estimate, family_wise
from xai_analyses_atlas._contrasts.shuffles import Plan, Shuffles, plan
from xai_analyses_atlas._grids import Grid
from xai_analyses_atlas._stack import Stack, filled
from xai_analyses_atlas._voxels.association import Association
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])


class TestVoxelFeatures(AnalysisConformance):
    name = "voxel-features"
    params: ClassVar[dict[str, Any]] = {"column": "age", "minimal_people": 2}


class TestVoxelFeaturesOfMaps(AnalysisConformance):
    name = "voxel-features"
    params: ClassVar[dict[str, Any]] = {
        "feature_map": "image", "method": "spearman", "minimal_people": 2, "space": "scan", "brain": "none",
        "tfce": True, "permutations": 10, "normalise": "sum", "smoothing": 4,
    }  # fmt: skip


# -- the statistics ----------------------------------------------------------------------------------------------------


def data(people: int = 30, voxels: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return relevance [N, V], features [N, V] and covariates [N, 2] that are related to both."""
    generator = np.random.default_rng(seed)
    covariates = generator.normal(size=(people, 2)) * [1, 100] + [70, 1400]
    shared = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0) @ generator.normal(size=(2, voxels))
    x = generator.normal(size=(people, voxels)) + shared
    y = 0.4 * x + generator.normal(size=(people, voxels)) - shared + 5
    return y, x, covariates


def interleaved(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.stack([y, x], axis=1).reshape(-1, y.shape[1])


def test_a_map_s_relation_is_that_of_statsmodels_and_pingouin() -> None:
    import pingouin

    y, x, covariates = data()
    found = Association(covariates, None, "pearson", least=1).observed(interleaved(y, x), two_sided=True)
    for voxel in range(y.shape[1]):
        fit = sm.OLS(y[:, voxel], sm.add_constant(np.column_stack([x[:, voxel], covariates]))).fit()
        assert found.difference[voxel] == pytest.approx(fit.params[1], rel=1e-8)
        assert found.t[voxel] == pytest.approx(fit.tvalues[1], rel=1e-8)
        assert found.p[voxel] == pytest.approx(fit.pvalues[1], rel=1e-8)
        table = pd.DataFrame({"y": y[:, voxel], "x": x[:, voxel], "a": covariates[:, 0], "b": covariates[:, 1]})
        expected = pingouin.partial_corr(table, "x", "y", ["a", "b"]).iloc[0]
        assert found.effect[voxel] == pytest.approx(expected["r"], abs=1e-6)
        interval = next(expected[name] for name in expected.index if name.startswith("CI95"))
        np.testing.assert_allclose([found.low[voxel], found.high[voxel]], interval, atol=0.0051)  # rounded there
    assert found.tested.all()


def test_a_number_s_relation_is_that_of_statsmodels() -> None:
    y, _x, covariates = data()
    age = covariates[:, 0] * 3 + np.random.default_rng(5).normal(size=30)
    found = Association(covariates, age, "pearson", least=1).observed(y, two_sided=True)
    for voxel in range(y.shape[1]):
        fit = sm.OLS(y[:, voxel], sm.add_constant(np.column_stack([age, covariates]))).fit()
        got = [found.difference[voxel], found.t[voxel], found.p[voxel]]
        assert got == pytest.approx([fit.params[1], fit.tvalues[1], fit.pvalues[1]], rel=1e-7)


@pytest.mark.parametrize("rounded", [False, True])
def test_ranks_are_those_of_scipy_and_pingouin(rounded: bool) -> None:
    import pingouin

    y, x, covariates = data()
    if rounded:
        y, x = np.round(y), np.round(x)
    none = np.zeros((30, 0))
    plain = Association(none, None, "spearman", least=1).observed(interleaved(y, x), two_sided=True)
    ranked = Association(stats.rankdata(covariates, axis=0), None, "spearman", least=1)
    partial = ranked.observed(interleaved(y, x), two_sided=True)
    for voxel in range(y.shape[1]):
        expected = stats.spearmanr(y[:, voxel], x[:, voxel])
        assert plain.effect[voxel] == pytest.approx(expected.statistic, abs=1e-12)
        assert plain.p[voxel] == pytest.approx(expected.pvalue, rel=1e-8)
        table = pd.DataFrame({"y": y[:, voxel], "x": x[:, voxel], "a": covariates[:, 0], "b": covariates[:, 1]})
        r = pingouin.partial_corr(table, "x", "y", ["a", "b"], method="spearman")["r"].iloc[0]
        assert partial.effect[voxel] == pytest.approx(r, abs=1e-6)
        # Bonett and Wright 2000, with the number of covariates taken off n.
        error = np.sqrt((1 + r**2 / 2) / (30 - 2 - 3))
        expected_ends = np.tanh(np.arctanh(r) + np.array([-1, 1]) * stats.norm.ppf(0.975) * error)
        np.testing.assert_allclose([partial.low[voxel], partial.high[voxel]], expected_ends, atol=1e-6)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("of_map", [False, True])
def test_a_shuffle_fits_the_full_model_to_permuted_residuals(method: Any, of_map: bool) -> None:
    y, x, covariates = data(people=15)
    number = x[:, 0]
    model = Association(covariates, None if of_map else number, method, least=1)
    orders = np.array([np.random.default_rng(k).permutation(15) for k in range(3)])
    found = model.shuffled(model.prepared(interleaved(y, x) if of_map else y), Shuffles(orders, orders=True))
    if method == "spearman":
        y, x, number = stats.rankdata(y, axis=0), stats.rankdata(x, axis=0), stats.rankdata(number)
    design = sm.add_constant(covariates)
    for number_of_order, order in enumerate(orders):
        for voxel in range(y.shape[1]):
            reduced = sm.OLS(y[:, voxel], design).fit()
            permuted = reduced.fittedvalues + reduced.resid[order]
            full = np.column_stack([design, x[:, voxel] if of_map else number])
            t = sm.OLS(permuted, full).fit().tvalues[-1]
            assert found[number_of_order, voxel] == pytest.approx(t, rel=1e-6, abs=1e-9)


def test_many_people_are_shuffled_in_float32_that_never_falls_short() -> None:
    y, x, covariates = data(people=40, voxels=600)
    model = Association(covariates, None, "pearson", least=1)
    order = np.random.default_rng(1).permutation(40)
    found = model.shuffled(model.prepared(interleaved(y * 1e-30, x)), Shuffles(order[None], orders=True))[0]
    design = sm.add_constant(covariates)
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    for voxel in range(0, 600, 37):
        t = sm.OLS(residual[order, voxel], np.column_stack([design, x[:, voxel]])).fit().tvalues[-1]
        assert abs(t) <= abs(found[voxel]) <= abs(t) * (1 + 3e-5) + 1e-9


def stacked(values: np.ndarray, shape: tuple[int, int, int], scratch: Path) -> Stack:
    return filled(iter(values), len(values), np.ones(shape, dtype=bool), Grid(shape, np.eye(4)), scratch)


def test_corrected_p_of_few_people_is_that_of_all_orders(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    y, x = (generator.normal(size=(5, 8)).astype(np.float32).astype(float) for _ in range(2))
    model = Association(np.zeros((5, 0)), None, "pearson", least=1)
    stack = stacked(interleaved(y, x), (2, 2, 2), tmp_path)
    found = estimate(model, stack, two_sided=True)
    test = family_wise(model, stack, found, plan("orders", 5, 1000, 0), "max-t", connectivity=6, two_sided=True)
    largest = [
        max(abs(stats.pearsonr(y[list(order), v], x[:, v]).statistic) for v in range(8))
        for order in itertools.permutations(range(5))
    ]
    expected = [np.mean(np.array(largest) >= abs(r) * (1 - 1e-9)) for r in found.effect]
    np.testing.assert_allclose(test.p, expected, atol=1e-12)


def test_t_and_corrected_p_of_a_number_are_those_of_nilearn(tmp_path: Path) -> None:
    from nilearn.mass_univariate import permuted_ols

    y, _x, covariates = data(people=24, voxels=27, seed=4)
    y = y.astype(np.float32).astype(float)
    number = np.random.default_rng(8).normal(size=24)
    y[:, 13] += 0.7 * number
    y[:, 14] -= 0.5 * number
    model = Association(covariates, number, "pearson", least=1)
    stack = stacked(y, (3, 3, 3), tmp_path)
    found = estimate(model, stack, two_sided=True)
    test = family_wise(model, stack, found, plan("orders", 24, 2000, 0), "max-t", connectivity=6, two_sided=True)
    expected = permuted_ols(number[:, None], y, covariates, n_perm=2000, random_state=1, two_sided_test=True)
    np.testing.assert_allclose(found.t, expected["t"][0], rtol=1e-6)
    # Both draw orders at random: their p values differ by the error of 2,000 draws.
    np.testing.assert_allclose(test.p, 10 ** -expected["logp_max_t"][0], atol=4.5 * np.sqrt(0.25 * 2 / 2000))
    assert np.quantile(test.largest, 0.95) == pytest.approx(np.quantile(expected["h0_max_t"], 0.95), rel=0.06)


@pytest.mark.parametrize("of_map", [False, True])
def test_where_nothing_is_related_somebody_errs_as_often_as_promised(of_map: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(11)
    errors, trials = 0, 200
    for trial in range(trials):
        noise = generator.normal(size=(2, 12, 4, 4, 4))
        smooth = ndimage.gaussian_filter(noise, (0, 0, 0.8, 0.8, 0.8)).reshape(2, 12, 64)
        covariate = generator.normal(size=(12, 1))
        smooth[0] += covariate
        smooth[1] -= 2 * covariate
        number = None if of_map else smooth[1, :, 0]
        model = Association(covariate, number, "pearson", least=1)
        stack = stacked(interleaved(*smooth) if of_map else smooth[0], (4, 4, 4), tmp_path)
        found = estimate(model, stack, two_sided=True)
        orders = plan("orders", 12, 59, trial)
        errors += family_wise(model, stack, found, orders, "max-t", connectivity=6, two_sided=True).p.min() <= 0.05
        stack.delete()
    low, high = stats.binom.ppf([0.001, 0.999], trials, 0.05)
    assert low <= errors <= high, errors


def test_constant_and_rare_voxels_are_not_tested() -> None:
    y, x, _covariates = data(people=10, voxels=6)
    y[:, 0] = 3.25  # constant relevance
    x[:, 1] = 1e6  # constant feature
    y[2:, 2] = 0  # two people have relevance
    x[:, 3] = np.arange(10) >= 2  # two people without a lesion
    x[:, 4] = np.arange(10) >= 5
    model = Association(np.zeros((10, 0)), None, "pearson", least=3)
    found = model.observed(interleaved(y, x), two_sided=True)
    assert found.tested.tolist() == [False, False, False, False, True, True]
    for values, nothing in ((found.t, 0), (found.p, 1), (found.effect, 0), (found.difference, 0)):
        assert (values[~found.tested] == nothing).all()
        assert np.isfinite(values).all()
    shuffled = model.shuffled(model.prepared(interleaved(y, x)), Shuffles(np.arange(10)[None, ::-1], orders=True))
    assert np.isfinite(shuffled).all()


def test_a_perfect_relation_stays_finite() -> None:
    y, _x, _covariates = data(people=8)
    found = Association(np.zeros((8, 0)), None, "pearson", least=1).observed(interleaved(2 * y, y), two_sided=True)
    assert np.isfinite(found.t).all()
    np.testing.assert_allclose(found.effect, 1)
    np.testing.assert_allclose(found.difference, 2)
    assert (found.p < 1e-20).all()


def test_the_scale_of_the_values_does_not_matter() -> None:
    y, x, covariates = data()
    model = Association(covariates, None, "pearson", least=1)
    expected = model.observed(interleaved(y, x), two_sided=True)
    tiny = model.observed(interleaved(y * 1e-9, x * 1e6), two_sided=True)
    np.testing.assert_allclose(tiny.t, expected.t, rtol=1e-7)
    assert tiny.tested.all()


def test_too_few_people_and_what_follows_from_covariates_are_refused() -> None:
    _y, _x, covariates = data(people=4)
    with pytest.raises(InputError, match=r"4 people are too few for a relation with 2 columns .* at least 5"):
        Association(covariates, None, "pearson", least=1)
    _y, _x, covariates = data()
    with pytest.raises(InputError, match="follows from the covariates"):
        Association(covariates, covariates @ [1, 2] + 4, "pearson", least=1)


# -- the analysis ------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(save_map: Callable[..., Path]) -> list[dict[str, Any]]:
    """Return twenty people whose relevance follows age at one corner, and their FA at another."""
    made = []
    for number in range(20):
        generator = np.random.default_rng(number)
        age = 60.0 + number
        relevance, fa = generator.normal(size=SHAPE), generator.normal(size=SHAPE)
        relevance[1:4, 1:4, 1:4] += 0.4 * number
        relevance[7:10, 9:12, 5:8] += 4 * fa[7:10, 9:12, 5:8]
        made.append({
            "scan": f"sub-{number:02}", "target": "AD" if number % 2 else "CN", "prediction": "AD", "map": relevance,
            "map_fa": str(save_map(f"fa/{number}.nii.gz", fa)), "age": age, "sex": "FM"[number // 2 % 2], "fa": fa,
        })  # fmt: skip
    return made


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes longer than all else; the conformance suites and the test of bytes draw."""
    if "people" in request.fixturenames and "bytes" not in request.node.name:
        monkeypatch.setattr("xai_analyses_atlas._voxels.features_across._draw", lambda *_given: None)


def run_of(make_run: Callable[..., RunResults], people: list[dict[str, Any]], **options: Any) -> RunResults:
    return make_run([{k: v for k, v in one.items() if k != "fa"} for one in people], **options)


def analysed(run: RunResults, output: Path, **params: Any) -> dict[str, pd.DataFrame]:
    output.mkdir(parents=True)
    defaults = {"brain": "none", "permutations": 60}
    create("analysis", "voxel-features", **{**defaults, **params}).analyse(run, output)
    names = ("voxel-features", "clusters", "left-out")
    return {
        name: pd.read_csv(output / f"{name}.tsv", sep="\t", na_values=["n/a"], keep_default_na=False) for name in names
    }


def volume(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_planted_relation_with_age_is_found_where_it_is(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    found = analysed(run_of(make_run, people), tmp_path / "out", column="age", covariates=["sex"], tfce=True)
    planted = np.zeros(SHAPE, dtype=bool)
    planted[1:4, 1:4, 1:4] = True
    for correction in ("max-t", "tfce"):
        p = volume(tmp_path / "out" / f"lrp_age_p-{correction}.nii.gz")
        assert (p[planted] <= 0.05).mean() > 0.9, correction
        # TFCE spreads to the neighbours; nowhere else.
        near = planted if correction == "max-t" else ndimage.binary_dilation(planted, iterations=2)
        assert not (p[~near] <= 0.05).any(), correction
    row = found["voxel-features"].iloc[0]
    assert (row["people"], row["df"], row["voxels"], row["tested"], row["arrangements"]) == (20, 17, 1287, 1287, 61)
    assert row["significant_max_t"] >= 25
    design = sm.add_constant(np.column_stack([np.arange(60, 80), [one["sex"] == "M" for one in people]]).astype(float))
    values = np.array([one["map"].astype(np.float32)[2, 2, 2] for one in people], dtype=float)
    fit = sm.OLS(values, design).fit()
    assert volume(tmp_path / "out" / "lrp_age_t.nii.gz")[2, 2, 2] == pytest.approx(fit.tvalues[1], rel=1e-5)
    assert volume(tmp_path / "out" / "lrp_age_slope.nii.gz")[2, 2, 2] == pytest.approx(fit.params[1], rel=1e-5)
    first = found["clusters"][found["clusters"]["correction"] == "max-t"].iloc[0]
    assert first["sign"] == 1
    assert all(abs(first[f"peak_{axis}"] - centre) <= 4 for axis, centre in zip("xyz", (-12, -32, -8), strict=True))


def test_a_planted_relation_with_a_map_is_found_where_it_is(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    found = analysed(run_of(make_run, people), tmp_path / "out", feature_map="fa", covariates=["age"])
    planted = np.zeros(SHAPE, dtype=bool)
    planted[7:10, 9:12, 5:8] = True
    p = volume(tmp_path / "out" / "lrp_fa_p-max-t.nii.gz")
    assert (p[planted] <= 0.05).all()
    assert not (p[~planted] <= 0.05).any()
    table = np.array([[one["map"].astype(np.float32)[8, 10, 6], one["fa"].astype(np.float32)[8, 10, 6]]
                      for one in people], dtype=float)  # fmt: skip
    fit = sm.OLS(table[:, 0], sm.add_constant(np.column_stack([table[:, 1], np.arange(60, 80)]))).fit()
    assert volume(tmp_path / "out" / "lrp_fa_t.nii.gz")[8, 10, 6] == pytest.approx(fit.tvalues[1], rel=1e-5)
    sidecar = json.loads((tmp_path / "out" / "lrp_fa.json").read_text())
    assert sidecar["covariates"] == "age"
    assert sidecar["related_to"] == "fa at the voxel"
    assert found["voxel-features"]["df"].iloc[0] == 17


def test_a_person_s_visits_are_averaged(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    first = people[0]
    later = {**first, "scan": "sub-00_ses-2", "subject": "sub-00", "age": 70.0, "map": first["map"] + 1}
    run = run_of(make_run, [{**first, "subject": "sub-00"}, later, *people[1:]])
    found = analysed(run, tmp_path / "out", column="age", permutations=0)
    row = found["voxel-features"].iloc[0]
    assert (row["people"], row["maps"]) == (20, 21)
    age = [65.0, *(one["age"] for one in people[1:])]
    values = np.array([first["map"][5, 5, 5] + 0.5, *(one["map"][5, 5, 5] for one in people[1:])])
    expected = stats.linregress(age, values)
    assert volume(tmp_path / "out" / "lrp_age_r.nii.gz")[5, 5, 5] == pytest.approx(expected.rvalue, abs=1e-5)
    assert volume(tmp_path / "out" / "lrp_age_p.nii.gz")[5, 5, 5] == pytest.approx(expected.pvalue, rel=1e-3)


def test_who_lacks_something_is_named(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[0]["age"] = None
    people[1]["map_fa"] = None
    broken = people[2]["fa"].copy()
    broken[3, 3, 3] = np.inf
    people[2]["map_fa"] = str(save_map("inf.nii.gz", broken))
    changed = {**people[3], "scan": "sub-03_ses-2", "subject": "sub-03", "sex": "other"}
    run = run_of(make_run, [*people[:3], {**people[3], "subject": "sub-03"}, changed, *people[4:]])
    found = analysed(run, tmp_path / "out", feature_map="fa", covariates=["age", "sex"], permutations=0)
    reasons = dict(zip(found["left-out"]["scan_id"], found["left-out"]["reason"], strict=True))
    assert reasons == {
        "sub-00": "has no age",
        "sub-01": "has no map 'fa'",
        "sub-02": "the map has NaN or infinite values at 1 of the 1287 voxels compared",
        "sub-03": "sex differs between visits",
        "sub-03_ses-2": "sex differs between visits",
    }
    assert found["voxel-features"]["people"].iloc[0] == 16


def test_two_groups_are_a_number(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run = run_of(make_run, people)
    found = analysed(run, tmp_path / "out", column="target", permutations=0)
    assert found["voxel-features"]["related_to"].iloc[0] == "target (AD 1, CN 0)"
    groups = [np.array([one["map"][4, 4, 4] for one in people if one["target"] == name]) for name in ("AD", "CN")]
    expected = stats.ttest_ind(*groups)
    assert volume(tmp_path / "out" / "lrp_target_t.nii.gz")[4, 4, 4] == pytest.approx(expected.statistic, rel=1e-5)
    with pytest.raises(InputError, match="prediction is the same"):
        analysed(run, tmp_path / "same", column="prediction", permutations=0)


def test_more_than_two_groups_and_too_many_covariates_are_refused(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        one |= {"site": "abc"[number % 3], "twice": 2 * one["age"]}
    run = run_of(make_run, people[:6])
    with pytest.raises(InputError, match=r"names 3 groups .* group-contrasts"):
        analysed(run, tmp_path / "a", column="site")
    with pytest.raises(InputError, match="people"):
        analysed(run, tmp_path / "b", column="age", covariates=["site", "sex", "target"])
    with pytest.raises(InputError, match="twice"):
        analysed(run, tmp_path / "c", feature_map="fa", covariates=["age", "twice"])
    with pytest.raises(InputError, match="none of 1287 voxels can be tested"):
        analysed(run, tmp_path / "d", column="age", minimal_people=7)


def test_smoothing_and_normalising_come_before_the_model(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    analysed(run_of(make_run, people), tmp_path / "out", column="age", permutations=0, smoothing=8, normalise="sum",
             part="absolute")  # fmt: skip
    values = []
    for one in people:
        strength = np.abs(one["map"].astype(np.float32).astype(float))
        smooth = ndimage.gaussian_filter(strength, 8 / np.sqrt(8 * np.log(2)) / 4, mode="constant")
        values.append(smooth[5, 5, 5] / smooth.sum())
    expected = stats.pearsonr([one["age"] for one in people], values).statistic
    assert volume(tmp_path / "out" / "lrp_age_r.nii.gz")[5, 5, 5] == pytest.approx(expected, abs=1e-5)


def test_blocks_keep_people_within_their_site(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        one["site"] = "ab"[number // 10]
    run = run_of(make_run, [people[k] for k in (0, 1, 2, 10, 11, 12)])
    found = analysed(run, tmp_path / "out", column="age", blocks="site", permutations=100)
    assert found["voxel-features"][["arrangements", "exact"]].iloc[0].tolist() == [36, True]


def test_unknown_names_are_refused_before_training(people: list[dict[str, Any]]) -> None:
    table = pd.DataFrame([{k: v for k, v in one.items() if k not in ("map", "fa", "prediction")} for one in people])
    table = table.rename(columns={"scan": "scan_id"}).assign(subject_id=table["scan"])

    def check(**params: Any) -> None:
        create("analysis", "voxel-features", **params).check_study(table, "classification", ("CN", "AD"))

    check(column="prediction", covariates=["age", {"column": "sex", "coding": "categories"}])
    check(feature_map="fa")
    for params, message in (
        ({"feature_map": "md"}, "feature_map: the study has no map 'md'"),
        ({"column": "tiv"}, "column: the study has no column 'tiv'.* What the network predicts is the column 'target'"),
        ({"column": "age", "covariates": ["tiv", "site"]}, "covariates: the study has no column 'tiv', 'site'"),
        ({"column": "age", "blocks": "site"}, "blocks: the study has no column 'site'"),
        ({"column": "age", "covariates": ["sex"] * 18}, "20 people, .* 18 covariates needs at least 21"),
    ):
        with pytest.raises(InputError, match=message):
            check(**params)


def test_contradictions_are_refused() -> None:
    for params in ({}, {"feature_map": "fa", "column": "age"}):
        with pytest.raises(ConfigError, match="either feature_map or column"):
            create("analysis", "voxel-features", **params)
    with pytest.raises(ConfigError, match="tfce needs permutations"):
        create("analysis", "voxel-features", column="age", tfce=True, permutations=0)


def test_the_same_input_gives_the_same_bytes(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run = run_of(make_run, people)
    for name in ("a", "b"):
        analysed(run, tmp_path / name, feature_map="fa")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"lrp_fa_t.nii.gz", "lrp_fa_t.png", "lrp_fa_t.txt", "lrp_fa_tested.nii.gz", "clusters.tsv"} <= set(files)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "n = 20 people" in (tmp_path / "a" / "lrp_fa_t.txt").read_text()


def test_a_plan_s_first_order_is_that_of_the_people() -> None:
    from xai_analyses_atlas._voxels.shuffle import arrangements

    orders, exact = arrangements([[0, 1, 2]], 100, np.random.default_rng(0))
    assert Plan(np.array(orders), "orders", exact, 1 / 6).table[0].tolist() == [0, 1, 2]
