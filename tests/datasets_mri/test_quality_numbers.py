"""The numbers of one image, against hand-worked cases, SimpleITK's threshold and noise of a known size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from xai_datasets_mri._quality_numbers import measure, otsu
from xai_datasets_mri._quality_outliers import LIMIT, flags, robust_z

Array = np.ndarray[Any, Any]
AFFINE = np.diag([-2.0, 1.5, 3.0, 1.0])


def head(signal: float = 200.0, noise: float = 10.0, seed: int = 0, side: int = 48) -> Array:
    """A bright ball in air, as a magnitude image (Rician noise) of a known deviation."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((side, side, side)) - side / 2
    truth = np.where(x**2 + y**2 + z**2 < (0.35 * side) ** 2, signal, 0.0)
    return np.hypot(truth + rng.normal(0, noise, truth.shape), rng.normal(0, noise, truth.shape))


def brain() -> Array:
    values = np.zeros((10, 10, 10), "i2")
    values[2:6, 2:7, 2:8] = np.arange(1, 121).reshape(4, 5, 6)
    return values


def test_numbers_of_a_cut_out_brain() -> None:
    found = measure(brain(), AFFINE, "int16")
    assert found["shape"] == [10, 10, 10]
    assert found["spacing"] == [2.0, 1.5, 3.0]
    assert (found["orientation"], found["oblique"], found["dtype"]) == ("LAS", 0.0, "int16")
    assert (found["min"], found["p1"], found["median"], found["max"]) == (0, 0, 0, 120)
    assert found["p99"] == np.percentile(brain(), 99)
    assert found["volume_ml"] == pytest.approx(120 * 9 / 1000)
    assert found["volume_of"] == "not background"
    assert found["background_percent"] == pytest.approx(88)
    assert found["snr"] is None, "zeros that were filled in are no noise"


def test_background_need_not_be_zero() -> None:
    """A normalised image has its background somewhere else."""
    found = measure(brain().astype("f4") - 7.5, AFFINE, "float32")
    assert (found["volume_of"], found["background_percent"]) == ("not background", pytest.approx(88))
    assert found["volume_ml"] == pytest.approx(1.08)


def test_mask_decides_the_volume() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[:5] = True
    found = measure(brain(), AFFINE, "int16", mask)
    assert (found["volume_of"], found["volume_ml"]) == ("mask", pytest.approx(500 * 9 / 1000))
    assert found["background_percent"] == pytest.approx(88), "that is of the image"


def test_head_in_air() -> None:
    found = measure(head(), np.eye(4), "float64")
    ball = 4 / 3 * np.pi * (0.35 * 48) ** 3 / 1000
    assert found["volume_of"] == "above threshold"
    assert found["volume_ml"] == pytest.approx(ball, rel=0.02)
    assert found["background_percent"] == pytest.approx(100 - 100 * ball * 1000 / 48**3, abs=1)


@pytest.mark.parametrize(("signal", "noise"), [(200.0, 10.0), (200.0, 4.0), (50.0, 2.0)])
def test_snr_is_signal_over_the_noise_that_was_added(signal: float, noise: float) -> None:
    found = measure(head(signal, noise, side=96), np.eye(4), "f")["snr"]
    assert found == pytest.approx(signal / noise, rel=0.04)


def test_snr_is_not_given_where_it_has_no_meaning() -> None:
    values = head()
    assert measure(values - 100, np.eye(4), "f")["snr"] is None, "no magnitude image"
    filled = np.where(values < 60, 0, values)
    assert measure(filled, np.eye(4), "f")["snr"] is None
    full = values.copy()
    full[:8] += 200
    assert measure(full, np.eye(4), "f")["snr"] is None, "tissue in the corners is no noise"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("signal", "noise"), [(200.0, 10.0), (90.0, 20.0)])
def test_otsu_is_simpleitks(signal: float, noise: float, seed: int) -> None:
    values = np.minimum(head(signal, noise, seed), np.percentile(head(signal, noise, seed), 99.9))
    reference = SimpleITK.OtsuThresholdImageFilter()
    reference.SetNumberOfHistogramBins(256)
    reference.Execute(SimpleITK.GetImageFromArray(values))
    bin_width = np.ptp(values) / 256
    assert otsu(values) == pytest.approx(reference.GetThreshold(), abs=1.5 * bin_width)


def test_otsu_of_two_values() -> None:
    assert 3 <= otsu(np.array([3.0, 3, 3, 9, 9])) < 9


def test_percentiles_of_a_large_image_are_near_the_exact_ones() -> None:
    values = ndimage.gaussian_filter(np.random.default_rng(0).random((130, 120, 110)), 2)
    found = measure(values, np.eye(4), "f")
    exact = np.percentile(values, [1, 50, 99])
    np.testing.assert_allclose([found["p1"], found["median"], found["p99"]], exact, atol=0.01 * np.ptp(values))
    assert (found["min"], found["max"]) == (values.min(), values.max())


# --- outliers ---------------------------------------------------------------------------------------------------------


def test_robust_z_by_hand() -> None:
    """Median 3, deviations 2 1 0 1 97: the MAD is 1."""
    assert robust_z([1, 2, 3, 4, 100]) == pytest.approx([-1.349, -0.6745, 0, 0.6745, 0.6745 * 97])
    # More than half are equal: by the mean absolute deviation, here 10 / 5.
    assert robust_z([5, 5, 5, 5, 15]) == pytest.approx([0, 0, 0, 0, 10 / (1.253314 * 2)])
    assert robust_z([5, 5, 5]) == [0, 0, 0]
    assert robust_z([1, 2, 3, 4, 5], least=10) == pytest.approx([-0.2, -0.1, 0, 0.1, 0.2])


def test_robust_z_of_normal_numbers_is_the_usual_one() -> None:
    values = np.random.default_rng(0).normal(40, 3, 20000)
    np.testing.assert_allclose(robust_z(list(values)), (values - 40) / 3, atol=0.15)


def row(number: int, **more: Any) -> dict[str, Any]:
    jitter = np.random.default_rng(number).normal(0, 0.04)
    numbers = {
        "shape": [180, 220, 180], "spacing": [1.0, 1.0, 1.0], "orientation": "RAS", "oblique": 0.0, "dtype": "int16",
        "min": 0.0, "p1": 0.0, "median": 300.0, "p99": 900 * (1 + jitter), "max": 1000 * (1 + jitter),
        "volume_ml": 1400 * (1 + jitter), "volume_of": "mask", "background_percent": 70 + jitter, "snr": None,
    }  # fmt: skip
    about = {
        "scan_id": f"sub-{number}",
        "site": None,
        "channel": 0,
        "digest": str(number),
        "problem": "",
        "failure": "",
    }
    return about | numbers | more


def test_what_is_unlike_the_others_is_flagged() -> None:
    rows = [row(i) for i in range(20)]
    odd = {
        3: ({"volume_ml": 700.0}, ["volume 700 (z "]),
        5: ({"shape": [180, 220, 181]}, ["shape 180 x 220 x 181 (usual: 180 x 220 x 180)"]),
        6: ({"orientation": "LAS"}, ["orientation LAS (usual: RAS)"]),
        8: ({"spacing": [1.0, 1.0, 1.2]}, ["voxel size 1 x 1 x 1.2 (usual: 1 x 1 x 1)"]),
        9: ({"dtype": "float32", "oblique": 40.0}, ["data type float32 (usual: int16)", "tilted by 40 degrees"]),
        11: ({"digest": "12"}, ["the same file content as sub-12"]),
        12: ({}, ["the same file content as sub-11"]),
        13: ({"volume_of": "not background", "volume_ml": 5000.0}, ["foreground not background (usual: mask)"]),
        15: ({"problem": "cannot be read", "digest": ""}, ["cannot be used"]),
        16: ({"failure": "KeyError"}, ["no picture"]),
    }
    for index, (more, _) in odd.items():
        rows[index] |= more
    found = flags(rows)
    for index, told in enumerate(found):
        expected = odd.get(index, ({}, []))[1]
        assert len(told) == len(expected), (index, told)
        assert all(text.startswith(start) for text, start in zip(told, expected, strict=True)), (index, told)


def test_small_differences_of_images_scaled_to_one_range_are_no_outliers() -> None:
    rows = [row(i, p99=900.0 + i % 3, max=1000.0) for i in range(20)]
    rows[4]["p99"] = 930.0
    assert not any(flags(rows))
    rows[4]["p99"] = 1400.0
    assert [i for i, told in enumerate(flags(rows)) if told] == [4]


def test_sites_are_judged_by_themselves_where_they_are_large_enough() -> None:
    large = [row(i, site="A") for i in range(12)] + [row(i + 50, site="B", orientation="LPI") for i in range(12)]
    assert not any(flags(large))
    large[3]["orientation"] = "LPI"
    assert flags(large)[3] == ["orientation LPI (usual at site A: RAS)"]
    small = [row(i, site="A") for i in range(12)] + [row(20, site="B", orientation="LPI")]
    assert flags(small)[12] == ["orientation LPI (usual: RAS)"]


def test_channels_are_judged_by_themselves() -> None:
    rows = [r for i in range(10) for r in (row(i), row(i, channel=1, p99=20.0, max=22.0, dtype="float32"))]
    assert not any(flags(rows))


def test_few_images_and_none() -> None:
    assert flags([]) == []
    assert flags([row(0), row(1, volume_ml=3000.0)]) == [[], []]
    assert flags(
        [{**{k: row(0)[k] for k in ("scan_id", "site", "channel")}, "digest": "", "problem": "x", "failure": ""}]
    )
    assert LIMIT == 3.5


def test_field_of_view() -> None:
    rows = [row(i) for i in range(8)]
    rows[2]["shape"], rows[2]["spacing"] = [180, 220, 180], [0.1, 0.1, 0.1]
    assert "field of view 18 x 22 x 18 mm" in flags(rows)[2]
