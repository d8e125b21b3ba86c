"""What ``xai segment`` does to a scan, against hand-worked cases, nibabel and what Keras predicted."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
from scipy import ndimage

from xai_analyses_atlas._grids import Grid
from xai_analyses_atlas._segmenting import Recipe, Scan
from xai_analyses_atlas._segmenting.clusters import by_region, find_clusters
from xai_analyses_atlas._segmenting.networks import NetworkError, Networks, model_files
from xai_analyses_atlas._segmenting.preparing import normalised, on_scan, prepare
from xai_core import InputError

UNETS = Path(__file__).parents[1] / "models_keras" / "data" / "unet.tar.xz"
SIDES = (12, 14, 10)


@pytest.fixture(scope="module")
def unets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unets")
    with tarfile.open(UNETS) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, data: Any, affine: Any = None, like: str | None = None) -> Path:
        image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), np.eye(4) if affine is None else affine)
        if like is not None:
            codes = nib.orientations.axcodes2ornt(like)
            image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), codes))
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


def scan_of(*images: Path, mask: Path | str) -> Scan:
    return Scan("01", None, "sub-01", images, mask)


def anatomy(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return (noise - noise.min()) / np.ptp(noise) * 900 + 20


def test_the_mean_of_keras_predictions_comes_back_on_the_scan(unets: Path, save: Callable[..., Path]) -> None:
    """The brain's box is the network's input, so that the map must be the mean of what Keras recorded, in its place."""
    with np.load(unets / "arrays.npz") as arrays:
        x = arrays["fold0_input"][0, ..., 0]
        wanted = (arrays["fold0_output"][0, ..., 0] + arrays["fold1_output"][0, ..., 0].astype(np.float64)) / 2
    values, brain = np.zeros((20, 21, 15)), np.zeros((20, 21, 15))
    place = (slice(5, 17), slice(3, 17), slice(4, 14))
    values[place], brain[place] = x, 1
    networks = Networks(model_files([str(unets / "fold*.h5")]), 1, SIDES)
    for code in ("RAS", "LPI", "ASR"):
        image, mask = save("t1.nii.gz", values, like=code), save("mask.nii.gz", brain, like=code)
        prepared = prepare(scan_of(image, mask=mask), Recipe(SIDES, normalisation="none"))
        np.testing.assert_array_equal(prepared.volume[0], x)
        found = on_scan(networks.probabilities(prepared.volume), prepared)
        assert found.shape == nib.load(image).shape
        back = nib.as_closest_canonical(nib.Nifti1Image(found, nib.load(image).affine)).get_fdata()
        np.testing.assert_allclose(back[place], wanted, rtol=0, atol=1e-5)
        assert back[brain == 0].max() == 0


def test_two_channels_are_one_input(unets: Path, save: Callable[..., Path]) -> None:
    with np.load(unets / "arrays.npz") as arrays:
        x, wanted = arrays["two_input"][0], arrays["two_output"][0, ..., 0]
    t1, flair = save("t1.nii.gz", x[..., 0]), save("flair.nii.gz", np.pad(x[..., 1], 3), shifted(-3))
    mask = save("mask.nii.gz", np.ones(SIDES))
    prepared = prepare(scan_of(t1, flair, mask=mask), Recipe(SIDES, normalisation="none"))
    found = on_scan(Networks([unets / "two.h5"], 2, SIDES).probabilities(prepared.volume), prepared)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_channel_that_lies_elsewhere_is_refused(save: Callable[..., Path]) -> None:
    t1, flair = save("t1.nii.gz", anatomy(SIDES)), save("flair.nii.gz", anatomy(SIDES), shifted(6))
    mask = save("mask.nii.gz", np.ones(SIDES))
    with pytest.raises(InputError, match=r"flair.nii.gz does not show 89% of the brain. Is it registered"):
        prepare(scan_of(t1, flair, mask=mask), Recipe(SIDES, normalisation="none"))


def test_headers_of_all_kinds_are_kept(unets: Path, tmp_path: Path) -> None:
    from xai_analyses_atlas._segmenting import Task, segment

    networks, values = Networks([unets / "fold0.h5"], 1, SIDES), np.zeros((16, 18, 14), np.float32)
    values[2:14, 2:16, 2:12] = anatomy(SIDES)
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.05), [-70.5, 12, 33])
    scans = []
    for name, codes in (("qform", (0, 1)), ("sform", (3, 0)), ("both", (4, 1)), ("none", (0, 0)), ("mgz", None)):
        image = nib.Nifti1Image(values, turned)
        if codes is None:
            image = nib.MGHImage(values, turned)
        else:
            image.set_sform(turned if codes[0] else None, codes[0])
            image.set_qform(turned if codes[1] else None, codes[1])
        path = tmp_path / f"{name}.{'mgz' if codes is None else 'nii'}"
        nib.save(image, path)
        scans.append(Scan(name, None, f"sub-{name}", (path,), "nonzero"))
    found = segment(scans, [], networks, Task(recipe=Recipe(SIDES)), tmp_path / "out")
    assert not found.failures
    for scan, row in zip(scans, found.rows, strict=True):
        made, source = nib.load(tmp_path / "out" / row["probabilities"]), nib.load(scan.images[0])
        assert made.shape == source.shape
        np.testing.assert_allclose(made.affine, source.affine, rtol=0, atol=1e-4)


def shifted(by: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = by
    return affine


def test_a_box_beyond_the_scan_is_filled_with_0_and_the_centre_is_shivas(save: Callable[..., Path]) -> None:
    values = anatomy((9, 11, 8))
    brain = np.zeros(values.shape)
    brain[1:7, 2:9, 1:5] = 1
    brain[6, 8, 4] = 0
    prepared = prepare(
        scan_of(save("t1.nii.gz", values), mask=save("m.nii.gz", brain)), Recipe((14, 9, 9), normalisation="none")
    )
    centre = np.ceil([values_of.mean() for values_of in np.nonzero(brain)]).astype(int)
    start = centre - np.array((14, 9, 9)) // 2
    by_hand = np.zeros((14, 9, 9), np.float32)
    for index in np.ndindex(14, 9, 9):
        at = start + index
        if (at >= 0).all() and (at < values.shape).all():
            by_hand[index] = values[tuple(at)]
    np.testing.assert_array_equal(prepared.volume[0], by_hand)
    np.testing.assert_array_equal(prepared.box.affine[:3, 3], start)


def test_other_voxel_sizes_are_interpolated_as_by_nibabel_and_come_back(save: Callable[..., Path]) -> None:
    shape, spacing = (34, 30, 26), 0.8
    values = ndimage.gaussian_filter(anatomy(shape), 1.5)
    affine = nib.affines.from_matvec(np.diag([spacing] * 3), [-12.3, 7.1, 4.4])
    brain = np.zeros(shape)
    brain[6:-6, 6:-6, 6:-6] = 1
    image = save("t1.nii.gz", values, affine)
    recipe = Recipe((24, 22, 18), normalisation="min-max")
    prepared = prepare(scan_of(image, mask=save("m.nii.gz", brain, affine)), recipe)
    raw = prepare(scan_of(image, mask=image.with_name("m.nii.gz")), Recipe((24, 22, 18), normalisation="none")).volume[
        0
    ]
    box = (prepared.box.shape, prepared.box.affine)
    wanted = nibabel.processing.resample_from_to(nib.load(image), box, order=3).get_fdata()
    inner = (slice(5, -5),) * 3
    np.testing.assert_allclose(raw[inner], wanted[inner], rtol=1e-4)
    assert prepared.box.spacing == pytest.approx((1, 1, 1))
    inside = nibabel.processing.resample_from_to(nib.Nifti1Image(brain, affine), box, order=0).get_fdata() > 0
    low, high = raw[inside].min(), raw[inside].max()
    np.testing.assert_allclose(prepared.volume[0], (np.clip(raw, low, high) - low) / (high - low), rtol=0, atol=1e-6)
    back = on_scan(prepared.volume[0], prepared)
    normalised_box = nib.Nifti1Image(prepared.volume[0].astype(np.float64), prepared.box.affine)
    wanted = nibabel.processing.resample_from_to(normalised_box, nib.load(image), order=1).get_fdata()
    np.testing.assert_allclose(back[9:-9, 9:-9, 9:-9], wanted[9:-9, 9:-9, 9:-9], rtol=0, atol=1e-5)
    assert back[brain == 0].max() == 0


def test_normalisations_by_hand() -> None:
    values = np.array([-5.0, 0, 10, 20, 30, 400, 1000]).reshape(7, 1, 1)
    brain = np.array([1, 1, 1, 1, 1, 1, 0], bool).reshape(7, 1, 1)
    top = np.percentile([0, 0, 10, 20, 30, 400], 99)
    size = (7, 1, 1)
    found = normalised(values, brain, Recipe(size)).ravel()
    np.testing.assert_allclose(found, [0, 0, 10 / top, 20 / top, 30 / top, 1, 1])
    found = normalised(values, brain, Recipe(size, ceiling=1.3)).ravel()
    np.testing.assert_allclose(found, [*(np.array([0, 0, 10, 20, 30, 400]) / top / 1.3), 1])
    found = normalised(values, brain, Recipe(size, normalisation="min-max")).ravel()
    np.testing.assert_allclose(found, [0, 5 / 405, 15 / 405, 25 / 405, 35 / 405, 1, 1])
    found = normalised(values, brain, Recipe(size, normalisation="z-score", masked=True)).ravel()
    inner = values.ravel()[:6]
    np.testing.assert_allclose(found, [*((inner - inner.mean()) / inner.std()), 0])
    for recipe in (Recipe(size), Recipe(size, normalisation="min-max"), Recipe(size, normalisation="z-score")):
        with pytest.raises(InputError, match="of the brain"):
            normalised(np.zeros((7, 1, 1)), brain, recipe)


def test_clusters_touch_by_corners_and_are_counted_in_mm3() -> None:
    p = np.zeros((6, 6, 6), np.float32)
    p[0, 0, 0] = p[1, 1, 1] = 0.9  # one cluster, by a corner
    p[4, 4, 4] = 0.51
    p[3, 0, 0] = 0.5  # not above the threshold
    p[5, 0, 5] = p[5, 1, 5] = p[5, 2, 5] = 1
    found = find_clusters(p, Grid((6, 6, 6), np.diag([2.0, 1, 0.5, 1])), 0.5, 0)
    assert found.row() == {"clusters": 3, "volume": 6.0, "largest": 3.0, "removed": 0}
    found = find_clusters(p, Grid((6, 6, 6), np.diag([2.0, 1, 0.5, 1])), 0.5, 2)
    assert found.row() == {"clusters": 2, "volume": 5.0, "largest": 3.0, "removed": 1}
    assert sorted(np.unique(found.labels)) == [0, 1, 2]
    assert not found.mask[4, 4, 4]


def test_a_cluster_is_counted_once_and_its_volume_by_voxel(tmp_path: Path) -> None:
    from xai_analyses_atlas._atlases import load_atlas

    labels = np.zeros((8, 8, 8), np.int16)
    labels[:3], labels[3:6] = 7, 9
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "atlas.nii.gz")
    (tmp_path / "atlas.tsv").write_text("index\tname\n7\tseven\n9\tnine\n")
    placed = load_atlas(tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv", space="scan").on(Grid((8, 8, 8), np.eye(4)))
    p = np.zeros((8, 8, 8), np.float32)
    p[1:6, 2, 2] = 1  # two voxels in seven, three in nine
    p[5:7, 6, 6] = 1  # one in nine, one in none: the region goes before none
    p[7, 0, 0] = 1
    rows = by_region(find_clusters(p, placed.grid, 0.5, 0), placed)
    assert [(r["region"], r["clusters"], r["volume"]) for r in rows] == [
        ("seven", 0, 2.0), ("nine", 2, 4.0), ("(outside of the atlas)", 1, 2.0),
    ]  # fmt: skip
    assert [r["region_volume"] for r in rows] == [192, 192, None]
    empty = by_region(find_clusters(p * 0, placed.grid, 0.5, 0), placed)
    assert [(r["clusters"], r["volume"]) for r in empty] == [(0, 0), (0, 0), (0, 0)]


def test_sizes_that_a_unet_cannot_halve_are_one_message(unets: Path) -> None:
    with pytest.raises(NetworkError, match=r"divide by 8, which 9 x 16 x 12 do not: give --size 16x16x16;"):
        Networks([unets / "open.h5"], 1, (9, 16, 12))
    with pytest.raises(NetworkError, match=r"made for volumes of the shape \(1, 12, 14, 10\).*Give --size"):
        Networks([unets / "fold0.h5"], 1, (16, 16, 16))
    with pytest.raises(NetworkError, match=r"\(1, 12, 14, 10\).*--image \(channels\)"):
        Networks([unets / "fold0.h5"], 2, SIDES)


def test_networks_that_cannot_be_averaged_are_refused(unets: Path, tmp_path: Path) -> None:
    x = np.zeros((1, 8, 8, 8), np.float32)
    with pytest.raises(NetworkError, match=r"gives 2 channels\. Choose one: --output-channel 0 to 1"):
        Networks([unets / "open.h5"], 1, (8, 8, 8)).probabilities(x)
    with pytest.raises(NetworkError, match="gives 2 channels, so there is no --output-channel 2"):
        Networks([unets / "open.h5"], 1, (8, 8, 8), channel=2).probabilities(x)
    both = [Networks([unets / "open.h5"], 1, (8, 8, 8), channel=c).probabilities(x) for c in (0, 1)]
    np.testing.assert_allclose(both[0] + both[1], 1, rtol=0, atol=1e-6)
    (tmp_path / "copy.h5").write_bytes((unets / "fold0.h5").read_bytes())
    with pytest.raises(NetworkError, match="are the same file"):
        Networks([unets / "fold0.h5", tmp_path / "copy.h5"], 1, SIDES)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(NetworkError, match="SavedModel holds a compiled graph"):
        model_files([str(tmp_path / "saved")])
    with pytest.raises(NetworkError, match=r"none\*\.h5: there is no such file"):
        model_files([str(tmp_path / "none*.h5")])


def test_what_is_no_probability_is_refused(unets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks([unets / "fold0.h5"], 1, SIDES)
    x = np.zeros((1, *SIDES), np.float32)
    for give, message in (
        (lambda v: v * 5 - 1, "from -1 to 4|are no probabilities"),
        (lambda v: v[:, :, 1:], r"gives the shape \(1, 11, 14, 10\)"),
        (lambda v: v * float("nan"), "not finite"),
    ):
        monkeypatch.setattr(networks, "networks", [give])
        with pytest.raises(NetworkError, match=message):
            networks.probabilities(x)


def test_scans_whose_brain_is_unknown_are_refused(save: Callable[..., Path], tmp_path: Path) -> None:
    image = save("t1.nii.gz", anatomy((10, 10, 10)))
    recipe = Recipe((8, 8, 8))
    for mask, message in (
        ("nonzero", "100% of the voxels of .* are not 0: it was not brain-extracted"),
        (save("empty.nii.gz", np.zeros((10, 10, 10))), "empty.nii.gz is empty"),
        (save("far.nii.gz", np.ones((5, 5, 5)), shifted(99)), "far.nii.gz lies elsewhere"),
        (tmp_path / "none.nii.gz", "does not exist"),
        (save("whole.nii.gz", np.ones((10, 10, 10))), "49% of the brain lies outside of the box of 8 x 8 x 8"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(scan_of(image, mask=mask), recipe)
    half = anatomy((10, 10, 10))
    half[:5] = 0
    assert prepare(scan_of(save("half.nii.gz", half), mask="nonzero"), Recipe((12, 12, 12))).brain.sum() == 500
    wrong = np.where(half > 500, np.nan, half)
    with pytest.raises(InputError, match="voxels that are NaN"):
        prepare(scan_of(save("nan.nii.gz", wrong), mask=save("m.nii.gz", half > 0)), recipe)
    with pytest.raises(InputError, match="one volume is needed"):
        prepare(scan_of(save("4d.nii.gz", np.ones((10, 10, 10, 3))), mask="nonzero"), recipe)
