"""A relevance map lands on the voxels it belongs to, whatever the preprocessing did to the grid."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from nibabel.eulerangles import euler2mat
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from nibabel.processing import resample_from_to

from xai_core import InputError
from xai_core.engine.spatial import check_geometry, to_scan_grid

Array = np.ndarray[Any, Any]
SHAPE = (19, 23, 17)

# An asymmetric pattern: an L of three arms with different lengths and values, and single voxels.
MARKER = {
    (0, 0, 0): 1.0, (1, 0, 0): 2.0, (2, 0, 0): 3.0, (3, 0, 0): 4.0, (0, 1, 0): -5.0, (0, 2, 0): 6.0, (0, 0, 1): 7.5,
    (5, 3, 2): -11.0, (-4, 4, 3): 13.0,
}  # fmt: skip


def affine_of(
    orientation: str = "RAS",
    spacing: Sequence[float] = (2, 2, 2),
    angles: Sequence[float] = (0, 0, 0),
    shape: Sequence[int] = SHAPE,
) -> Array:
    """Voxel to world of a scan stored in ``orientation``, with unequal spacings, turned by ``angles`` (radians)."""
    flip = inv_ornt_aff(axcodes2ornt(tuple(orientation)), tuple(shape))
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ (flip[:3, :3] @ np.diag(spacing))
    affine[:3, 3] = np.array([-3.7, 11.2, 5.9]) - affine[:3, :3] @ (np.asarray(shape) - 1) / 2
    return affine


def scan_of(affine: Array, shape: Sequence[int] = SHAPE) -> tio.Subject:
    values = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
    return tio.Subject(image=tio.ScalarImage(tensor=values, affine=affine), subject_id="p")


def world(affine: Array, index: Sequence[float]) -> Array:
    result: Array = affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3]
    return result


def marked(image: tio.ScalarImage) -> tuple[Array, dict[tuple[int, ...], float]]:
    """A map on the network's grid with the marker near its middle, and where each of its voxels is."""
    middle = np.asarray(image.spatial_shape) // 2
    voxels = {tuple(int(i) for i in middle + offset): value for offset, value in MARKER.items()}
    relevance = np.zeros((1, *image.spatial_shape), np.float32)
    for index, value in voxels.items():
        relevance[(0, *index)] = value
    return relevance, voxels


ORIENTATIONS = ("RAS", "LAS", "LPS", "PIR", "ASL", "SRP", "IPL")
GRIDS: dict[str, Array] = {name: affine_of(name, (2, 2, 2)) for name in ORIENTATIONS}
GRIDS["anisotropic PIR"] = affine_of("PIR", (0.9, 3.1, 1.7))
GRIDS["oblique LAS"] = affine_of("LAS", (1.1, 1.1, 2.5), (0.31, -0.18, 0.42))
GRIDS["oblique SRP"] = affine_of("SRP", (2, 1, 1.5), (-0.6, 0.2, 0.1))

EXACT: dict[str, Callable[[], tio.Transform]] = {
    "to canonical": tio.ToCanonical,
    "crop": lambda: tio.Crop((2, 1, 0, 3, 1, 2)),
    "pad": lambda: tio.Pad((3, 0, 1, 2, 5, 4)),
    "crop or pad": lambda: tio.CropOrPad((14, 30, 15)),
    "transpose": tio.Transpose,
    "chain": lambda: tio.Compose(
        [tio.ToCanonical(), tio.Pad((1, 4, 0, 2, 3, 0)), tio.Crop((2, 0, 3, 1, 0, 4)), tio.CropOrPad((18, 16, 22))]
    ),
}


@pytest.mark.parametrize("steps", EXACT)
@pytest.mark.parametrize("grid", GRIDS)
def test_marker_comes_back_exactly_where_voxels_were_only_reordered(grid: str, steps: str) -> None:
    affine = GRIDS[grid]
    scan = scan_of(affine)
    prepared = EXACT[steps]()(scan)
    relevance, voxels = marked(prepared.image)
    back = to_scan_grid(relevance, prepared.image.affine, SHAPE, affine)
    expected = np.zeros((1, *SHAPE), np.float32)
    for index, value in voxels.items():
        there = np.linalg.inv(affine) @ [*world(prepared.image.affine, index), 1]
        assert np.abs(there[:3] - np.round(there[:3])).max() < 1e-3, "the test's marker is not on a voxel"
        expected[(0, *np.round(there[:3]).astype(int))] = value
    assert np.count_nonzero(expected) == len(MARKER)
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("steps", EXACT)
@pytest.mark.parametrize("grid", ["LAS", "oblique SRP"])
def test_scan_itself_goes_there_and_back(grid: str, steps: str) -> None:
    """The image's own values, through the transforms and back, are the image where the network saw it, else 0."""
    affine = GRIDS[grid]
    scan = scan_of(affine)
    prepared = EXACT[steps]()(scan)
    back = to_scan_grid(prepared.image.data.numpy(), prepared.image.affine, SHAPE, affine)
    ones = EXACT[steps]()(tio.ScalarImage(tensor=torch.ones(1, *SHAPE), affine=affine))
    seen = to_scan_grid(ones.data.numpy(), ones.affine, SHAPE, affine)
    assert set(np.unique(seen)) <= {0.0, 1.0}
    assert seen.any()
    np.testing.assert_array_equal(back, scan.image.data.numpy() * seen)


RESAMPLED: dict[str, Callable[[], tio.Transform]] = {
    "coarser": lambda: tio.Compose([tio.ToCanonical(), tio.Resample(4)]),
    "finer": lambda: tio.Compose([tio.ToCanonical(), tio.Resample(0.8)]),
    "unequal": lambda: tio.Compose([tio.ToCanonical(), tio.Resample((1, 3, 2)), tio.CropOrPad((30, 12, 20))]),
}


@pytest.mark.parametrize("steps", RESAMPLED)
@pytest.mark.parametrize("grid", ["LAS", "PIR", "anisotropic PIR", "oblique LAS", "oblique SRP"])
def test_resampled_blob_has_its_centre_and_its_sum(grid: str, steps: str) -> None:
    """A smooth off-centre blob keeps its place in the world, and its sum up to the ratio of the voxels' volumes."""
    affine = GRIDS[grid]
    prepared = RESAMPLED[steps]()(scan_of(affine))
    centre = world(affine, (11, 9.5, 9.4))
    relevance = gaussian(prepared.image.spatial_shape, prepared.image.affine, centre, (3.0, 4.5, 3.5))[None]
    back = to_scan_grid(relevance, prepared.image.affine, SHAPE, affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    assert np.linalg.norm(centroid(back[0], affine) - centroid(relevance[0], prepared.image.affine)) < 0.25 * max(
        *spacing, *prepared.image.spacing
    )
    ratio = abs(np.linalg.det(affine) / np.linalg.det(prepared.image.affine))
    assert float(back.sum(dtype=np.float64)) * ratio == pytest.approx(float(relevance.sum(dtype=np.float64)), rel=0.06)


def gaussian(shape: Sequence[int], affine: Array, centre: Array, widths: Sequence[float]) -> Array:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = (index @ affine[:3, :3].T + affine[:3, 3] - centre) / widths
    result: Array = np.exp(-0.5 * (distance**2).sum(-1)).astype(np.float32)
    return result


def centroid(values: Array, affine: Array) -> Array:
    index = np.indices(values.shape).reshape(3, -1)
    return world(affine, index @ values.ravel() / values.sum(dtype=np.float64))


@pytest.mark.parametrize("grid", ["LAS", "anisotropic PIR", "oblique LAS"])
def test_interpolation_equals_nibabel(grid: str) -> None:
    """Where a scan's voxels are smaller than the network's, it is nibabel's linear interpolation."""
    affine = affine_of(grid.split()[-1], (1.3, 1.1, 1.2), (0.2, 0.1, -0.3) if "oblique" in grid else (0, 0, 0))
    prepared = tio.Compose([tio.ToCanonical(), tio.Resample(4), tio.Crop((1, 0, 0, 1, 0, 0))])(scan_of(affine))
    relevance = np.random.default_rng(1).normal(size=prepared.image.data.shape).astype(np.float32)
    back = to_scan_grid(relevance, prepared.image.affine, SHAPE, affine)
    source = nib.Nifti1Image(relevance[0], prepared.image.affine)
    reference = resample_from_to(source, (SHAPE, affine), order=1, mode="constant", cval=np.nan).get_fdata()
    known = np.isfinite(reference)  # nibabel stops at the outermost centres, half a voxel before the field of view
    assert known.mean() > 0.25
    np.testing.assert_allclose(back[0][known], reference[known], atol=2e-5)


def test_coarser_scan_gets_the_mean_of_its_sub_positions() -> None:
    """By hand: a scan of 6 x 2 x 2 mm voxels over a map of 2 mm, axes swapped and one flipped."""
    network = np.diag([2.0, 2, 2, 1])
    relevance = np.random.default_rng(2).normal(size=(1, 6, 9, 6)).astype(np.float32)
    # The scan's first axis is world y (6 mm steps), its second is -x, its third z.
    scan = np.array([[0, -2, 0, 10], [6, 0, 0, 2], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    back = to_scan_grid(relevance, network, (3, 6, 6), scan)
    expected = relevance[0].reshape(6, 3, 3, 6).mean(axis=2)[::-1].transpose(1, 0, 2)
    np.testing.assert_allclose(back[0], expected, atol=1e-6)
    assert back.sum() * 3 == pytest.approx(float(relevance.sum()), abs=1e-3)


def test_outside_the_field_of_view_is_zero_and_its_border_is_half_a_voxel_wide() -> None:
    network, scan = np.diag([4.0, 4, 4, 1]), np.diag([1.0, 1, 1, 1])
    scan[:3, 3] = -6
    back = to_scan_grid(np.full((1, 3, 3, 3), 5, np.float32), network, (24, 24, 24), scan)
    inside = (np.arange(24) - 6 >= -2) & (np.arange(24) - 6 <= 10)
    expected = 5 * inside[:, None, None] * inside[None, :, None] * inside[None, None, :]
    np.testing.assert_array_equal(back[0], expected.astype(np.float32))


def test_channels_stay_apart() -> None:
    relevance = np.zeros((2, 4, 5, 6), np.float32)
    relevance[0, 1, 2, 3], relevance[1, 3, 0, 5] = 1, -2
    np.testing.assert_array_equal(to_scan_grid(relevance, np.eye(4), (4, 5, 6), np.eye(4)), relevance)


TRUE_TO_THE_AFFINE: dict[str, Callable[[], tio.Transform]] = {
    **EXACT,
    **RESAMPLED,
    "resize": lambda: tio.Resize((16, 16, 16)),
    "reflecting pad": lambda: tio.Pad(6, padding_mode="reflect"),
    "pad of minus one": lambda: tio.Pad(6, padding_mode=-1),
    "intensities": lambda: tio.Compose([tio.RescaleIntensity(), tio.ZNormalization(), tio.Blur(2), tio.Clamp(0, 1)]),
    "shape multiple": lambda: tio.EnsureShapeMultiple(8),
    "orientation": lambda: tio.ToOrientation("PIL"),
}


@pytest.mark.parametrize("steps", TRUE_TO_THE_AFFINE)
@pytest.mark.parametrize("grid", ["LAS", "oblique SRP"])
def test_geometry_that_the_affine_tells_is_accepted(grid: str, steps: str) -> None:
    check_geometry(scan_of(GRIDS[grid]), TRUE_TO_THE_AFFINE[steps]())


def warp() -> tio.Transform:
    points = np.zeros((5, 5, 5, 3), np.float32)
    points[2, 2, 2] = (20, 0, 0)
    return tio.ElasticDeformation(control_points=points, max_displacement=(3, 3, 3))


def shift(*millimetres: float) -> tio.Transform:
    return tio.Affine(scales=(1, 1, 1), degrees=(0, 0, 0), translation=millimetres)


class MovedAffine(tio.Transform):
    """Changes the affine and not the voxels."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        for image in subject.get_images(intensity_only=False):
            affine = image.affine.copy()
            affine[1, 3] += 8
            image.affine = affine
        return subject


UNTRUE: dict[str, Callable[[], tio.Transform]] = {
    **{f"flip {axis}": lambda axis=axis: tio.Flip(axis) for axis in range(3)},  # type: ignore[misc]
    "turn": lambda: tio.Affine(scales=(1, 1, 1), degrees=(0, 0, 30), translation=(0, 0, 0)),
    "zoom": lambda: tio.Affine(scales=(1.5, 1.5, 1.5), degrees=(0, 0, 0), translation=(0, 0, 0)),
    "shift": lambda: shift(0, 9, 0),
    "warp": warp,
    "moved affine": MovedAffine,
    "hidden in a chain": lambda: tio.Compose([tio.ToCanonical(), tio.Flip("Left"), tio.Resample(3), tio.Pad(2)]),
}


@pytest.mark.parametrize("steps", UNTRUE)
@pytest.mark.parametrize("grid", ["LAS", "oblique LAS"])
def test_geometry_that_the_affine_does_not_tell_is_refused(grid: str, steps: str) -> None:
    with pytest.raises(InputError, match=r"move the anatomy by up to \d+ mm without telling the image's affine"):
        check_geometry(scan_of(GRIDS[grid]), UNTRUE[steps]())


def test_message_tells_how_far() -> None:
    with pytest.raises(InputError, match=r"by up to (9|10|11) mm"):
        check_geometry(scan_of(affine_of("RAS", (1, 1, 1))), shift(10, 0, 0))


def test_shift_of_less_than_half_a_voxel_is_within_the_precision_of_labels() -> None:
    """The limit, so that it is known: half a voxel's diagonal of the scan and of the network's grid."""
    subject = scan_of(affine_of("RAS", (2, 2, 2)))
    check_geometry(subject, shift(3, 0, 0))
    with pytest.raises(InputError):
        check_geometry(subject, shift(6, 0, 0))


@pytest.mark.parametrize(
    "transform", [tio.Resample(3, scalars_only=True), tio.CropOrPad((8, 8, 8), include=["image"])], ids=["only", "crop"]
)
def test_masks_left_behind_are_refused(transform: tio.Transform) -> None:
    with pytest.raises(InputError, match="another grid"):
        check_geometry(scan_of(GRIDS["LAS"]), transform)


def test_nothing_left_of_the_scan_is_refused() -> None:
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 500
    with pytest.raises(InputError, match="leave nothing of the scan"):
        check_geometry(scan_of(GRIDS["RAS"]), tio.Resample(((8, 8, 8), elsewhere)))


def test_subject_is_left_as_it_was() -> None:
    subject = scan_of(GRIDS["LAS"])
    check_geometry(subject, tio.ToCanonical())
    assert set(subject) == {"image", "subject_id"}
    assert subject.image.spatial_shape == SHAPE
    assert not subject.history


def test_one_millimetre_head_takes_seconds_not_minutes() -> None:
    """181 x 217 x 181, as most T1 scans are; here about 1 s and 2 s on one core."""
    shape = (181, 217, 181)
    affine = affine_of("LAS", (1, 1, 1), (0.1, 0, 0), shape)
    subject = scan_of(affine, shape)
    transform = tio.Compose([tio.ToCanonical(), tio.Resample(2)])
    prepared = transform(subject)
    start = time.perf_counter()
    check_geometry(subject, transform)
    checked = time.perf_counter()
    to_scan_grid(prepared.image.data.numpy(), prepared.image.affine, shape, affine)
    print(f"\ncheck_geometry {checked - start:.2f} s, to_scan_grid {time.perf_counter() - checked:.2f} s")
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("permutation", list(itertools.permutations("RAS")))
def test_every_order_and_flip_of_the_axes(permutation: tuple[str, ...]) -> None:
    """All 48 orientations: a voxel at known world coordinates comes back to the voxel with those coordinates."""
    opposite = {"R": "L", "A": "P", "S": "I"}
    for flips in itertools.product((False, True), repeat=3):
        codes = "".join(opposite[c] if flip else c for c, flip in zip(permutation, flips, strict=True))
        affine = affine_of(codes, (2, 1.5, 3))
        prepared = tio.ToCanonical()(scan_of(affine))
        relevance = np.zeros((1, *prepared.image.spatial_shape), np.float32)
        relevance[0, 3, 4, 5] = 1
        back = to_scan_grid(relevance, prepared.image.affine, SHAPE, affine)
        (index,) = np.argwhere(back[0] == 1)
        np.testing.assert_allclose(world(affine, index), world(prepared.image.affine, (3, 4, 5)), atol=1e-3)
        assert np.count_nonzero(back) == 1
