"""crop-to-brain: the box, its exact reverse, and what it says of people whose brain reaches beyond."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchio as tio

from xai_core import InputError, registry
from xai_core.engine.spatial import check_geometry, to_scan_grid
from xai_datasets_mri._box import cohort_box

Array = npt.NDArray[Any]

# Oblique, permuted, flipped: as scanners give it.
AFFINE = np.array([[-1.2, 0.03, 0.02, 95.0], [0.02, 0.05, 2.5, -130.0], [0.03, -1.0, 0.06, 110.0], [0, 0, 0, 1]])


def person(low: Sequence[int], high: Sequence[int], *, name: str = "sub-1", channels: int = 1) -> tio.Subject:
    """A scan of 20 x 24 x 22 voxels that is not 0 from ``low`` to before ``high`` only, with a mask and a map."""
    data = torch.zeros(channels, 20, 24, 22)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    data[(slice(None), *box)] = torch.rand(data[(slice(None), *box)].shape) + 0.5
    return tio.Subject(
        image=tio.ScalarImage(tensor=data, affine=AFFINE),
        ground_truth=tio.LabelMap(tensor=(data[:1] > 1).to(torch.uint8), affine=AFFINE),
        fa=tio.ScalarImage(tensor=data[:1] * 3, affine=AFFINE),
        subject_id=name,
    )


def fitted(*subjects: tio.Subject, **params: Any) -> Any:
    transform: Any = registry.create("transform", "crop-to-brain", **params).build()
    transform.fit(subjects)
    return transform


def test_the_box_holds_everybody_of_the_training_part_and_no_more() -> None:
    crop = fitted(person((5, 6, 7), (9, 12, 15)), person((4, 8, 9), (8, 18, 11)), margin=0)
    assert crop.box == [[4, 6, 7], [9, 18, 15]]
    assert fitted(person((5, 6, 7), (9, 12, 15)), margin=3).box == [[2, 3, 4], [12, 15, 18]]
    assert fitted(person((1, 0, 7), (20, 12, 15)), margin=3).box == [[0, 0, 4], [20, 15, 18]]


@pytest.mark.parametrize(
    ("low", "high", "multiples", "expected"),
    [
        ((4, 4, 4), (9, 9, 9), 4, ((3, 3, 3), (11, 11, 11))),  # 5 becomes 8: one more below, two above
        ((0, 0, 0), (5, 5, 5), 4, ((0, 0, 0), (8, 8, 8))),  # at the border: all of it above
        ((7, 7, 7), (12, 12, 12), 4, ((4, 4, 4), (12, 12, 12))),  # the same at the other
        ((0, 0, 0), (12, 12, 12), 8, ((-2, -2, -2), (14, 14, 14))),  # 16 of 12: beyond the grid
        ((4, 4, 4), (9, 9, 9), (1, 5, 6), ((4, 4, 4), (9, 9, 10))),
    ],
)
def test_sides_are_multiples(low: Any, high: Any, multiples: Any, expected: Any) -> None:
    box = cohort_box(np.array(low), np.array(high), np.array((12, 12, 12)), 0, np.broadcast_to(multiples, (3,)))
    assert [corner.tolist() for corner in box] == [list(corner) for corner in expected]


@pytest.mark.parametrize("multiple_of", [1, 8, [32, 1, 5]])
def test_relevance_returns_bit_for_bit(multiple_of: Any) -> None:
    subject = person((5, 6, 7), (9, 12, 15), channels=2)
    crop = fitted(subject, multiple_of=multiple_of)
    cropped = crop(subject)
    image = cropped["image"]
    assert (np.array(image.spatial_shape) % multiple_of == 0).all()
    generator = np.random.default_rng(0)
    relevance = generator.normal(size=image.shape).astype(np.float32)
    returned = to_scan_grid(relevance, image.affine, (20, 24, 22), AFFINE)
    (a, b, c), (d, e, f) = np.maximum(crop.box[0], 0), np.minimum(crop.box[1], (20, 24, 22))
    start = np.maximum(-np.array(crop.box[0]), 0)
    stop = start + np.array((d - a, e - b, f - c))
    inner = relevance[:, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    expected = np.zeros((2, 20, 24, 22), np.float32)
    expected[:, a:d, b:e, c:f] = inner
    assert np.array_equal(returned, expected)
    check_geometry(subject, crop)


def test_masks_and_maps_are_cropped_alike_and_the_background_beyond_the_grid_is_zero() -> None:
    subject = person((5, 6, 7), (9, 12, 15))
    crop = fitted(subject, multiple_of=32)
    cropped = crop(subject)
    for name in ("image", "ground_truth", "fa"):
        assert cropped[name].shape == (1, 32, 32, 32)
        assert np.array_equal(cropped[name].affine, cropped["image"].affine)
        assert cropped[name].data.dtype == subject[name].data.dtype
        assert float(cropped[name].data.double().sum()) == pytest.approx(float(subject[name].data.double().sum()))
    assert torch.equal(cropped["fa"].data, cropped["image"].data * 3)


def test_a_map_on_another_grid_stays_as_it_is() -> None:
    subject = person((5, 6, 7), (9, 12, 15))
    other = tio.ScalarImage(tensor=torch.rand(1, 6, 7, 8), affine=np.diag([4.0, 4, 4, 1]))
    subject.add_image(other, "pvs")
    cropped = fitted(subject)(subject)["pvs"]
    assert torch.equal(cropped.data, other.data)
    assert np.array_equal(cropped.affine, other.affine)


def test_a_brain_beyond_the_box_is_told_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    crop = fitted(person((5, 6, 7), (9, 12, 15)), margin=0)
    with caplog.at_level(logging.WARNING, "xai"):
        crop(person((5, 6, 7), (9, 12, 15)))
        assert not caplog.messages
        for _ in range(2):
            crop(person((5, 6, 7), (10, 12, 15), name="sub-wide"))
    (message,) = caplog.messages
    assert "sub-wide" in message
    assert f"{6 * 8} of {5 * 6 * 8} voxels" in message
    assert "20 %" in message


def test_nothing_to_crop_is_told(caplog: pytest.LogCaptureFixture) -> None:
    crop = fitted(person((0, 0, 0), (20, 24, 22)))
    assert crop.box == [[0, 0, 0], [20, 24, 22]]
    assert "brain-extraction" in caplog.text


def test_scans_that_cannot_share_a_box() -> None:
    one, other = person((5, 6, 7), (9, 12, 15)), person((5, 6, 7), (9, 12, 15), name="sub-2")
    other["image"].affine = np.diag([1.2, 2.5, 1, 1])
    with pytest.raises(InputError, match=r"grids of 2 kinds .*20 x 24 x 22 voxels, LIA.*20 x 24 x 22 voxels, RAS"):
        fitted(one, other)
    with pytest.raises(InputError, match="one grid first"):
        fitted(one)(other)
    with pytest.raises(InputError, match=r"^sub-3: .* is 0 everywhere"):
        fitted(one, person((5, 6, 7), (5, 6, 7), name="sub-3"))
    with pytest.raises(InputError, match="no scan to learn from"):
        fitted()
    with pytest.raises(InputError, match=r"call fit\(subjects\) first"):
        registry.create("transform", "crop-to-brain").build()(one)
    with pytest.raises(InputError, match="Train anew"):
        fitted(one).load_state_dict({"mean": 1})
