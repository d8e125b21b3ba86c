"""Transforms: a world-linear image tells whether values, affine and masks still belong together."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchio as tio
from nilearn.datasets import load_mni152_brain_mask
from nilearn.image import resample_to_img
from scipy.ndimage import binary_fill_holes
from scipy.spatial import KDTree

from xai_core import ConfigError, InputError, registry
from xai_datasets_mri._mni import BRAIN_BOX, brain_mask, mni_grid

Array = npt.NDArray[Any]

SLOPES = np.array([2.0, -3.0, 5.0])

# A grid of the kind scanners give: permuted and flipped axes, unequal spacing, a little oblique.
LIA = np.array([[-1.2, 0.03, 0.02, 95.0], [0.02, 0.05, 2.5, -130.0], [0.03, -1.0, 0.06, 110.0], [0, 0, 0, 1]])
LIA_SHAPE = (150, 190, 90)

GEOMETRY: dict[str, dict[str, Any]] = {
    "to-canonical": {},
    "to-orientation": {"orientation": "ILP"},
    "resample": {"target": [2, 3, 2.2]},
    "resize": {"target_shape": [80, 90, 70]},
    "crop-or-pad": {"target_shape": [120, 200, 100]},
    "crop": {"cropping": [3, 5, 0, 7, 2, 1]},
    "pad": {"padding": [1, 2, 3]},
    "mni-grid": {"spacing": 5, "margin": 3},
}
RANDOM = (
    "random-flip", "random-affine", "random-elastic-deformation", "random-noise", "random-bias-field", "random-blur",
    "random-gamma",
)  # fmt: skip


def build(name: str, **params: Any) -> tio.Transform:
    transform = registry.create("transform", name, **params).build()
    assert isinstance(transform, tio.Transform)
    return transform


def world(affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the world coordinates [D, H, W, 3] of the voxels' centres."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    result: Array = grid @ affine[:3, :3].T + affine[:3, 3]
    return result


def scan(values: Array, affine: Array, mask: Array | None = None) -> tio.Subject:
    content: dict[str, Any] = {"image": tio.ScalarImage(tensor=torch.from_numpy(values)[None], affine=affine)}
    if mask is not None:
        content["ground_truth"] = tio.LabelMap(tensor=torch.from_numpy(mask.astype(np.uint8))[None], affine=affine)
    return tio.Subject(**content)


def values(subject: tio.Subject, name: str = "image") -> Array:
    array: Array = subject[name].data[0].numpy()
    return array


@pytest.fixture(scope="module")
def linear() -> tio.Subject:
    """An image that is linear in world coordinates, with a mask of everything within 40 mm of (10, -20, 15)."""
    where = world(LIA, LIA_SHAPE)
    near = np.linalg.norm(where - (10, -20, 15), axis=-1) < 40
    return scan((where @ SLOPES + 1000).astype(np.float32), LIA, near)


class TestGeometry:
    @pytest.mark.parametrize("name", GEOMETRY)
    def test_values_and_mask_stay_where_they_are_in_the_world(self, linear: tio.Subject, name: str) -> None:
        moved = build(name, **GEOMETRY[name])(linear)
        image, mask = moved["image"], moved["ground_truth"]
        assert image.spatial_shape == mask.spatial_shape
        np.testing.assert_allclose(image.affine, mask.affine)
        where = world(image.affine, image.spatial_shape)
        index = (where - LIA[:3, 3]) @ np.linalg.inv(LIA[:3, :3]).T
        inside = ((index > 8) & (index < np.array(LIA_SHAPE) - 9)).all(axis=-1)  # away from smoothed borders
        assert inside.mean() > 0.3
        expected = where @ SLOPES + 1000
        np.testing.assert_allclose(values(moved)[inside], expected[inside], atol=0.05)
        distance = np.linalg.norm(where - (10, -20, 15), axis=-1)
        labels = values(moved, "ground_truth")
        assert set(np.unique(labels)) <= {0, 1}
        assert labels[inside & (distance < 38)].all()
        assert not labels[distance > 42].any()

    @pytest.mark.parametrize("name", ["crop-or-pad", "pad"])
    def test_added_voxels_are_zero(self, linear: tio.Subject, name: str) -> None:
        params = {"target_shape": 200} if name == "crop-or-pad" else {"padding": 4}
        corner = values(build(name, **params)(linear))[:2, :2, :2]
        assert (corner == 0).all()

    def test_integers_are_not_rounded(self) -> None:
        ramp = np.arange(20, dtype=np.int16)[:, None, None] * np.ones((1, 20, 20), dtype=np.int16)
        resampled = values(build("resample", target=0.5, antialias=False)(scan(ramp, np.eye(4))))
        assert np.any(np.abs(resampled - np.round(resampled)) > 0.2)

    def test_reference(self, linear: tio.Subject, tmp_path: Path) -> None:
        affine = np.diag([3.0, 2.0, 4.0, 1.0])
        affine[:3, 3] = (-60, -50, -40)
        nib.Nifti1Image(np.zeros((30, 40, 25), dtype=np.float32), affine).to_filename(tmp_path / "ref.nii.gz")
        moved = build("resample", reference=str(tmp_path / "ref.nii.gz"))(linear)
        assert moved["image"].spatial_shape == (30, 40, 25)
        np.testing.assert_array_equal(moved["image"].affine, affine)
        where = world(affine, (30, 40, 25))
        np.testing.assert_allclose(values(moved), where @ SLOPES + 1000, atol=0.05)

    def test_wrong_reference(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            build("resample", reference=str(tmp_path / "x.nii"))
        (tmp_path / "x.nii").write_text("no image")
        with pytest.raises(InputError, match="cannot be read"):
            build("resample", reference=str(tmp_path / "x.nii"))

    @pytest.mark.parametrize("shape", [(70, 90, 70), (13, 11, 100), (200, 200, 91)])
    def test_resize_gives_the_shape_and_keeps_the_field_of_view(
        self, linear: tio.Subject, shape: tuple[int, int, int]
    ) -> None:
        moved = build("resize", target_shape=shape)(linear)["image"]
        assert moved.spatial_shape == shape
        for corner in ((0, 0, 0), (1, 1, 1), (1, 0, 1)):
            before = nib.affines.apply_affine(LIA, np.array(corner) * LIA_SHAPE - 0.5)
            after = nib.affines.apply_affine(moved.affine, np.array(corner) * shape - 0.5)
            np.testing.assert_allclose(after, before)

    def test_the_same_grid_leaves_the_values_alone(self) -> None:
        generator = np.random.default_rng(0)
        data = generator.normal(size=(11, 12, 13)).astype(np.float32)
        affine = np.diag([2.0000001, 2.0, 1.9999999, 1.0])
        moved = build("resample", target=2)(scan(data, affine))
        np.testing.assert_array_equal(values(moved), data)


class TestAntialiasing:
    def test_detail_that_the_grid_cannot_hold_is_damped_as_the_formula_says(self) -> None:
        """A Gaussian of deviation s damps a wave of frequency f by exp(-2 (pi s f)^2)."""
        where = world(np.eye(4), (80, 80, 80))
        period = 10.0
        wave = np.cos(2 * np.pi * where[..., 0] / period).astype(np.float32)
        moved = build("resample", target=4)(scan(wave, np.eye(4)))
        sigma = np.sqrt(4**2 - 1) / (2 * np.sqrt(2 * np.log(2)))
        # What 1 mm voxels show between their centres is interpolated: up to 5 % less for this period.
        expected = np.exp(-2 * (np.pi * sigma / period) ** 2)
        centres = moved["image"].affine[0, 0] * np.arange(20) + moved["image"].affine[0, 3]
        predicted = expected * np.cos(2 * np.pi * centres / period)
        np.testing.assert_allclose(values(moved)[3:-3, 10, 10], predicted[3:-3], atol=0.05 * expected)

    def test_agrees_with_torchios_filter(self) -> None:
        data = np.random.default_rng(1).random((40, 40, 40), dtype=np.float32)
        ours = values(build("resample", target=3)(scan(data, np.eye(4))))
        theirs = values(tio.Resample(3, antialias=True)(scan(data, np.eye(4))))
        inner = (slice(2, -2),) * 3
        assert np.corrcoef(ours[inner].ravel(), theirs[inner].ravel())[0, 1] > 0.995
        assert np.abs(ours - theirs)[inner].max() < 0.02

    def test_the_order_in_which_a_file_stores_its_axes_does_not_matter(self, tmp_path: Path) -> None:
        nib.Nifti1Image(np.zeros((20, 20, 6), dtype=np.float32), np.diag([2.0, 2.0, 7.0, 1.0])).to_filename(
            tmp_path / "thick.nii"
        )
        data = np.random.default_rng(0).random((40, 40, 40), dtype=np.float32)
        permuted = np.eye(4)[[2, 0, 1, 3]]  # the file's first axis runs along the world's third
        resample = build("resample", reference=str(tmp_path / "thick.nii"))
        one = values(resample(scan(data, np.eye(4))))
        other = values(resample(scan(np.ascontiguousarray(data.transpose(1, 2, 0)), permuted)))
        np.testing.assert_allclose(one, other, atol=1e-5)

    def test_a_background_of_zeros_stays_exactly_zero(self) -> None:
        data = np.zeros((60, 60, 60), dtype=np.float32)
        data[25:35, 25:35, 25:35] = 100
        moved = values(build("resample", target=2)(scan(data, np.eye(4))))
        assert (moved != 0).mean() < 0.1
        assert moved.min() == 0

    def test_a_grid_whole_voxels_away_is_a_crop(self) -> None:
        """Rounding must leave no dust in the background: a mask of nonzero voxels would take it for brain."""
        generator = torch.Generator().manual_seed(2)
        data = torch.randint(500, 900, (1, 45, 55, 47), generator=generator).float()
        data *= torch.rand(data.shape, generator=generator) < 0.5
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = (-88, -124, -84)
        found = build("mni-grid", spacing=4)(tio.Subject(image=tio.ScalarImage(tensor=data, affine=affine)))["image"]
        assert found.affine[:3, 3].tolist() == [-76, -112, -76]
        expected = data[:, 3 : 3 + found.shape[1], 3 : 3 + found.shape[2], 2 : 2 + found.shape[3]]
        torch.testing.assert_close(found.data, expected, rtol=1e-5, atol=0)
        assert torch.equal(found.data == 0, expected == 0)


class TestMni:
    def test_the_box_is_that_of_nilearns_brain(self) -> None:
        image = load_mni152_brain_mask(resolution=1)
        index = np.argwhere(np.asarray(image.dataobj) > 0)
        corners = nib.affines.apply_affine(image.affine, [index.min(axis=0), index.max(axis=0)])
        np.testing.assert_allclose(corners, BRAIN_BOX)

    @pytest.mark.parametrize(("spacing", "margin"), [(4, 4), (1, 0), (2.5, 7), (8, 0)])
    def test_the_grid_holds_the_box_and_no_more(self, spacing: float, margin: float) -> None:
        shape, affine = mni_grid(spacing, margin)
        first, last = affine[:3, 3], affine[:3, 3] + spacing * (np.array(shape) - 1)
        low, high = (np.array(corner) for corner in BRAIN_BOX)
        for gap in (low - first - margin, last - high - margin):
            assert ((gap >= 0) & (gap < spacing)).all()
        assert nib.aff2axcodes(affine) == ("R", "A", "S")

    def test_every_scan_ends_on_the_same_grid(self, linear: tio.Subject) -> None:
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        affine[:3, 3] = (-80, -120, -80)
        other = scan((world(affine, (60, 70, 60)) @ SLOPES + 1000).astype(np.float32), affine)
        grid = build("mni-grid")
        one, two = grid(linear), grid(other)
        np.testing.assert_array_equal(one["image"].affine, two["image"].affine)
        assert one["image"].spatial_shape == two["image"].spatial_shape == (39, 49, 42)
        inner = (slice(8, -8),) * 3
        np.testing.assert_allclose(values(one)[inner], values(two)[inner], atol=0.05)

    def test_a_scan_elsewhere_is_refused(self) -> None:
        affine = np.eye(4)
        affine[:3, 3] = 500
        far = scan(np.ones((10, 10, 10), dtype=np.float32), affine)
        for name in ("mni-grid", "mni-brain"):
            with pytest.raises(InputError, match="registered to MNI space"):
                build(name)(far)

    def test_the_brain_is_nilearns_on_its_own_grid(self) -> None:
        image = load_mni152_brain_mask(resolution=1)
        mask = np.asarray(image.dataobj) > 0
        ours = brain_mask(mask.shape, np.asarray(image.affine))
        np.testing.assert_array_equal(ours, binary_fill_holes(mask))

    def test_the_brain_on_a_coarse_oblique_grid(self) -> None:
        image = load_mni152_brain_mask(resolution=1)
        smooth = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float32), image.affine)
        target = nib.Nifti1Image(np.zeros((100, 85, 90), dtype=np.float32), LIA @ np.diag([1.6, 2.2, 1, 1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a mask is interpolated is the point here
            theirs = np.asarray(resample_to_img(smooth, target, copy_header=True, force_resample=True).dataobj) > 0.5
        ours = brain_mask((100, 85, 90), np.asarray(target.affine))
        assert ours.sum() > 1e5
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.999

    def test_dilation_is_a_distance_in_mm(self) -> None:
        shape, affine = mni_grid(3, 12)
        image = load_mni152_brain_mask(resolution=1)
        centres = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0))
        distance, _ = KDTree(centres).query(world(affine, shape).reshape(-1, 3))
        distance = distance.reshape(shape)
        grown = brain_mask(shape, affine, dilation=8)
        assert (brain_mask(shape, affine) <= grown).all()
        assert distance[grown].max() <= 8.6
        assert grown[distance < 8.4].all()

    def test_outside_is_exactly_zero_and_inside_untouched(self) -> None:
        shape, affine = mni_grid(4, 4)
        data = np.random.default_rng(0).normal(-5, 1, size=shape).astype(np.float32)
        truth = np.ones(shape)
        masked = build("mni-brain")(scan(data, affine, truth))
        inside = brain_mask(shape, affine)
        outside = values(masked)[~inside]
        assert (outside == 0).all()
        assert not np.signbit(outside).any()
        np.testing.assert_array_equal(values(masked)[inside], data[inside])
        assert values(masked, "ground_truth").all()


def line(*numbers: float, dtype: type = np.float32) -> tio.Subject:
    return scan(np.array(numbers, dtype=dtype).reshape(-1, 1, 1), np.eye(4))


class TestIntensity:
    def test_z_normalization_by_hand(self) -> None:
        normalised = build("z-normalization")(line(0, 0, 2, 4, 6, dtype=np.int16))
        np.testing.assert_allclose(values(normalised).ravel(), [0, 0, -1, 0, 1])
        moved = build("z-normalization", keep_background=False)(line(0, 0, 2, 4, 6))
        np.testing.assert_allclose(values(moved).ravel(), [-2, -2, -1, 0, 1])
        above = build("z-normalization", masking="mean")(line(0, 0, 1, 4, 6))  # mean 2.2: of 4 and 6
        np.testing.assert_allclose(values(above).ravel(), np.array([0, 0, -4, -1, 1]) / [1, 1, *[np.sqrt(2)] * 3])

    def test_z_normalization_of_all_voxels_is_torchios(self) -> None:
        data = np.random.default_rng(0).gamma(2, 50, size=(9, 10, 11)).astype(np.float32)
        ours = build("z-normalization", masking=None, keep_background=False)(scan(data, np.eye(4)))
        np.testing.assert_allclose(values(ours), values(tio.ZNormalization()(scan(data, np.eye(4)))), atol=1e-5)

    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"out_min_max": (-1, 1), "percentiles": (2, 98)},
            {"in_min_max": (10, 200)},
            {"masking": "nonzero", "percentiles": (1, 99)},
        ],
    )
    def test_rescaling_is_torchios(self, params: dict[str, Any]) -> None:
        data = np.random.default_rng(0).gamma(2, 50, size=(9, 10, 11)).astype(np.float32)
        data[:3] = 0
        theirs = {"masking_method": (lambda x: x != 0) if "masking" in params else None}
        theirs |= {key: value for key, value in params.items() if key != "masking"}
        expected = values(tio.RescaleIntensity(**theirs)(scan(data, np.eye(4))))
        ours = values(build("rescale-intensity", **params)(scan(data, np.eye(4))))
        np.testing.assert_allclose(ours, expected, atol=1e-5)

    @pytest.mark.parametrize("name", ["z-normalization", "rescale-intensity"])
    @pytest.mark.parametrize("numbers", [(7, 7, 7), (0, 0, 0), (0, 5, 5)])
    def test_constant_images_are_refused(self, name: str, numbers: tuple[float, ...], tmp_path: Path) -> None:
        path = tmp_path / "flat.nii.gz"
        nib.Nifti1Image(np.array(numbers, dtype=np.float32).reshape(3, 1, 1), np.eye(4)).to_filename(path)
        with pytest.raises(InputError, match=r"flat\.nii\.gz") as caught:
            build(name, masking="nonzero")(tio.Subject(image=tio.ScalarImage(path)))
        assert "\n" not in str(caught.value)

    def test_percentiles_that_coincide_are_refused(self) -> None:
        with pytest.raises(InputError, match="same value"):
            build("rescale-intensity", percentiles=(5, 50))(line(*[0] * 90, *range(10)))

    def test_clamp(self) -> None:
        clamped = build("clamp", out_min=1, out_max=3)(line(0, 1, 2, 3, 4))
        np.testing.assert_array_equal(values(clamped).ravel(), [1, 1, 2, 3, 3])

    def test_blur_is_in_mm_and_keeps_the_sum(self) -> None:
        data = np.zeros((41, 41, 41), dtype=np.int16)
        data[20, 20, 20] = 10000
        blurred = values(build("blur", std=3)(scan(data, np.diag([1.0, 2.0, 1.5, 1.0]))))
        assert blurred.sum() == pytest.approx(10000, rel=1e-4)
        for axis, spacing in enumerate((1.0, 2.0, 1.5)):
            profile = blurred.sum(axis=tuple({0, 1, 2} - {axis})) / blurred.sum()
            deviation = np.sqrt((profile * ((np.arange(41) - 20) * spacing) ** 2).sum())
            assert deviation == pytest.approx(3, rel=0.02)

    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("rescale-intensity", {"out_min_max": (1, 0)}),
            ("clamp", {"out_min": 2, "out_max": 1}),
            ("clamp", {}),
            ("random-affine", {"degrees": [5, 1]}),
            ("random-blur", {"std": [-1, 1]}),
        ],
    )
    def test_impossible_values_are_one_line(self, name: str, params: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=name) as caught:
            build(name, **params)
        assert len(caught.value.problems) == 1


class TestRandom:
    @pytest.mark.parametrize("name", RANDOM)
    def test_changes_training_scans_reproducibly(self, name: str) -> None:
        data = np.zeros((24, 26, 28), dtype=np.int16)
        data[6:18, 7:20, 8:15] = np.random.default_rng(0).integers(100, 200, size=(12, 13, 7))
        params = {"flip_probability": 1} if name == "random-flip" else {}
        transform = build(name, **params)
        assert isinstance(transform, tio.transforms.augmentation.RandomTransform)
        subject = scan(data, np.diag([4.0, 4.0, 4.0, 1.0]), data > 0)
        results = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            results.append(transform(subject))
        np.testing.assert_array_equal(values(results[0]), values(results[1]))
        assert not np.array_equal(values(results[0]), data)
        if name != "random-flip":
            assert not np.array_equal(values(results[0]), values(results[2]))
        np.testing.assert_array_equal(results[0]["image"].affine, subject["image"].affine)

    @pytest.mark.parametrize("name", ["random-flip", "random-affine", "random-elastic-deformation"])
    def test_the_mask_moves_with_the_image(self, name: str) -> None:
        mask = np.zeros((30, 30, 30), dtype=bool)
        mask[5:14, 8:20, 10:24] = True
        params = {
            "random-flip": {"flip_probability": 1},
            "random-elastic-deformation": {"num_control_points": 5, "max_displacement": 4},
        }
        torch.manual_seed(3)
        moved = build(name, **params.get(name, {}))(scan(mask.astype(np.float32), np.eye(4), mask))
        label, image = values(moved, "ground_truth") > 0, values(moved) > 0.5
        assert (label != mask).sum() > 50
        assert 2 * (label & image).sum() / (label.sum() + image.sum()) > 0.97

    def test_corners_of_a_turned_scan_are_background(self) -> None:
        torch.manual_seed(0)
        data = np.full((20, 20, 20), -3, dtype=np.float32)
        turned = values(build("random-affine", degrees=(30, 30))(scan(data, np.eye(4))))
        assert turned.max() == 0
        assert turned.min() == pytest.approx(-3)

    def test_p_zero_never(self) -> None:
        data = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
        np.testing.assert_array_equal(values(build("random-noise", p=0)(scan(data, np.eye(4)))), data)


class TestMachinery:
    @pytest.mark.parametrize("name", [*GEOMETRY, "mni-brain", "z-normalization", "rescale-intensity", "blur", "clamp"])
    def test_pickles_and_is_rebuilt_from_a_subjects_history(self, name: str) -> None:
        affine = np.diag([6.0, 6.0, 6.0, 1.0])
        affine[:3, 3] = (-85, -120, -80)
        subject = scan(np.random.default_rng(0).random((29, 37, 29), dtype=np.float32), affine)
        params = GEOMETRY.get(name, {})
        if name in ("crop", "crop-or-pad", "resize"):
            params = {"cropping": 2} if name == "crop" else {"target_shape": 24}
        params = {"blur": {"std": 5}, "clamp": {"out_max": 0.5}}.get(name, params)
        transform = pickle.loads(pickle.dumps(build(name, **params)))
        moved = transform(subject)
        again = moved.get_composed_history()(subject)
        np.testing.assert_array_equal(values(moved), values(again))


def test_orientation_of_a_network_trained_on_flipped_arrays() -> None:
    """The order of axes of Singh & Dyrba 2023: coronal views z, x, y, all of them flipped, of RAS+ files."""
    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    affine = np.diag([1.5, 2, 3, 1])
    affine[:3, 3] = (-4, 5, -6)
    found = build("to-orientation", orientation="ILP")(tio.ScalarImage(tensor=values[None], affine=affine))
    assert np.array_equal(found.numpy()[0], np.flip(np.transpose(values, (2, 0, 1))))
    assert nib.aff2axcodes(found.affine) == ("I", "L", "P")


@pytest.mark.parametrize("orientation", ["RLS", "RAA", "RASS", "ras"])
def test_impossible_orientations(orientation: str) -> None:
    with pytest.raises(ConfigError, match="orientation"):
        build("to-orientation", orientation=orientation)
