"""The mid-slices: left is left whatever the axes of the file, sizes follow the voxels, and the PNG is one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff

from xai_datasets_mri._quality_picture import GAP, SIDE, png, strip

Array = np.ndarray[Any, Any]
STEP = SIDE + GAP


def marked() -> tuple[Array, Array]:
    """A head in RAS+ with a bright patch on its left (world -x), front (+y) and top (+z) sides, through the middle."""
    values = np.full((20, 30, 24), 10.0)
    values[0:3, 12:18, 9:15] = 100  # left
    values[7:13, 27:30, 9:15] = 60  # front
    values[7:13, 12:18, 21:24] = 80  # top
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-20, -30, -24)
    return values, affine


def panels(picture: Array) -> list[Array]:
    return [picture[:, i * STEP : i * STEP + SIDE].astype(float) for i in range(3)]


def centre(panel: Array, low: float, high: float) -> tuple[float, float]:
    """Where the pixels of these grey values lie: down and right from the middle, -1 to 1."""
    rows, columns = np.nonzero((panel >= low) & (panel <= high))
    assert rows.size > 20
    return float(rows.mean() / (SIDE / 2) - 1), float(columns.mean() / (SIDE / 2) - 1)


def check(picture: Array) -> None:
    sagittal, coronal, axial = panels(picture)
    for panel in (coronal, axial):
        down, right = centre(panel, 250, 255)
        assert right < -0.4, "the patient's left is on the picture's left"
        assert abs(down) < 0.1
    down, right = centre(sagittal, 148, 158)
    assert right > 0.7, "the front is on the right"
    assert abs(down) < 0.1
    assert centre(axial, 148, 158)[0] < -0.7, "in the axial slice the front is on top"
    assert centre(sagittal, 199, 209)[0] < -0.4
    assert centre(coronal, 199, 209)[0] < -0.4


ORIENTATIONS = ["".join(code) for letters in itertools.permutations([0, 1, 2]) for code in
                itertools.product(*[("RL", "AP", "SI")[i] for i in letters])]  # fmt: skip


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_give_the_same_picture(codes: str) -> None:
    values, affine = marked()
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), axcodes2ornt(codes))
    turned, turned_affine = apply_orientation(values, change), affine @ inv_ornt_aff(change, values.shape)
    assert "".join(nib.aff2axcodes(turned_affine)) == codes
    check(strip(turned, turned_affine, (0, 100)))


def test_oblique_head_stays_the_right_way_round() -> None:
    values, affine = marked()
    rotation = np.eye(4)
    rotation[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.25, 0.15)
    check(strip(values, rotation @ affine, (0, 100)))
    turned = values[::-1].copy()
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = len(values) - 1
    check(strip(turned, rotation @ affine @ flip, (0, 100)))


def test_sizes_follow_the_voxels() -> None:
    values = np.ones((20, 40, 10))
    picture = strip(values, np.diag([4.0, 2.0, 6.0, 1.0]), (0, 1))
    assert picture.shape == (SIDE, 3 * SIDE + 2 * GAP)
    extents = [(np.any(p == 255, axis=1).sum(), np.any(p == 255, axis=0).sum()) for p in panels(picture)]
    x, y, z = SIDE, SIDE, round(SIDE * 60 / 80)  # 80 x 80 x 60 mm
    assert extents == [(z, y), (z, x), (y, x)]


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 300, 5), (400, 3, 2)])
def test_any_shape_can_be_drawn(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).random(shape)
    for dtype in ("u1", "i2", "f4", "f8"):
        assert strip((values * 100).astype(dtype), np.eye(4), (0, 100)).shape == (SIDE, 3 * SIDE + 2 * GAP)
    assert strip(values, np.eye(4), (5, 5)).max() == 0, "no window: black, no division by zero"


def test_averages_rather_than_skips() -> None:
    """Stripes of one voxel become grey, not moire."""
    values = np.zeros((384, 384, 384), "u1")
    values[::2] = 100
    picture = strip(values, np.eye(4), (0, 100))
    axial = panels(picture)[2]
    assert axial[5:-5, 5:-5].min() > 100
    assert axial[5:-5, 5:-5].max() < 155


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (96, 296)])
def test_png_is_read_by_others_as_it_was(tmp_path: Path, shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "x.png").write_bytes(png(grey))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "x.png"))), grey)
