"""Which outputs a change reaches and which inputs a box reads, against the definition, output by output."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xai_explainers_gradcam._occlusion_geometry import Boxes, Extent, Stencil, boxes_around, union

CASES = list(itertools.product((1, 2, 3, 5), (1, 2, 3), (-1, 0, 2)))


def extent(*bounds: tuple[int, int]) -> Extent:
    """Return extents that are the same along the three axes."""
    first, last = np.asarray(bounds, np.int64).T
    return Extent(np.stack([first] * 3, 1), np.stack([last] * 3, 1))


@pytest.mark.parametrize(("reach", "stride", "padding"), CASES)
def test_affected_outputs_and_inputs_read_are_those_of_the_definition(reach: int, stride: int, padding: int) -> None:
    size, grid = 11, (11 + 2 * padding - reach) // stride + 1
    stencil = Stencil((reach,) * 3, (stride,) * 3, (padding,) * 3)
    reads = [set(range(o * stride - padding, o * stride - padding + reach)) for o in range(grid)]
    bounds = [(a, b) for a in range(size) for b in range(a + 1, size + 1)]
    found = stencil.affected(extent(*bounds), (grid,) * 3)
    for row, (a, b) in enumerate(bounds):
        expected = [o for o in range(grid) if reads[o] & set(range(a, b))]
        first, last = int(found.first[row, 0]), int(found.last[row, 0])
        assert list(range(first, last)) == expected, (a, b)
    for first, width in ((0, 1), (1, grid - 1)):
        read = stencil.read(Boxes(np.full((1, 3), first), (width,) * 3))
        expected_inputs = set().union(*reads[first : first + width])
        start = int(read.start[0, 1])
        assert (start, start + read.size[1] - 1) == (min(expected_inputs), max(expected_inputs))


def test_boxes_have_one_size_hold_the_extents_and_stay_inside() -> None:
    boxes = boxes_around(extent((0, 2), (3, 8), (7, 9)), (9, 9, 9))
    assert boxes.size == (5, 5, 5)
    assert boxes.start[:, 0].tolist() == [0, 3, 4]


def test_what_reaches_nothing_stays_so_and_adds_nothing() -> None:
    stencil = Stencil((1, 1, 1), (4, 4, 4), (0, 0, 0))
    nothing = stencil.affected(extent((1, 4), (3, 6)), (3, 3, 3))
    again = stencil.affected(nothing, (1, 1, 1))
    for found in (nothing, again):
        assert bool((found.last[0] <= found.first[0]).all())
    joined = union([nothing, extent((2, 3), (0, 1))])
    assert (joined.first[:, 0].tolist(), joined.last[:, 0].tolist()) == ([2, 0], [3, 2])
    box = boxes_around(Extent(nothing.first[:1], nothing.last[:1]), (3, 3, 3))
    assert (box.size, box.start.tolist()) == ((1, 1, 1), [[2, 2, 2]])  # any one will do
