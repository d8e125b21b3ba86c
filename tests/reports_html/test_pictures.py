"""Left is left, up is up, and colours mean what the bar says."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from xai_core import InputError
from xai_reports_html._case import chosen
from xai_reports_html._colours import colours, gradient, scale_of
from xai_reports_html._decisions import decisions
from xai_reports_html._overlay import _FONT, draw_layers, png
from xai_reports_html._volumes import cut_through, on_same_grid, read, reoriented

RAS = np.diag([2.0, 2, 2, 1])
LAS = np.diag([-2.0, 2, 2, 1])
TURNED = np.array([[0, 0, -2.0, 0], [-3, 0, 0, 0], [0, 2.5, 0, 0], [0, 0, 0, 1]])  # stored as posterior, superior, left
TILT = np.array([[0.98, -0.17, 0, 0], [0.17, 0.98, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
AFFINES = {"RAS": RAS, "LAS": LAS, "turned": TURNED, "oblique": TILT @ LAS}


def centred(affine, shape=(40, 44, 36)):
    """The same axes with the middle of the volume at the world's origin."""
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def with_marker(affine, shape, world, value=1.0):
    """A volume that is one within 5 mm of a world position: laid down by world coordinates alone."""
    index = np.indices(shape).reshape(3, -1)
    positions = affine[:3, :3] @ index + affine[:3, 3:]
    near = (((positions - np.array(world)[:, None]) ** 2).sum(0) < 25).reshape(shape)
    return value * near.astype(np.float32)


def panels(layers, volume):
    """The overlay's three panels as opacity, and the base's as grey: widths follow from millimetres."""
    x, y, z = (n * s for n, s in zip(volume.data.shape, volume.spacing, strict=True))
    scale = 240 / max(y, z)
    widths, heights = [round(w * scale) for w in (y, x, x)], [round(h * scale) for h in (z, z, y)]
    alpha, grey = np.asarray(layers.overlay)[..., 3], np.asarray(layers.base)
    found, left = [], 0
    for width, height in zip(widths, heights, strict=True):
        top = (alpha.shape[0] - height) // 2
        window = (slice(top, top + height), slice(left, left + width))
        found.append((alpha[window] > 0, grey[window]))
        left += width + 6
    return found


def centre(mask):
    """Centre of a mask as fractions (to the right, upwards) of the panel, 0 in the middle."""
    rows, columns = np.nonzero(mask)
    return columns.mean() / mask.shape[1] - 0.5, 0.5 - rows.mean() / mask.shape[0]


@pytest.mark.parametrize("convention", ["neurological", "radiological"])
@pytest.mark.parametrize("name", AFFINES)
def test_a_marker_lands_on_its_side(name, convention):
    """A marker at the patient's right, front, top. RAS+ world coordinates: all positive."""
    affine, shape = centred(AFFINES[name])
    data = with_marker(affine, shape, (14, 20, 8))
    scan = reoriented(with_marker(affine, shape, (14, 20, 8), 100.0), affine)
    relevance = reoriented(data, affine)
    cut = cut_through(relevance)
    assert np.abs(np.array(relevance.world(cut)) - (14, 20, 8)).max() < 5
    layers = draw_layers(scan, relevance, scale_of(relevance.data, 50), cut, None, convention == "radiological")
    sagittal, coronal, axial = panels(layers, scan)
    side = 1 if convention == "neurological" else -1
    mm = [n * s for n, s in zip(scan.data.shape, scan.spacing, strict=True)]
    right, front, top = 14 / mm[0] * side, 20 / mm[1], 8 / mm[2]
    tolerance = 0.06 if name != "oblique" else 0.12  # its planes are turned by ten degrees against the world
    assert centre(sagittal[0]) == pytest.approx((front, top), abs=tolerance)
    assert centre(coronal[0]) == pytest.approx((right, top), abs=tolerance)
    assert centre(axial[0]) == pytest.approx((right, front), abs=tolerance)
    for alpha, grey in (sagittal, coronal, axial):  # anatomy and relevance lie on each other
        assert grey[alpha].mean() > 5 * grey[~alpha].mean()


def glyph(letter, anchor, height):
    picture = Image.new("L", (22, height))
    x = 3 if anchor == "lm" else 19
    ImageDraw.Draw(picture).text((x, height // 2), letter, 255, _FONT, anchor, stroke_width=1, stroke_fill=0)
    return np.asarray(picture)


@pytest.mark.parametrize(("mirrored", "letters"), [(False, "PALRLR"), (True, "PARLRL")])
def test_letters_name_the_sides(mirrored, letters):
    """From left to right: back and front in the sagittal plane, then left and right twice."""
    scan = reoriented(np.zeros((20, 20, 20)), RAS)
    picture = np.asarray(draw_layers(scan, scan, scale_of(scan.data, 95), (9, 9, 9), None, mirrored).base)
    for panel in range(3):
        left = panel * (240 + 6)
        assert np.array_equal(picture[:, left : left + 22], glyph(letters[2 * panel], "lm", 240))
        assert np.array_equal(picture[:, left + 218 : left + 240], glyph(letters[2 * panel + 1], "rm", 240))


def test_shape_follows_millimetres():
    """10 x 20 x 40 voxels of 4 x 2 x 1 mm are a cube."""
    scan = reoriented(np.zeros((10, 20, 40)), np.diag([4.0, 2, 1, 1]))
    layers = draw_layers(scan, scan, scale_of(scan.data, 95), (5, 10, 20), None, False)
    assert layers.base.size == (3 * 240 + 2 * 6, 240)


def test_outline_of_the_truth_is_around_it():
    affine, shape = centred(LAS)
    truth = reoriented(with_marker(affine, shape, (14, 20, 8)), affine)
    nothing = reoriented(np.zeros(shape), affine)
    layers = draw_layers(nothing, nothing, scale_of(nothing.data, 95), cut_through(truth), truth, False)
    assert layers.outlined
    (_, coronal, _) = panels(layers, nothing)
    assert centre(coronal[0]) == pytest.approx((14 / 80, 8 / 72), abs=0.05)
    away = draw_layers(nothing, nothing, scale_of(nothing.data, 95), (0, 0, 0), truth, False)
    assert not away.outlined


class TestCut:
    def test_goes_through_the_peak_not_through_one_noisy_voxel(self):
        data = np.zeros((30, 30, 30), np.float32)
        data[20:26, 4:10, 10:16] = -1  # the strongest region may speak against the output
        data[2, 25, 2] = 5
        assert np.abs(np.array(cut_through(reoriented(data, RAS))) - (22.5, 6.5, 12.5)).max() <= 2

    def test_middle_where_there_is_none(self):
        assert cut_through(reoriented(np.zeros((10, 12, 14)), RAS)) == (5, 6, 7)

    def test_small_volumes(self):
        data = np.zeros((1, 2, 3), np.float32)
        data[0, 1, 2] = 1
        assert cut_through(reoriented(data, np.diag([0.2, 0.2, 0.2, 1])))[0] == 0


class TestColours:
    def test_scale_counts_only_voxels_with_relevance(self):
        values = np.r_[np.zeros(900), np.arange(1, 101)]
        scale = scale_of(values, 95)
        assert scale.threshold == pytest.approx(np.percentile(np.arange(1, 101), 95))
        assert not scale.signed
        assert scale_of(values, 95, limit=99.99).limit == pytest.approx(np.percentile(np.arange(1, 101), 99.99))
        assert scale_of(-values, 95).signed
        assert scale_of(-values, 95).limit == scale.limit

    def test_nothing_below_the_threshold_and_symmetric_colours(self):
        values = np.linspace(-1, 1, 201)
        scale = scale_of(values, 50)
        rgba = colours(values, scale).astype(int)
        assert np.array_equal(rgba[:, 3] > 0, np.abs(values) >= scale.threshold)
        assert np.array_equal(rgba[:, 3], rgba[::-1, 3])
        assert (rgba[-1, 0] - rgba[-1, 2]) > 100, "relevance for the output is warm"
        assert (rgba[0, 2] - rgba[0, 0]) > 50, "relevance against the output is cold"

    def test_bar_shows_the_same_colours(self):
        values = np.linspace(-1, 1, 101)
        scale = scale_of(values, 60)
        expected = colours(np.linspace(-scale.limit, scale.limit, 21), scale)
        assert np.array_equal(gradient(scale, 21), expected)

    def test_a_magnitude_is_neither_warm_nor_cold(self):
        """Of a third hue, from zero on, lighter where it is stronger; a map below zero is not believed to be one."""
        values = np.linspace(0, 1, 101)
        scale = scale_of(values, 0, magnitude=True)
        rgba = colours(values, scale).astype(int)[1:]
        assert not scale.signed
        assert (rgba[:, :3].sum(1)[1:] >= rgba[:, :3].sum(1)[:-1]).all()
        assert (rgba[:, 1] < rgba[:, 0]).all(), "neither yellow nor blue: less green than red"
        assert (rgba[:, 1] < rgba[:, 2]).all(), "and than blue"
        signed = scale_of(np.linspace(-1, 1, 101), 0, magnitude=True)
        assert (signed.signed, signed.magnitude) == (True, False)

    def test_rounding_below_zero_is_no_sign(self):
        values = np.r_[np.linspace(0, 1, 101), -1e-8]
        scale = scale_of(values, 0)
        assert not scale.signed
        assert colours(values, scale)[-1, 0] > colours(values, scale)[-1, 2], "warm, as the bar that begins at zero"
        assert scale_of(np.r_[values, -1e-4], 0).signed

    def test_all_zero_and_constant(self):
        assert scale_of(np.zeros(5), 95).empty
        constant = scale_of(np.full(5, 0.3), 95)
        assert (colours(np.full(5, 0.3), constant)[:, 3] > 0).all()
        assert not colours(np.zeros(5), constant)[:, 3].any()


class TestGrids:
    def test_channels(self, tmp_path):
        data = np.stack([np.full((4, 5, 6), 1.0), np.full((4, 5, 6), 2.0)], axis=-1).astype(np.float32)
        image = nib.Nifti1Image(data, RAS)
        assert read(image).data.max() == 1
        assert read(image, add_channels=True).data.max() == 3

    def test_voxels_that_are_not_finite_are_black(self):
        data = np.ones((3, 3, 3), np.float32)
        data[0, 0, 0] = np.nan
        data[1, 1, 1] = np.inf
        assert np.isfinite(reoriented(data, RAS).data).all()

    def test_map_of_another_grid_is_refused(self):
        scan = reoriented(np.zeros((8, 8, 8)), LAS)
        shifted = LAS.copy()
        shifted[2, 3] += 1
        with pytest.raises(InputError, match="affines that differ by up to 1 mm"):
            on_same_grid(scan, reoriented(np.zeros((8, 8, 8)), shifted), "The map")
        with pytest.raises(InputError, match=r"The map has \(8, 8, 9\) voxels"):
            on_same_grid(scan, reoriented(np.zeros((8, 8, 9)), LAS), "The map")
        # The same numbers with left and right exchanged would overlay without any other sign.
        with pytest.raises(InputError, match="affines"):
            on_same_grid(scan, reoriented(np.zeros((8, 8, 8)), RAS), "The map")

    def test_unreadable_files(self, tmp_path):
        with pytest.raises(InputError, match="does not exist any more"):
            read(tmp_path / "gone.nii.gz")
        (tmp_path / "text.nii.gz").write_text("not an image")
        with pytest.raises(InputError, match=r"text\.nii\.gz cannot be read"):
            read(tmp_path / "text.nii.gz")


def test_png_holds_the_picture_only():
    data = png(Image.new("RGB", (4, 4), (1, 2, 3)))
    assert data.startswith(b"\x89PNG")
    assert b"tIME" not in data
    assert b"tEXt" not in data


def test_choice_takes_every_kind_of_decision():
    table = pd.DataFrame({"scan_id": [f"sub-{i:02}" for i in range(12)], "subject_id": "x", "fold": 0})
    table["target"] = ["AD" if i < 4 else "CN" for i in range(12)]
    table["prediction"] = ["CN" if i == 3 else "AD" if i in (9, 0, 1, 2) else "CN" for i in range(12)]
    ones = decisions(table, ("CN", "AD"), 0.7)
    found = chosen(ones, 4)
    assert len({(one.true, one.correct) for one in found}) == 4
    assert found == sorted(found, key=lambda one: one.key)
    assert chosen(ones, None) == ones
    assert chosen(ones, 0) == []
