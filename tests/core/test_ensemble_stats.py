"""Maps and votes of an ensemble against plain NumPy and SciPy on the whole stack."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_core import InputError
from xai_core.engine.ensemblestats import aggregate
from xai_core.engine.ensemblevote import agreement_table, vote


def stack(members: int = 5, shape: tuple[int, ...] = (6, 7, 8), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    maps = (rng.standard_normal((members, *shape)) + rng.standard_normal(shape)).astype(np.float32)
    maps[:, 0] = 0  # background, in every member
    maps[0, 1] = 0
    return maps


@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7, 8, 2)])
@pytest.mark.parametrize("slab_values", [10, 32_000_000])
def test_statistics_are_those_of_the_stack(shape: tuple[int, ...], slab_values: int) -> None:
    maps = stack(shape=shape)
    found = aggregate(list(maps), slab_values=slab_values)
    np.testing.assert_allclose(found.mean, maps.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.sd, maps.std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(found.median, np.median(maps, axis=0), atol=1e-7)
    signs = np.stack([(maps > 0).sum(0), (maps < 0).sum(0)])
    np.testing.assert_allclose(found.agreement, signs.max(0) / 5, atol=1e-7)
    inside = (maps != 0).any(0)
    assert found.mean_agreement == pytest.approx((signs.max(0) / 5)[inside].mean())
    pairs = [(maps[a][inside].astype(float), maps[b][inside].astype(float)) for a, b in combinations(range(5), 2)]
    assert found.pearson == pytest.approx(np.mean([stats.pearsonr(a, b)[0] for a, b in pairs]), abs=1e-9)
    assert found.spearman == pytest.approx(np.mean([stats.spearmanr(a, b)[0] for a, b in pairs]), abs=1e-9)
    np.testing.assert_allclose(found.sums, maps.reshape(5, -1).sum(1), rtol=1e-4)
    assert all(values.dtype == np.float32 for values in (found.mean, found.median, found.sd, found.agreement))


def test_whole_weights_are_repeated_members_in_the_mean() -> None:
    maps = stack(3)
    weighted = aggregate(list(maps), weights=[2, 1, 1])
    repeated = np.stack([maps[0], maps[0], maps[1], maps[2]])
    np.testing.assert_allclose(weighted.mean, repeated.mean(0), atol=1e-6)
    w = np.array([2.0, 1, 1])
    expected = np.sqrt(np.cov(maps.reshape(3, -1)[:, 100], aweights=w))  # reliability weights
    assert weighted.sd.ravel()[100] == pytest.approx(expected, rel=1e-5)
    equal = aggregate(list(maps), weights=[3, 3, 3])
    np.testing.assert_allclose(equal.sd, maps.std(0, ddof=1), atol=1e-6)


@pytest.mark.parametrize("normalise", ["sum", "max"])
def test_the_scale_of_a_member_is_taken_out(normalise: str) -> None:
    maps = stack(3).astype(np.float64)
    sizes = {"sum": np.abs(maps).sum((1, 2, 3)), "max": np.abs(maps).max((1, 2, 3))}[normalise]
    expected = (maps / sizes[:, None, None, None]).mean(0)
    scaled = maps * np.array([1, 1000, 0.01])[:, None, None, None]
    for given in (maps, scaled):
        found = aggregate(list(given), normalise=normalise)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.mean, expected, atol=1e-7)
        np.testing.assert_allclose(found.median, np.median(maps / sizes[:, None, None, None], axis=0), atol=1e-7)
    assert np.abs(aggregate(list(scaled)).mean - expected).max() > 1


def test_edges() -> None:
    zeros = np.zeros((2, 3, 3, 3), np.float32)
    found = aggregate(list(zeros), normalise="sum")
    assert (found.mean_agreement, found.pearson, found.spearman) == (None, None, None)
    assert not found.mean.any()
    assert not found.agreement.any()
    one = stack(1)[0]
    silent = aggregate([one, np.zeros_like(one)], normalise="max")
    assert silent.pearson is None
    with pytest.raises(InputError, match="1 maps is nothing"):
        aggregate([one])
    with pytest.raises(InputError, match="shapes"):
        aggregate([one, one[:-1]])
    broken = one.copy()
    broken[2, 2, 2] = np.nan
    with pytest.raises(InputError, match="member 2 holds NaN"):
        aggregate([one, broken])


def test_equal_maps_agree_fully_and_a_large_offset_keeps_the_spread() -> None:
    one = stack(1)[0]
    same = aggregate([one] * 4)
    assert same.pearson == pytest.approx(1)
    assert same.spearman == pytest.approx(1)
    assert not same.sd.any()
    # The naive sum of squares loses such a spread altogether.
    far = [np.full((2, 2, 2), 1e8) + step for step in (0, 1, 2)]
    np.testing.assert_allclose(aggregate(far).sd, 1, rtol=1e-6)


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.nii")
        nib.save(nib.Nifti1Image(rng.standard_normal((60, 60, 40)).astype(np.float32), np.eye(4)), paths[-1])

    def peak(count: int) -> int:
        tracemalloc.start()
        aggregate([nib.load(path).dataobj for path in paths[:count]], slab_values=100_000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12) < 1.1 * peak(3)


def rows(values: np.ndarray) -> pd.DataFrame:
    """Predictions [members, scans, classes]."""
    members, scans, _ = values.shape
    return pd.DataFrame([
        {"member": f"m{m}", "fold": s % 2, "scan_id": f"sub-{s}", "subject_id": f"sub-{s}", "target": "a",
         "prediction": "abc"[int(values[m, s].argmax())],
         **{f"probability_{'abc'[c]}": values[m, s, c] for c in range(3)}, "gap": float(m) if s else np.nan}
        for m in range(members) for s in range(scans)
    ])  # fmt: skip


def test_votes_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).dirichlet([1, 1, 1], (4, 6))
    names = [f"probability_{name}" for name in "abc"]
    mean = vote(rows(values), ["a", "b", "c"], by=["fold", "scan_id"])
    assert list(mean["scan_id"]) == [f"sub-{s}" for s in range(6)]
    np.testing.assert_allclose(mean[names], values.mean(0))
    assert list(mean["prediction"]) == ["abc"[i] for i in values.mean(0).argmax(1)]
    assert "member" not in mean
    assert np.isnan(mean["gap"][0])
    assert mean["gap"][1] == 1.5
    weighted = vote(rows(values), ["a", "b", "c"], by=["fold", "scan_id"], weights=[5, 1, 1, 1])
    np.testing.assert_allclose(weighted[names], np.average(values, axis=0, weights=[5, 1, 1, 1]))
    median = np.median(values, axis=0)
    found = vote(rows(values), ["a", "b", "c"], how="median")
    np.testing.assert_allclose(found[names], median / median.sum(1, keepdims=True))
    about = agreement_table(rows(values), mean, ["a", "b", "c"], ["fold", "scan_id"])
    chosen = values.mean(0).argmax(1)
    np.testing.assert_allclose(about["agreement"], (values.argmax(2) == chosen).mean(0))
    np.testing.assert_allclose(about["sd"], [values[:, s, c].std(ddof=1) for s, c in enumerate(chosen)])


def test_full_contradiction_has_a_median_without_a_sum() -> None:
    found = vote(rows(np.eye(3)[:, None, :]), ["a", "b", "c"], how="median")
    np.testing.assert_allclose(found[[f"probability_{name}" for name in "abc"]], 1 / 3)


def test_values_vote_too() -> None:
    table = pd.DataFrame({"scan_id": ["x", "y"] * 3, "fold": 0, "target": 50.0, "prediction": [1, 2, 3, 4, 11, 12.0]})
    assert list(vote(table, None)["prediction"]) == [5, 6]
    assert list(vote(table, None, how="median")["prediction"]) == [3, 4]
