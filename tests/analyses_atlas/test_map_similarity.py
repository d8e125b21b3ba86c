"""Similarity of relevance and feature maps against SciPy, scikit-learn and counting by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from xai_analyses_atlas._grids import Grid
from xai_analyses_atlas._stack import filled
from xai_analyses_atlas._voxels.measures import density_ratio, measures_for, score, top
from xai_analyses_atlas._voxels.prepare import Preparation, prepared
from xai_analyses_atlas._voxels.shuffle import arrangements, cross_scores, own_or_other
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
MIRROR = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
EVERYWHERE = {"brain": "none"}


class TestMapSimilarity(AnalysisConformance):
    name = "map-similarity"
    params: ClassVar[dict[str, Any]] = {"feature_map": "image"}


class TestMapSimilarityOfShapes(AnalysisConformance):
    name = "map-similarity"
    params: ClassVar[dict[str, Any]] = {
        "feature_map": "image", "part": "signed", "space": "scan", "brain": "none", "permutations": 0,
        "prepare": {"threshold": 0.7, "minimal_cluster": 128, "connectivity": 6, "dilation": 4, "border_only": True},
        "prepare_relevance": {"threshold": 1.0},
    }  # fmt: skip


def named(*, binary: bool, signed: bool = False) -> dict[str, Any]:
    return {measure.name: measure for measure in measures_for(binary=binary, signed=signed)}


# -- the measures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounded", [False, True])
def test_correlations_are_those_of_scipy(rounded: bool) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.gamma(1.0, size=5000), generator.normal(size=5000)
    b += 0.3 * a
    if rounded:  # many ties
        a, b = np.round(a, 1), np.round(b)
    found = {name: score(m, a, b, 5) for name, m in named(binary=False, signed=True).items()}
    assert found["pearson"] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
    assert found["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert found["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)
    assert set(found) == {"pearson", "spearman", "cosine", "dice"}


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    generator = np.random.default_rng(1)
    inside = (generator.random(4000) < 0.07).astype(float)
    relevance = np.round(generator.normal(size=4000) + inside, 1)
    found = score(named(binary=True)["auc"], relevance, inside, 5)
    assert found == pytest.approx(roc_auc_score(inside, relevance), abs=1e-12)


def test_share_density_and_dice_by_hand() -> None:
    relevance = np.array([4.0, 3, 2, 1, 0, 0, 0, 0, 0, 0])
    inside = np.array([1.0, 0, 1, 0, 1, 0, 0, 0, 0, 0])
    found = {name: score(m, relevance, inside, 20) for name, m in named(binary=True).items()}
    assert found["share"] == pytest.approx(6 / 10)
    assert found["enrichment"] == pytest.approx((6 / 3) / (10 / 10))
    assert density_ratio(found["share"], 3, 10) == pytest.approx((6 / 3) / (4 / 7))
    assert found["dice"] == pytest.approx(2 * 1 / (2 + 3))  # the top two are voxels 0 and 1
    assert density_ratio(1.0, 3, 10) == np.inf


def test_of_ties_at_the_line_each_is_taken_with_its_chance() -> None:
    values = np.array([5.0, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert top(values, 30).tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0]
    assert top(values, 10).tolist() == [1] + [0] * 9
    assert top(values, 0.001).sum() == 1  # one voxel at least
    # The score is the mean over all ways to draw the missing two of the four.
    inside = np.array([0.0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    draws = [2 * inside[[0, *pair]].sum() / (3 + 2) for pair in itertools.combinations(range(1, 5), 2)]
    assert score(named(binary=True)["dice"], values, inside, 30) == pytest.approx(np.mean(draws))


def test_signed_relevance_has_no_shares() -> None:
    assert "share" not in named(binary=True, signed=True)
    assert "enrichment" not in named(binary=True, signed=True)


def test_tiny_and_huge_values_do_not_overflow() -> None:
    a = np.random.default_rng(0).normal(size=100)
    for scale in (1e-200, 1e200):
        for measure in measures_for(binary=False, signed=True):
            assert score(measure, a * scale, a * scale, 5) == pytest.approx(1)


# -- preparation -------------------------------------------------------------------------------------------------------


def test_small_clusters_go_by_volume_and_connectivity() -> None:
    grid = Grid((7, 7, 7), np.diag([2.0, 1.0, 1.0, 1.0]))  # 2 mm3 a voxel
    values = np.zeros((7, 7, 7))
    values[1, 1, 1] = values[2, 2, 2] = 0.9  # touch by a corner: 4 mm3 together
    values[5, 5, 5] = values[5, 5, 4] = values[5, 4, 4] = 0.5  # 6 mm3
    values[1, 5, 5] = 0.4  # below the threshold

    def kept(**steps: Any) -> int:
        return int(prepared(values, grid, Preparation(threshold=0.5, **steps)).sum())

    assert kept() == 5
    assert kept(minimal_cluster=4) == 5
    assert kept(minimal_cluster=4, connectivity=18) == 3
    assert kept(minimal_cluster=6) == 3
    assert kept(minimal_cluster=6.1) == 0


def test_dilation_reaches_what_lies_within_so_many_mm() -> None:
    grid = Grid((9, 9, 9), np.array([[0, 3.0, 0, 5], [-2.0, 0, 0, 1], [0, 0, 1.0, 0], [0, 0, 0, 1]]))
    values = np.zeros((9, 9, 9))
    values[4, 4, 4] = values[4, 5, 4] = 1
    seeds = [np.array(grid.world((4, 4, 4))), np.array(grid.world((4, 5, 4)))]
    expected = np.zeros(values.shape)
    for index in np.ndindex(9, 9, 9):
        expected[index] = min(np.linalg.norm(np.array(grid.world(index)) - seed) for seed in seeds) <= 3.0001
    assert np.array_equal(prepared(values, grid, Preparation(threshold=1, dilation=3)), expected)
    shell = prepared(values, grid, Preparation(threshold=1, dilation=3, border_only=True))
    assert np.array_equal(shell, expected - values)


def test_without_a_dilation_the_border_is_the_outermost_layer() -> None:
    cube = np.zeros((8, 8, 8))
    cube[2:6, 2:6, 2:6] = 1
    shell = prepared(cube, Grid((8, 8, 8), np.eye(4)), Preparation(threshold=0.5, border_only=True))
    inner = np.zeros_like(cube)
    inner[3:5, 3:5, 3:5] = 1
    assert np.array_equal(shell, cube - inner)


@pytest.mark.parametrize(("part", "expected"), [
    ("signed", [-2, 0, 3]), ("absolute", [2, 0, 3]), ("positive", [0, 0, 3]), ("negative", [2, 0, 0]),
])  # fmt: skip
def test_parts_of_relevance(part: Any, expected: list[int]) -> None:
    values = np.array([[[-2.0, 0, 3]]])
    assert prepared(values, Grid((1, 1, 3), np.eye(4)), Preparation(part=part)).ravel().tolist() == expected


# -- own or other ------------------------------------------------------------------------------------------------------


def test_the_matrix_of_scores_holds_every_pair(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    mask, grid = np.ones((5, 6, 7), dtype=bool), Grid((5, 6, 7), np.eye(4))
    relevance, feature = generator.gamma(1, size=(4, 210)), (generator.random((4, 210)) < 0.2).astype(float)
    for measure in measures_for(binary=True, signed=False):
        left = filled((measure.left(row, 5) for row in relevance), 4, mask, grid, tmp_path)
        right = filled((measure.right(row, 5) for row in feature), 4, mask, grid, tmp_path)
        found = cross_scores(measure, left, right)
        expected = [[score(measure, a, b, 5) for b in feature] for a in relevance]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=measure.name)


def test_p_of_few_people_is_that_of_all_arrangements() -> None:
    table = np.random.default_rng(0).normal(size=(4, 4)) + np.eye(4)
    found = own_or_other(table, list("abcd"), list("abcd"), None, 1000, np.random.default_rng(0))
    sums = [table[range(4), order].sum() for order in itertools.permutations(range(4))]
    assert found.p == pytest.approx(np.mean(np.array(sums) >= sums[0] - 1e-12))
    assert (found.arrangements, found.exact) == (24, True)
    np.testing.assert_allclose(found.own, np.diag(table))
    np.testing.assert_allclose(found.others, [(table[i].sum() - table[i, i]) / 3 for i in range(4)])


def test_blocks_exchange_within_only() -> None:
    orders, exact = arrangements([[0, 2], [1, 3, 4]], 1000, np.random.default_rng(0))
    assert exact
    assert len(orders) == len({tuple(order) for order in orders}) == 12
    assert orders[0].tolist() == [0, 1, 2, 3, 4]
    drawn, exact = arrangements([[0, 2], [1, 3, 4]], 5, np.random.default_rng(0))
    assert not exact
    assert len(drawn) == 6
    for order in (*orders, *drawn):
        assert set(order[[0, 2]]) == {0, 2}
    # Closeness that is only that of the groups is none within them.
    groups = np.repeat([0, 1], 4)
    table = (groups[:, None] == groups[None, :]).astype(float)
    names = [str(k) for k in range(8)]
    assert own_or_other(table, names, names, None, 500, np.random.default_rng(0)).p < 0.05
    assert own_or_other(table, names, names, groups.tolist(), 500, np.random.default_rng(0)).p == 1


def test_others_are_those_with_whom_maps_may_be_exchanged() -> None:
    table = np.arange(16.0).reshape(4, 4)
    found = own_or_other(table, list("abcd"), list("abcd"), [1, 1, 2, 1], 100, np.random.default_rng(0))
    np.testing.assert_array_equal(found.others, [(1 + 3) / 2, (4 + 7) / 2, np.nan, (12 + 13) / 2])


def test_a_person_with_two_scans_is_one() -> None:
    table = np.array([[0.0, 9, 2], [9, 4, 5], [6, 7, 8]])
    found = own_or_other(table, ["a", "a", "b"], ["a1", "a2", "b1"], None, 10, np.random.default_rng(0))
    # a's own: each scan with its own map, (0 + 4) / 2; with b's map (2 + 5) / 2; b with a's maps (6 + 7) / 2.
    assert found.own.tolist() == [2, 8]
    assert found.others.tolist() == [3.5, 6.5]
    assert (found.p, found.arrangements) == (1.0, 2)  # 10 either way


def test_unrelated_maps_are_found_as_rarely_as_promised() -> None:
    generator = np.random.default_rng(7)
    names = [str(k) for k in range(8)]
    ps = [
        own_or_other(generator.normal(size=(8, 8)) + generator.normal(size=8), names, names, None, 99, generator).p
        for _ in range(400)
    ]
    found = int(np.sum(np.array(ps) <= 0.05))
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= found <= high, found


# -- the analysis ------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(save_map: Callable[..., Path]) -> list[dict[str, Any]]:
    """Return six people whose positive relevance is high in their own lesion."""
    made = []
    for number in range(6):
        generator = np.random.default_rng(number)
        lesion = np.zeros(SHAPE)
        x, y, z = generator.integers(1, 6, 3)
        lesion[x : x + 3, y : y + 3, z : z + 3] = 1
        relevance = generator.normal(size=SHAPE) + 2 * lesion
        path = save_map(f"lesions/{number}.nii.gz", lesion)
        made.append({
            "scan": f"sub-{number}", "target": "AD" if number % 2 else "CN", "prediction": "AD", "map": relevance,
            "map_lesions": str(path), "lesion": lesion, "age": 60 + number,
        })  # fmt: skip
    return made


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes longer than all else; the conformance suites and the test of bytes draw."""
    if "people" in request.fixturenames and "bytes" not in request.node.name:
        monkeypatch.setattr("xai_analyses_atlas._voxels.similarity_figures.draw", lambda *_given: None)


def run_of(make_run: Callable[..., RunResults], people: list[dict[str, Any]], **options: Any) -> RunResults:
    return make_run([{k: v for k, v in one.items() if k != "lesion"} for one in people], **options)


def analysed(run: RunResults, output: Path, **params: Any) -> dict[str, pd.DataFrame]:
    output.mkdir(parents=True)
    create("analysis", "map-similarity", **{"feature_map": "lesions", **EVERYWHERE, **params}).analyse(run, output)
    names = ("scores", "summary", "left-out")
    return {
        name: pd.read_csv(output / f"{name}.tsv", sep="\t", na_values=["n/a"], keep_default_na=False) for name in names
    }


def test_scores_of_each_person_are_those_of_scipy(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    found = analysed(run_of(make_run, people), tmp_path / "out")
    assert len(found["scores"]) == 6
    assert found["left-out"].empty
    for one, row in zip(people, found["scores"].to_dict("records"), strict=True):
        strength = np.abs(one["map"].astype(np.float32).astype(float)).ravel()
        inside = one["lesion"].ravel()
        assert row["scan_id"] == one["scan"]
        assert (row["voxels"], row["feature_voxels"], row["coverage"]) == (strength.size, 27, 1)
        assert row["pearson"] == pytest.approx(stats.pearsonr(strength, inside).statistic, abs=1e-9)
        assert row["spearman"] == pytest.approx(stats.spearmanr(strength, inside).statistic, abs=1e-9)
        assert row["auc"] == pytest.approx(roc_auc_score(inside, strength), abs=1e-9)
        assert row["share"] == pytest.approx(strength[inside > 0].sum() / strength.sum(), abs=1e-9)
        ratio = strength[inside > 0].mean() / strength[inside == 0].mean()
        assert row["density_ratio"] == pytest.approx(ratio, abs=1e-9)
    summary = found["summary"].set_index("measure")
    values = found["scores"]["pearson"]
    low, high = stats.t.interval(0.95, 5, loc=values.mean(), scale=stats.sem(values))
    row = summary.loc["pearson"]
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([values.mean(), low, high], abs=1e-9)
    # 6! = 720 arrangements: all are looked at, and only the true one gives everybody the own map.
    assert (row["arrangements"], row["exact"], row["people"]) == (720, True, 6)
    assert (summary["p"] <= 2 / 720).all()
    others = [
        np.mean([stats.pearsonr(np.abs(a["map"]).ravel(), b["lesion"].ravel()).statistic for b in people if b is not a])
        for a in people
    ]
    np.testing.assert_allclose(found["scores"]["pearson_others"], others, atol=1e-5)


def test_only_what_is_within_is_compared(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    half, own = np.zeros(SHAPE), np.zeros(SHAPE)
    half[:, :8], own[:8] = 1, 3
    path = save_map("half.nii.gz", half[::-1], RAS @ MIRROR)
    for number, one in enumerate(people):
        one["map_nuclei"] = str(save_map(f"own/{number}.nii.gz", own))
    found = analysed(
        run_of(make_run, people), tmp_path / "out", within=str(path), within_map="nuclei", within_labels=[3],
        part="positive",
    )  # fmt: skip
    inside = (half > 0) & (own > 0)
    for one, row in zip(people, found["scores"].to_dict("records"), strict=True):
        strength = np.maximum(one["map"].astype(np.float32).astype(float), 0)[inside]
        assert row["voxels"] == inside.sum()
        assert row["pearson"] == pytest.approx(stats.pearsonr(strength, one["lesion"][inside]).statistic, abs=1e-9)


def test_maps_of_people_with_their_own_brain_masks_are_exchanged_where_all_have_brain(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    brains = []
    for number, one in enumerate(people):
        brain = np.ones(SHAPE, dtype=bool)
        brain[:, 12 - number] = False
        brains.append(brain)
        one["mask"] = str(save_map(f"brain/{number}.nii.gz", brain))
    found = analysed(run_of(make_run, people), tmp_path / "out", brain="person", part="positive", feature_map="lesions")
    strength = [np.maximum(one["map"].astype(np.float32).astype(float), 0) for one in people]
    inside = brains[2]
    own = roc_auc_score(people[2]["lesion"][inside], strength[2][inside])
    assert found["scores"]["voxels"].tolist() == [11 * 12 * 9] * 6
    assert found["scores"]["auc"].iloc[2] == pytest.approx(own, abs=1e-9)
    shared = np.all(brains, axis=0)
    others = [roc_auc_score(one["lesion"][shared], strength[2][shared]) for one in people if one is not people[2]]
    assert found["scores"]["auc_others"].iloc[2] == pytest.approx(np.mean(others), abs=1e-5)


def test_a_lesion_that_no_other_brain_holds_cannot_be_exchanged(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        one["map_own"] = str(save_map(f"own/{number}.nii.gz", one["lesion"] + (np.indices(SHAPE)[1] > 10)))
    with pytest.raises(InputError, match=r"the map lesions is constant in 6 scans: .* permutations: 0"):
        analysed(run_of(make_run, people), tmp_path / "out", within_map="own")


def test_the_brain_is_the_template_s_by_default(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    from nilearn.datasets import load_mni152_brain_mask
    from nilearn.image import resample_img

    brain = resample_img(load_mni152_brain_mask(resolution=1), RAS, SHAPE, interpolation="nearest")
    found = analysed(run_of(make_run, people[:2]), tmp_path / "out", brain="auto")
    assert found["scores"]["voxels"].iloc[0] == pytest.approx(brain.get_fdata().sum(), rel=0.02)


def test_a_finer_lesion_map_is_a_probability_cut_at_a_half(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        fine = one["lesion"].repeat(2, 0).repeat(2, 1).repeat(2, 2)
        fine[0, 0, 0] = 1  # an eighth of a voxel
        affine = RAS @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
        one["map_fine"] = str(save_map(f"fine/{number}.nii.gz", 255 * fine[:, ::-1], affine @ _flip(fine.shape[1])))
    run = run_of(make_run, people)
    found, expected = analysed(run, tmp_path / "a", feature_map="fine"), analysed(run, tmp_path / "b")
    pd.testing.assert_frame_equal(found["scores"], expected["scores"])


def _flip(size: int) -> np.ndarray:
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, size - 1
    return flip


def test_labels_of_a_segmentation_are_a_mask(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        segmented = np.where(one["lesion"] > 0, 17, 2)
        one["map_aseg"] = str(save_map(f"aseg/{number}.nii.gz", segmented))
    run = run_of(make_run, people)
    found = analysed(run, tmp_path / "a", feature_map="aseg", labels=[17, 53])
    pd.testing.assert_frame_equal(found["scores"], analysed(run, tmp_path / "b")["scores"])


def test_a_continuous_map_has_no_shares(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        smooth = one["lesion"] if number == 0 else ndimage.gaussian_filter(one["lesion"], 1)
        one["map_gm"] = str(save_map(f"gm/{number}.nii.gz", smooth))
    found = analysed(run_of(make_run, people), tmp_path / "out", feature_map="gm")
    assert found["summary"]["measure"].tolist() == ["pearson", "spearman", "cosine", "dice"]
    assert "share" not in found["scores"]
    # One person's map happens to be of zeros and ones: Dice is of the top percent of both for everybody.
    strength, inside = np.abs(people[0]["map"].astype(np.float32).astype(float)).ravel(), people[0]["lesion"].ravel()
    general = named(binary=False)["dice"]
    assert found["scores"]["dice"].iloc[0] == pytest.approx(score(general, strength, inside, 5))


def test_who_cannot_be_compared_is_named_with_the_reason(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[0]["map_lesions"] = None
    people[1]["map_lesions"] = str(save_map("empty.nii.gz", np.zeros(SHAPE)))
    broken = people[2]["lesion"].copy()
    broken[0, 0, :4] = np.nan
    people[2]["map_lesions"] = str(save_map("nan.nii.gz", broken))
    people[3]["map_lesions"] = str(save_map("half.nii.gz", people[3]["lesion"][:6]))
    people[4]["map"] = np.zeros(SHAPE)
    found = analysed(run_of(make_run, people), tmp_path / "out")
    reasons = dict(zip(found["left-out"]["scan_id"], found["left-out"]["reason"], strict=True))
    assert reasons == {
        "sub-0": "has no map 'lesions'",
        "sub-1": "the map lesions is zero in all 1287 voxels compared",
        "sub-2": "the map has NaN or infinite values at 4 of the 1287 voxels compared",
        "sub-3": "the map's field of view holds 55% of the voxels compared (95% needed)",
        "sub-4": "the relevance is zero in all 1287 voxels compared",
    }
    assert found["scores"]["scan_id"].tolist() == ["sub-5"]
    assert found["summary"]["p"].isna().all()  # one person has no others
    assert found["summary"]["people"].tolist() == [1] * len(found["summary"])


def test_who_belongs_to_no_block_is_left_out(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        one["site"] = ["a", "a", "a", "b", None, "c"][number]
    later = {**people[5], "scan": "sub-5_ses-2", "subject": "sub-5", "site": "a"}
    people[5]["subject"] = "sub-5"
    found = analysed(run_of(make_run, [*people, later]), tmp_path / "out", blocks="site")
    assert dict(zip(found["left-out"]["scan_id"], found["left-out"]["reason"], strict=True)) == {
        "sub-4": "has no site", "sub-5": "site differs between visits", "sub-5_ses-2": "site differs between visits",
    }  # fmt: skip
    row = found["summary"].set_index("measure").loc["auc"]
    assert row[["people", "exchangeable", "arrangements"]].tolist() == [4, 3, 6]
    assert found["scores"]["auc_others"].isna().tolist() == [False, False, False, True]
    shared = [roc_auc_score(people[1]["lesion"].ravel(), np.abs(people[0]["map"]).ravel()),
              roc_auc_score(people[2]["lesion"].ravel(), np.abs(people[0]["map"]).ravel())]  # fmt: skip
    assert found["scores"]["auc_others"].iloc[0] == pytest.approx(np.mean(shared), abs=1e-5)


def test_nobody_left_is_an_error(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for one in people:
        one["map"] = np.zeros(SHAPE)
    with pytest.raises(InputError, match="nobody can be compared: 6 x the relevance is zero"):
        analysed(run_of(make_run, people), tmp_path / "out")


def test_grids_of_their_own_need_no_permutation_or_a_common_grid(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people):
        affine = RAS.copy()
        affine[0, 3] += number
        one["affine"], one["map_lesions"] = affine, str(save_map(f"moved/{number}.nii.gz", one["lesion"], affine))
    run = run_of(make_run, people)
    with pytest.raises(InputError, match=r"different grids, but the permutation test .* resample: true"):
        analysed(run, tmp_path / "a")
    found = analysed(run, tmp_path / "b", permutations=0)
    inside = people[3]["lesion"].ravel()
    strength = np.abs(people[3]["map"]).ravel()
    assert found["scores"]["auc"].iloc[3] == pytest.approx(roc_auc_score(inside, strength), abs=1e-6)
    assert found["summary"]["p"].isna().all()
    common = analysed(run, tmp_path / "c", resample=True, spacing=4, brain="mni")
    assert common["summary"]["people"].iloc[0] == 6
    # Of the brain only what a relevance map holds is compared: the largest map has 11 x 13 x 9 voxels of 4 mm.
    assert common["scores"]["voxels"].between(600, 1404).all()
    assert common["summary"].set_index("measure").loc["auc", "p"] <= 3 / 720


def test_a_map_of_several_volumes_and_missing_files_are_refused(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[0]["map_lesions"] = str(save_map("4d.nii.gz", np.ones((*SHAPE, 3))))
    with pytest.raises(InputError, match="has 3 volumes"):
        analysed(run_of(make_run, people), tmp_path / "out")
    run = RunResults(tmp_path / "run")
    for number in (1, 2):
        Path(people[number]["map_lesions"]).unlink()
    with pytest.raises(InputError, match=r"2 of 6 files that subjects.tsv names do not exist: .*1.nii.gz, .*2.nii.gz"):
        analysed(run, tmp_path / "out2")


def test_a_border_of_a_map_without_a_threshold_is_refused(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[0]["map_lesions"] = str(save_map("p.nii.gz", people[0]["lesion"] * 0.5 + 0.1))
    with pytest.raises(InputError, match=r"no clusters and no border\. Set threshold"):
        analysed(run_of(make_run, people), tmp_path / "out", prepare={"border_only": True})


def test_unknown_names_are_refused_before_training(people: list[dict[str, Any]]) -> None:
    table = pd.DataFrame([{k: v for k, v in one.items() if k not in ("map", "lesion")} for one in people])
    table = table.rename(columns={"scan": "scan_id"}).assign(subject_id=range(6))
    create("analysis", "map-similarity", feature_map="lesions").check_study(table, "classification", ("CN", "AD"))
    for params, message in (
        ({"feature_map": "lesion"}, "no map 'lesion'.*Did you mean 'lesions'"),
        ({"feature_map": "lesions", "blocks": "sex"}, "blocks: the study has no column 'sex'"),
        ({"feature_map": "lesions", "brain": "person"}, "no brain masks"),
        ({"feature_map": "lesions", "within_map": "nuclei"}, "within_map: the study has no map 'nuclei'"),
        ({"feature_map": "lesions", "within": "/nowhere.nii"}, "within: .*nowhere.nii does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            create("analysis", "map-similarity", **params).check_study(table, "classification", ("CN", "AD"))
    empty = table.assign(map_lesions=None)
    with pytest.raises(InputError, match="nobody has a map 'lesions'"):
        create("analysis", "map-similarity", feature_map="lesions").check_study(empty, "classification", ("CN", "AD"))


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="space is scan; regions needs an atlas"):
        create("analysis", "map-similarity", feature_map="x", space="scan", resample=True, regions=["Hippocampus"])
    with pytest.raises(ConfigError, match="clusters and borders need a threshold"):
        create("analysis", "map-similarity", feature_map="x", prepare_relevance={"dilation": 2})
    with pytest.raises(ConfigError, match="atlas needs regions"):
        create("analysis", "map-similarity", feature_map="x", atlas="aal")


def test_the_maps_decide_the_unit_s_key(
    make_run: Callable[..., RunResults], people: list[dict[str, Any]], save_map: Callable[..., Path]
) -> None:
    mask = str(save_map("nuclei.nii.gz", np.ones(SHAPE)))
    for one in people:
        one["map_nuclei"] = mask
    run = run_of(make_run, people)
    files = create("analysis", "map-similarity", feature_map="lesions", within_map="nuclei").inputs(run)
    assert set(map(str, files)) == {one["map_lesions"] for one in people} | {mask}


def test_regions_of_an_atlas_restrict(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    labels = np.zeros(SHAPE)
    labels[:5, :8], labels[6:, :8], labels[:, 9:] = 1, 2, 3
    image = save_map("atlas.nii.gz", labels)
    table = tmp_path / "names.tsv"
    table.write_text("index\tname\n1\tLeft-Putamen\n2\tRight-Putamen\n3\tOther\n")
    atlas = {"image": str(image), "table": str(table)}
    run = run_of(make_run, people)
    both = analysed(run, tmp_path / "a", atlas=atlas, regions=["Left-Putamen", "Right-Putamen"])
    assert both["scores"]["voxels"].iloc[0] == ((labels == 1) | (labels == 2)).sum()
    with pytest.raises(InputError, match="no region 'Putaman'"):
        analysed(run, tmp_path / "b", atlas=atlas, regions=["Putaman"])


def test_each_person_s_own_segmentation_restricts(
    make_run: Callable[..., RunResults], save_map: Callable[..., Path], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for number, one in enumerate(people[:5]):
        labels = np.zeros(SHAPE)
        labels[:8, :8, : 7 + number % 2] = 12  # Left-Putamen in FreeSurfer's colour table
        save_map(f"fs/{one['scan']}/aseg.nii.gz", labels)
    pattern = {"image": str(tmp_path / "fs" / "{subject_id}" / "aseg.nii.gz")}
    run = run_of(make_run, people)
    found = analysed(run, tmp_path / "out", atlas=pattern, regions=["Left-Putamen"], permutations=0)
    assert found["scores"]["voxels"].tolist() == [8 * 8 * (7 + number % 2) for number in range(5)]
    assert found["left-out"]["scan_id"].tolist() == ["sub-5"]
    assert found["left-out"]["reason"].iloc[0].startswith("its own atlas: ")
    made = create("analysis", "map-similarity", feature_map="lesions", atlas=pattern, regions=["Left-Putamen"])
    assert sum(path.name == "aseg.nii.gz" for path in made.inputs(run)) == 5


def test_a_scan_that_the_run_registered_is_compared_in_mni_space(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]], save_map: Callable[..., Path]
) -> None:
    moved = np.eye(4)
    moved[:3, 3] = (300, 10, -4)  # the scans' own space is far from the MNI brain
    away = np.linalg.inv(moved) @ RAS
    for number, one in enumerate(people):
        one["affine"], one["map_lesions"] = away, str(save_map(f"native/{number}.nii.gz", one["lesion"], away))
    half = np.zeros(SHAPE)
    half[:, :8] = 1
    within = str(save_map("half.nii.gz", half))  # in MNI space
    run = run_of(make_run, people)
    for path in (run.folder / "derivatives").rglob("*_relevance.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "to_mni": moved.tolist()}))
    found = analysed(run, tmp_path / "out", within=within)
    strength = np.abs(people[0]["map"].astype(np.float32).astype(float))[half > 0]
    expected = stats.pearsonr(strength, people[0]["lesion"][half > 0]).statistic
    assert found["scores"]["voxels"].iloc[0] == half.sum()
    assert found["scores"]["pearson"].iloc[0] == pytest.approx(expected, abs=1e-9)


def test_the_same_input_gives_the_same_bytes(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run = run_of(make_run, people)
    for name in ("a", "b"):
        analysed(run, tmp_path / name, permutations=50)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"scores.tsv", "lrp_auc.png", "lrp_auc.svg", "lrp_similarity.txt", "map-similarity.json"} <= set(files)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "n = 6 people" in (tmp_path / "a" / "lrp_auc.txt").read_text()
