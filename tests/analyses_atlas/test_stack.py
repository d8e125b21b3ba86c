"""Tables of maps on disk against the maps themselves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_analyses_atlas._grids import Grid, mni_grid
from xai_analyses_atlas._stack import filled, stack_maps
from xai_core import InputError
from xai_core.engine.results import RunResults

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
MIRROR = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LAS = RAS @ MIRROR


def person(number: int, **more: Any) -> dict[str, Any]:
    relevance = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    return {"scan": f"sub-{number}", "target": "CN", "prediction": "CN", "map": relevance, **more}


def test_rows_are_the_maps_within_the_mask(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    people = [person(1), person(2), person(3)]
    mask = np.random.default_rng(0).random(SHAPE) > 0.6
    grid = Grid(SHAPE, RAS)
    records = make_run(people).maps("lrp")
    stack = stack_maps(records, mask, grid, tmp_path, resample=False, mni=True)
    assert stack.values.dtype == np.float32
    assert [record.scan_id for record in stack.records] == ["sub-1", "sub-2", "sub-3"]
    for row, one in zip(stack.values, people, strict=True):
        assert np.array_equal(row, one["map"][mask])
        assert np.array_equal(stack.volume(row), np.where(mask, one["map"], 0))
    assert np.isnan(stack.volume(stack.values[0], outside=np.nan)[~mask]).all()


def test_chunks_hold_every_voxel_once(tmp_path: Path) -> None:
    mask = np.ones((3, 5, 7), dtype=bool)
    values = np.random.default_rng(0).normal(size=(4, 105)).astype(np.float32)
    stack = filled(iter(values), 4, mask, Grid((3, 5, 7), np.eye(4)), tmp_path)
    parts = list(stack.chunks(most_bytes=8 * 4 * 10))
    assert [part.stop - part.start for part, _ in parts] == [10] * 10 + [5]
    assert all(chunk.dtype == np.float64 for _, chunk in parts)
    assert np.array_equal(np.hstack([chunk for _, chunk in parts]), values.astype(np.float64))


def test_fewer_rows_than_room_give_as_many_rows(tmp_path: Path) -> None:
    mask = np.ones((2, 2, 2), dtype=bool)
    stack = filled(iter([np.arange(8.0)]), 3, mask, Grid((2, 2, 2), np.eye(4)), tmp_path)
    assert stack.values.shape == (1, 8)
    assert list(tmp_path.iterdir())
    stack.delete()
    assert not list(tmp_path.iterdir())


def test_flipped_axes_come_out_in_the_same_place(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    one = person(1)
    flipped = person(1, scan="sub-2", map=one["map"][::-1], affine=LAS)
    stack = stack_maps(make_run([one, flipped]).maps("lrp"), None, None, tmp_path, resample=False, mni=True)
    assert stack.values.shape == (2, int(np.prod(SHAPE)))
    assert np.array_equal(stack.values[0], stack.values[1])


def test_another_grid_is_refused_or_resampled(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    moved = RAS.copy()
    moved[0, 3] += 2
    records = make_run([person(1), person(2, affine=moved)]).maps("lrp")
    with pytest.raises(InputError, match="another grid"):
        stack_maps(records, None, None, tmp_path, resample=False, mni=True)
    grid = mni_grid(4)
    stack = stack_maps(records, None, grid, tmp_path, resample=True, mni=True)
    # Two mm off a grid of 4 mm: every value is the mean of two neighbours along x.
    found = stack.volume(stack.values[1])
    index = np.round(np.linalg.inv(grid.affine) @ moved @ [5, 6, 4, 1]).astype(int)[:3]
    place = grid.affine @ [*index, 1]
    back = np.linalg.inv(moved) @ place
    expected = np.interp(back[0], np.arange(11), person(2)["map"][:, round(back[1]), round(back[2])])
    assert found[tuple(index)] == pytest.approx(expected, rel=1e-5)


def test_a_mask_must_fit_and_hold_something(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    records = make_run([person(1)]).maps("lrp")
    with pytest.raises(InputError, match=r"mask has the shape \(2, 2, 2\)"):
        stack_maps(records, np.ones((2, 2, 2), bool), None, tmp_path, resample=False, mni=True)
    with pytest.raises(InputError, match="no voxel"):
        stack_maps(records, np.zeros(SHAPE, bool), None, tmp_path, resample=False, mni=True)


def test_nan_is_refused(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    broken = person(1)
    broken["map"][0, 0, 0] = np.nan
    broken["image"] = np.ones(SHAPE)
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        stack_maps(make_run([broken]).maps("lrp"), None, None, tmp_path, resample=False, mni=True)


def test_memory_does_not_grow_with_people(tmp_path: Path) -> None:
    mask = np.ones((40, 40, 40), dtype=bool)
    grid = Grid((40, 40, 40), np.eye(4))
    row = np.zeros(64000)

    def peak(people: int) -> int:
        tracemalloc.start()
        filled((row for _ in range(people)), people, mask, grid, tmp_path)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(2), peak(100)
    assert many < few + 200_000, (few, many)  # 98 maps more are 25 MB


def test_channels_are_added_up(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    run = make_run([person(1)])
    record = run.maps("lrp")[0]
    both = np.random.default_rng(5).normal(size=(*SHAPE, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(both, RAS), record.path)
    stack = stack_maps([record], None, None, tmp_path, resample=False, mni=True)
    np.testing.assert_allclose(stack.volume(stack.values[0]), both.astype(np.float64).sum(axis=3), rtol=1e-6)
