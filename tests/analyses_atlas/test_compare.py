"""Numbers of a comparison against SciPy, plain formulas and cases worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from xai_analyses_atlas._compare import compare, cosine, pearson
from xai_analyses_atlas._grids import Grid, resampled_labels
from xai_analyses_atlas._regions import OUTSIDE, by_region, integer_labels, read_names
from xai_core import InputError


def test_a_case_worked_by_hand() -> None:
    found = compare(np.array([1.0, -2, 3, 0]), np.array([1.0, -1, 1, 0]))
    assert found.voxels == 4
    assert not found.identical
    assert found.l1_relative == 3 / 6
    assert found.largest_relative == 2 / 3
    assert (found.largest_difference, found.largest_a, found.largest_b) == (2, 3, 1)
    assert (found.sum_a, found.sum_b, found.sum_difference) == (2, 1, -1)
    assert found.cosine == pytest.approx(6 / np.sqrt(14 * 3))
    # About the means 0.5 and 0.25: products 0.375 + 3.125 + 1.875 + 0.125, squares 13 and 2.75.
    assert found.pearson == pytest.approx(5.5 / np.sqrt(13 * 2.75))
    assert found.spearman is None


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(7, 5, 6))
    b = np.round(a + rng.normal(size=a.shape), 1) + 5  # with ties
    found = compare(a, b, spearman=True)
    assert found.pearson == pytest.approx(stats.pearsonr(a.ravel(), b.ravel()).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)
    assert found.cosine == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_sizes_whose_squares_leave_float64_are_no_matter(scale: float) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=50), rng.normal(size=50)
    assert pearson(a * scale, b * scale) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert cosine(a * scale, b) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_is_not_defined_is_none_and_above_every_tolerance() -> None:
    zero, ones = np.zeros(5), np.ones(5)
    found = compare(zero, ones)
    assert (found.pearson, found.cosine, found.l1_relative, found.largest_relative) == (None, None, None, None)
    assert found.exceeds(1e9)
    # A constant that is no sum of powers of two: the mean is off by rounding, and noise would correlate.
    assert pearson(np.full(7, 0.1), np.arange(7.0)) is None
    same = compare(zero, zero)
    assert same.identical
    assert same.largest_relative == 0
    assert not same.exceeds(0)


def test_the_tolerance_itself_is_within() -> None:
    found = compare(np.array([4.0, 0]), np.array([4.0, 1]))
    assert not found.exceeds(0.25)
    assert found.exceeds(0.2499)


def test_regions_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice([0, 3, 17, 1001], size=400)
    a, b = rng.normal(size=400), rng.normal(size=400)
    a[labels == 17] *= 1e-150
    b[labels == 1001] = 0.1
    table = by_region(a, b, labels, {3: "three", 17: "seventeen"})
    assert table["difference"].abs().is_monotonic_decreasing
    assert table["voxels"].sum() == 400
    assert table["sum_a"].sum() == pytest.approx(a.sum())
    assert dict(zip(table["index"], table["name"], strict=True)) == {
        0: OUTSIDE, 3: "three", 17: "seventeen", 1001: "label 1001",
    }  # fmt: skip
    for row in table.itertuples():
        inside = labels == row.index
        assert row.voxels == inside.sum()
        assert row.sum_a == pytest.approx(a[inside].sum(), rel=1e-9)
        assert row.difference == pytest.approx(b[inside].sum() - a[inside].sum())
        if row.index == 1001:
            assert np.isnan(row.correlation), "B is constant there"
        else:
            scale = 1e150 if row.index == 17 else 1
            assert row.correlation == pytest.approx(np.corrcoef(a[inside] * scale, b[inside])[0, 1])


@pytest.mark.parametrize(
    "text",
    [
        "index\tname\n17\tLeft-Hippocampus\n53\tRight-Hippocampus\n",
        "name,volume,Index\nLeft-Hippocampus,3,17\nRight-Hippocampus,4,53\n",
        'Index;Name\n17;"Left-Hippocampus"\n53;Right-Hippocampus\n',
        "#$Id: LUT\n#No. Label Name:   R G B A\n\n17  Left-Hippocampus  2 6 20 0\n53 Right-Hippocampus 2 6 20 0\n",
    ],
)
def test_names_are_read_from_tables_and_colour_tables(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text, encoding="utf-8-sig")
    assert read_names(path) == {17: "Left-Hippocampus", 53: "Right-Hippocampus"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no labels"),
        ("label\tregion\n1\ta\n", r"no columns index and name.*label, region"),
        ("index\tname\n1\ta\nx\tb\n", "line 3: no label number"),
        ("index\tname\n1\ta\n1\tb\n", "line 3: the label 1 is called 'a' and 'b'"),
        ("index\tname\n1\n", "line 2: no label number and name"),
    ],
)
def test_other_tables_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_names(path)


def test_probabilities_are_no_labels() -> None:
    with pytest.raises(InputError, match=r"2 voxels that are no whole numbers \(such as 0.3\)"):
        integer_labels(np.array([[[0, 0.3, 1, np.nan]]]), "atlas")


def test_labels_go_to_the_nearest_voxel_and_lose_no_edge() -> None:
    coarse = Grid((3, 3, 3), np.diag([2.0, 2, 2, 1]))
    affine = np.eye(4)
    affine[:3, 3] = -0.5 - 1e-12  # centres of the eighths of a voxel
    labels = np.arange(1, 28).reshape(3, 3, 3).astype(float)
    fine = resampled_labels(labels, coarse, Grid((6, 6, 6), affine))
    np.testing.assert_array_equal(fine, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    affine[0, 3] = -10.5
    np.testing.assert_array_equal(resampled_labels(labels, coarse, Grid((4, 6, 6), affine)), 0)
