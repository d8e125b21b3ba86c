"""Left is left, front is up, and the template lies where nilearn puts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from xai_analyses_atlas._background import mni_template
from xai_analyses_atlas._drawing import colour_limit, warm_cold
from xai_analyses_atlas._figure import write_figure
from xai_analyses_atlas._grids import BRAIN_BOX, TEMPLATE_BOX, Grid, mni_grid
from xai_analyses_atlas._mosaic import Background, mosaic, shown_planes

SHAPE = (40, 48, 36)
AXES = {
    "RAS": np.diag([4.0, 4, 4]),
    "LAS": np.diag([-4.0, 4, 4]),
    "PSL": np.array([[0, 0, -4.0], [-4, 0, 0], [0, 4, 0]]),
}
# Left, frontal and low; the opposite is right, occipital and high.
PLACE = np.array([-40.0, 48, -20])


def centred(name: str) -> Grid:
    turn = AXES[name]
    order = np.abs(turn).argmax(axis=0)
    shape = tuple(int(n) for n in np.array(SHAPE)[order])
    affine = np.eye(4)
    affine[:3, :3] = turn
    affine[:3, 3] = -turn @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def ball(grid: Grid, centre: Any = PLACE, radius: float = 12) -> np.ndarray:
    world = nib.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    return (((world - centre) ** 2).sum(axis=-1) < radius**2).astype(np.float64)


def warm(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 200) & (picture[..., 2] < 120)


@pytest.mark.parametrize("convention", ["neurological", "radiological"])
@pytest.mark.parametrize("name", AXES)
def test_the_mosaic_shows_the_patients_left_where_it_says(
    name: str, convention: Any, pixels: Callable[[bytes], np.ndarray]
) -> None:
    grid = centred(name)
    relevance = ball(grid)
    grey = Background(np.ones(grid.shape), grid)
    peak = tuple(int(i) for i in np.unravel_index(int(relevance.argmax()), grid.shape))
    picture = pixels(mosaic(relevance, grid, grey, 1.0, (peak[0], peak[1], peak[2]), ["title"], convention))
    height, width = picture.shape[:2]
    rows, columns = np.nonzero(warm(picture[:, : int(0.9 * width)]))
    assert len(rows) > 20
    panel_width = 0.89 * width / (6 + 5 * 0.03)
    across = (columns - 0.01 * width) % (panel_width * 1.03) / panel_width
    assert (across < 0.5).all() if convention == "neurological" else (across > 0.5).all()
    top = rows < 0.14 * height + 0.84 * height / 2
    offset = np.where(top, rows - 0.14 * height, rows - 0.14 * height - 0.84 * height * 0.5122)
    assert (offset < 0.41 * height / 2).all(), "in front is up"


def test_slices_run_upwards_and_hold_the_peak() -> None:
    grid = centred("RAS")
    head = Background(ball(grid, np.zeros(3), 60), grid)
    planes = shown_planes(np.zeros(grid.shape), grid, head, 17)
    assert planes == sorted(planes)
    assert len(planes) == 12
    assert 17 in planes
    assert all(ball(grid, np.zeros(3), 60)[:, :, plane].any() for plane in planes)
    outside = shown_planes(np.zeros(grid.shape), grid, head, 1)
    assert outside[0] == 1


@pytest.mark.parametrize("name", AXES)
def test_the_comparison_shows_each_plane_the_right_way_round(
    name: str, tmp_path: Any, pixels: Callable[[bytes], np.ndarray]
) -> None:
    from xai_analyses_atlas._compare import compare
    from xai_analyses_atlas._pairs import Pair

    grid = centred(name)
    relevance = ball(grid, radius=16)
    pair = Pair(relevance * 0, relevance, None, grid, ("a", "b"))
    place = tuple(int(i) for i in np.linalg.inv(grid.affine)[:3] @ [*PLACE, 1])
    write_figure(pair, compare(pair.first, pair.second), place, "here", tmp_path / "p.png")
    picture = pixels((tmp_path / "p.png").read_bytes())
    # The darkest red of the colour map is the ball in the second and third row; bars on the right are left out.
    red = (picture[..., 0] > 90) & (picture[..., 1] < 20) & (picture[..., 2] < 60)
    height, width = red.shape
    red = red[int(0.66 * height) :, : int(0.84 * width)]
    found = [np.nonzero(red[:, a:b]) for a, b in _thirds(picture[int(0.66 * height) :, : int(0.84 * width)])]
    sizes = [(b - a) for a, b in _thirds(picture[int(0.66 * height) :, : int(0.84 * width)])]
    sagittal, coronal, axial = [columns.mean() / size for (_rows, columns), size in zip(found, sizes, strict=True)]
    assert sagittal > 0.55, "front is right"
    assert coronal < 0.45, "left is left"
    assert axial < 0.45, "left is left"
    heights = [rows.mean() for rows, _columns in found]
    assert heights[2] < heights[0], "in front is up in the axial plane, low is down in the sagittal one"
    assert heights[2] < heights[1]


def _thirds(picture: np.ndarray) -> list[tuple[int, int]]:
    """Where the three panels lie: their upper and lower frames are long black lines."""
    black = (picture.max(axis=2) < 40).astype(int)
    row = int(black.sum(axis=1).argmax())
    columns = np.flatnonzero(black[row])
    breaks = np.flatnonzero(np.diff(columns) > 4)
    starts = [columns[0], *columns[breaks + 1]]
    ends = [*columns[breaks], columns[-1]]
    spans = [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a > 60]
    if len(spans) != 3:  # the axial panel is of another height than the others: take the column blocks of all rows
        inside = np.flatnonzero(black.sum(axis=0) > 40)
        edges = [int(inside[0]), *[int(c) for c in inside[1:][np.diff(inside) > 4]], int(inside[-1])]
        spans = list(zip(edges[::2], edges[1::2], strict=False))
    return spans


def test_colours_are_symmetric_and_vanish_at_zero() -> None:
    values = np.array([-2.0, -1, -0.5, 0, 0.5, 1, 2])
    colours, opacity = warm_cold(values, 1.0)
    assert opacity[3] == 0
    np.testing.assert_array_equal(opacity, opacity[::-1])
    np.testing.assert_array_equal(colours[0], colours[1])
    assert (colours[4:, 0] > colours[4:, 2]).all()
    assert (colours[:3, 2] > colours[:3, 0]).all()


def test_the_limit_is_the_quantile_or_the_largest_value() -> None:
    values = np.concatenate([np.arange(-5000, 5001)])
    assert colour_limit(values, 0.9999) == (pytest.approx(np.quantile(np.abs(values), 0.9999)), True)
    sparse = np.zeros(100_000)
    sparse[7] = -3
    assert colour_limit(sparse, 0.9999) == (3.0, False)


def test_the_boxes_are_those_of_nilearn() -> None:
    template = load_mni152_template(resolution=1)
    corners = nib.affines.apply_affine(template.affine, [[0, 0, 0], np.array(template.shape) - 1])
    np.testing.assert_array_equal(corners, TEMPLATE_BOX)
    mask = load_mni152_brain_mask(resolution=1)
    inside = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    np.testing.assert_array_equal([inside.min(axis=0), inside.max(axis=0)], BRAIN_BOX)
    grid = mni_grid(2)
    assert grid.shape == (99, 117, 95)
    assert grid.world((0, 0, 0)) == (-98, -134, -72)


def test_the_template_is_read_at_world_positions() -> None:
    """White matter beside a ventricle, which lie on either side of x = -10 mm: dark and bright by place alone."""
    template = mni_template()
    ventricle, white_matter, air = template.at(np.array([[-6.0, 6, 14], [-25, -20, 34], [-90, -120, 100]]))
    assert air == 0
    assert white_matter > 0.85 > 0.6 > ventricle
    index = np.array([70, 100, 80])
    value = float(template.data[tuple(index)]) / template.white
    assert template.at(nib.affines.apply_affine(template.grid.affine, index)[None])[0] == pytest.approx(value)
