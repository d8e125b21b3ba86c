"""Clipping at percentiles, histogram standardisation and smoothing against hand-worked cases and other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchio as tio
from nibabel import Nifti1Image
from nilearn.image import smooth_img

from xai_core import ConfigError, InputError, registry
from xai_datasets_mri._histogram import average_landmarks, standardised

Array = npt.NDArray[Any]

# TorchIO finds the quartiles, too, and uses these of its 13 landmarks.
USED = [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]


def build(name: str, **params: Any) -> Any:
    return registry.create("transform", name, **params).build()


def scan(values: Array, affine: Array | None = None, **more: Any) -> tio.Subject:
    data = torch.from_numpy(values if values.ndim == 4 else values[None])
    return tio.Subject(image=tio.ScalarImage(tensor=data, affine=np.eye(4) if affine is None else affine), **more)


def values(subject: tio.Subject, channel: int = 0) -> Array:
    array: Array = subject["image"].data[channel].numpy()
    return array


def line(*numbers: float) -> tio.Subject:
    return scan(np.array(numbers, dtype=np.float32).reshape(-1, 1, 1))


def head(seed: int, gain: float = 1) -> Array:
    """A brain of gamma-distributed values in a background of zeros."""
    data = np.random.default_rng(seed).gamma(3, 40, size=(12, 13, 14)).astype(np.float32) * np.float32(gain) + 1
    data[:3] = 0
    return data


class TestPercentileClip:
    def test_by_hand(self) -> None:
        # Of 10, 20 ... 50 the percentiles 25 and 75 are 20 and 40; the zeros neither count nor change.
        clipped = build("percentile-clip", percentiles=[25, 75])(line(0, 0, 10, 20, 30, 40, 50))
        assert values(clipped).ravel().tolist() == [0, 0, 20, 20, 30, 40, 40]
        raised = build("percentile-clip", percentiles=[25, 75], keep_background=False)(line(0, 0, 10, 20, 30, 40, 50))
        assert values(raised).ravel().tolist() == [20, 20, 20, 20, 30, 40, 40]
        everything = build("percentile-clip", percentiles=[0, 50], masking=None)(line(0, 0, 10, 20, 30))
        assert values(everything).ravel().tolist() == [0, 0, 10, 10, 10]

    def test_channels_have_their_own_bounds(self) -> None:
        two = np.stack([head(0), head(1, 1000)])
        clipped = build("percentile-clip", percentiles=[2, 90])(scan(two))
        for channel in (0, 1):
            brain = two[channel][3:]
            expected = np.clip(brain, *np.percentile(brain, [2, 90]))
            np.testing.assert_allclose(values(clipped, channel)[3:], expected, rtol=1e-6)
            assert (values(clipped, channel)[:3] == 0).all()

    def test_what_cannot_be_clipped(self) -> None:
        with pytest.raises(ConfigError, match="first value must be below"):
            build("percentile-clip", percentiles=[99, 1])
        for numbers in ((0, 0, 0), (0, 5, 5), (0, 5, float("nan"))):
            with pytest.raises(InputError, match="percentile-clip"):
                build("percentile-clip")(line(*numbers))


def test_one_channel_does_not_decide_the_range_of_another() -> None:
    small, large = head(0), head(1, 1000)
    for name in ("rescale-intensity", "z-normalization"):
        both = build(name)(scan(np.stack([small, large])))
        np.testing.assert_array_equal(values(both), values(build(name)(scan(small))))
        np.testing.assert_array_equal(values(both, 1), values(build(name)(scan(large))))


@pytest.mark.parametrize(
    "name", ["rescale-intensity", "z-normalization", "percentile-clip", "clamp", "blur", "smooth", "n4-bias-correction"]
)
def test_maps_that_are_carried_along_keep_their_values(name: str) -> None:
    params = {"clamp": {"out_max": 50}, "blur": {"std": 2}, "smooth": {"fwhm": 2}}.get(name, {})
    subject = scan(head(0), fa=tio.ScalarImage(tensor=torch.from_numpy(head(2))[None]))
    changed = build(name, **params)(subject)
    assert not torch.equal(changed["image"].data, subject["image"].data)
    assert torch.equal(changed["fa"].data, subject["fa"].data)


class TestHistogram:
    def test_landmarks_by_hand(self) -> None:
        # Two images with percentiles 10, 20, 30 and 0, 80, 100: mapped to 0 ... 100 the middle ones are 50 and 80.
        found = average_landmarks(np.array([[10.0, 20, 30], [0, 80, 100]]))
        np.testing.assert_allclose(found, [0, 65, 100])

    def test_mapping_by_hand(self) -> None:
        # 10 -> 0, 20 -> 65, 30 -> 100; the slopes 6.5 and 3.5 go on beyond the ends.
        mapped = standardised(
            np.array([8.0, 10, 15, 20, 24, 30, 32]), np.array([10.0, 20, 30]), np.array([0.0, 65, 100])
        )
        np.testing.assert_allclose(mapped, [-13, 0, 32.5, 65, 79, 100, 107])
        # Equal percentiles count once, with the mean of their landmarks: 10 -> 0, 20 -> 60, 30 -> 100.
        equal = standardised(np.array([15.0, 20, 25]), np.array([10.0, 20, 20, 30]), np.array([0.0, 50, 70, 100]))
        np.testing.assert_allclose(equal, [30, 60, 80])

    def test_training_and_result_are_torchios(self, tmp_path: Path) -> None:
        people = [head(seed, gain) for seed, gain in enumerate((1, 3, 0.2))]
        paths = []
        for number, data in enumerate(people):
            paths.append(tmp_path / f"{number}.nii")
            tio.ScalarImage(tensor=torch.from_numpy(data)[None]).save(paths[-1])
        theirs = tio.HistogramStandardization.train(paths, masking_function=lambda x: x > 0, progress=False)
        ours = build("histogram-standardization")
        ours.fit([tio.Subject(image=tio.ScalarImage(path)) for path in paths])
        assert tuple(ours.landmarks.shape) == (1, 11)
        np.testing.assert_allclose(ours.landmarks[0].numpy(), theirs[USED], rtol=1e-5)
        new = head(9, 7)
        expected = tio.HistogramStandardization({"image": theirs}, masking_method=lambda x: x > 0)(scan(new))
        result = values(ours(scan(new)))
        np.testing.assert_allclose(result[3:], values(expected)[3:], rtol=1e-4, atol=1e-3)
        assert (result[:3] == 0).all()

    def test_scanners_with_other_gains_come_out_alike(self) -> None:
        transform = build("histogram-standardization")
        transform.fit([scan(head(0)), scan(head(1))])
        np.testing.assert_allclose(values(transform(scan(head(5)))), values(transform(scan(head(5) * 40))), atol=1e-3)

    def test_channels_are_learnt_apart(self) -> None:
        both, alone = (build("histogram-standardization") for _ in range(2))
        both.fit([scan(np.stack([head(0), head(1, 50)])), scan(np.stack([head(2), head(3, 50)]))])
        alone.fit([scan(head(1, 50)), scan(head(3, 50))])
        np.testing.assert_array_equal(both.landmarks[1], alone.landmarks[0])

    def test_what_cannot_be_learnt_or_applied(self) -> None:
        transform = build("histogram-standardization")
        with pytest.raises(InputError, match="first"):
            transform(scan(head(0)))
        with pytest.raises(InputError, match=r"^sub-7: .*everywhere"):
            transform.fit([scan(head(0)), scan(np.zeros((3, 3, 3), np.float32), subject_id="sub-7")])
        with pytest.raises(InputError, match=r"sub-8.*same value"):
            transform.fit([scan(np.eye(9, dtype=np.float32)[None], subject_id="sub-8")])
        with pytest.raises(InputError, match=r"\[1, 2\] channels"):
            transform.fit([scan(head(0)), scan(np.stack([head(0), head(1)]))])
        with pytest.raises(InputError, match="no scan"):
            transform.fit([])
        transform.fit([scan(head(0))])
        with pytest.raises(InputError, match="2 channels"):
            transform(scan(np.stack([head(0), head(1)])))
        with pytest.raises(ConfigError, match="outside of the deciles"):
            build("histogram-standardization", cutoff=[15, 99])


class TestSmooth:
    def test_without_background_it_is_nilearns(self) -> None:
        data = np.zeros((31, 31, 31), dtype=np.float32)
        data[10:20, 12:18, 14:16] = np.random.default_rng(0).random((10, 6, 2))
        affine = np.diag([2.0, 1.5, 3.0, 1.0])
        ours = values(build("smooth", fwhm=[5, 4, 6], keep_background=False)(scan(data, affine)))
        theirs = np.asarray(smooth_img(Nifti1Image(data, affine), [5, 4, 6]).dataobj)
        inner = (slice(8, -8),) * 3
        np.testing.assert_allclose(ours[inner], theirs[inner], atol=2e-5)

    def test_a_flat_brain_stays_flat_up_to_its_edge(self) -> None:
        data = np.zeros((20, 20, 20), dtype=np.float32)
        data[4:15, 5:16, 3:12] = 7
        smooth = values(build("smooth", fwhm=8)(scan(data)))
        np.testing.assert_allclose(smooth, data, rtol=1e-6)
        assert (smooth[data == 0] == 0).all()

    def test_inside_it_is_the_weighted_mean_of_the_brain(self) -> None:
        data = np.zeros((15, 1, 1), dtype=np.float32)
        data[4:11, 0, 0] = [3, 1, 4, 1, 5, 9, 2]
        found = values(build("smooth", fwhm=4)(scan(data))).ravel()
        sigma = 4 / np.sqrt(8 * np.log(2))
        for voxel in range(4, 11):
            weights = np.exp(-((np.arange(4, 11) - voxel) ** 2) / (2 * sigma**2))
            assert found[voxel] == pytest.approx((weights * data[4:11, 0, 0]).sum() / weights.sum(), rel=1e-4)


class TestShift:
    def test_voxels_move_whole_and_zeros_come_in(self) -> None:
        data = head(0)
        affine = np.diag([2.0, 3, 4, 1])
        label = tio.LabelMap(tensor=torch.from_numpy((data > 100).astype(np.uint8))[None], affine=affine)
        subject = scan(data, affine, ground_truth=label)
        shift = build("random-shift", max_shift=[3, 0, 20])
        assert isinstance(shift, tio.transforms.augmentation.RandomTransform)
        seen = set()
        for seed in range(40):
            torch.manual_seed(seed)
            moved = shift(subject)
            dx, dy, dz = moved.history[-1].voxels
            seen.add((dx, dy, dz))
            padded = np.pad(data, 20)
            expected = padded[20 - dx : 32 - dx, 20 - dy : 33 - dy, 20 - dz : 34 - dz]
            np.testing.assert_array_equal(values(moved), expected)
            np.testing.assert_array_equal(moved["ground_truth"].data[0].numpy(), expected > 100)
            np.testing.assert_array_equal(moved["image"].affine, affine)
        assert {dx for dx, _, _ in seen} == set(range(-3, 4))
        assert {dy for _, dy, _ in seen} == {0}
        assert max(dz for *_, dz in seen) > 14, "also beyond the volume"


class TestFlip:
    @pytest.mark.parametrize(
        ("affine", "axis"), [(np.eye(4), 0), (np.eye(4)[[1, 2, 0, 3]], 1), (np.eye(4)[[2, 0, 1, 3]], 2)]
    )
    def test_left_right_is_the_patients_whatever_the_order_of_the_axes(self, affine: Array, axis: int) -> None:
        data = head(0)
        flipped = build("random-flip", flip_probability=1)(scan(data, affine))
        np.testing.assert_array_equal(values(flipped), np.flip(data, axis))

    def test_by_number(self) -> None:
        data = head(0)
        flipped = build("random-flip", axes=[1, 2], flip_probability=1)(scan(data))
        np.testing.assert_array_equal(values(flipped), data[:, ::-1, ::-1])
        with pytest.raises(ConfigError, match="not both"):
            build("random-flip", axes=[1, "left-right"])
