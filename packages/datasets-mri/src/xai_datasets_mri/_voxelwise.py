"""Weighted sums over the scans of many people, voxel by voxel: one scan in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio

from xai_core.engine.progress import track
from xai_core.errors import InputError

from ._scan import input_image

__all__ = ["BLOCK", "Grid", "about", "blocks", "changes", "weighted_sums"]

Array = npt.NDArray[np.float64]

BLOCK = 1 << 18
"""Voxels that are computed with at once in float64; bounds what is needed besides the results."""

_SAME_PLACE = 0.1  # of a voxel's smallest edge


@dataclass(frozen=True)
class Grid:
    """The grid of the scans of a fit: a voxel must show the same place in everybody.

    Attributes:
        shape: (C, D, H, W).
        affine: Voxel to world (mm) [4, 4].
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]

    @classmethod
    def of(cls, image: tio.Image) -> Grid:
        """Return an image's grid."""
        return cls(tuple(image.shape), np.asarray(image.affine, dtype=np.float64))

    def check(self, image: tio.Image, whose: str) -> None:
        """Refuse an image on another grid.

        Raises:
            InputError: Its shape or its place differs.
        """
        if tuple(image.shape) == self.shape and self._distance(image) <= self._tolerance():
            return
        raise InputError(
            f"{whose}a voxel-wise model needs every scan on one grid, and this one has {_text(Grid.of(image))}, not "
            f"{_text(self)}. Put a transform that gives one grid (mni-grid, say) before it; the scans must be "
            "registered to each other."
        )

    def _distance(self, image: tio.Image) -> float:
        ends = [(0, n) for n in self.shape[1:]]
        corners = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]])
        moved = corners @ (np.asarray(image.affine) - self.affine).T
        return float(np.linalg.norm(moved, axis=1).max())

    def _tolerance(self) -> float:
        return _SAME_PLACE * float(np.linalg.norm(self.affine[:3, :3], axis=0).min())

    def state(self) -> dict[str, Any]:
        """Return numbers and a tensor from which ``restored`` makes the same."""
        return {"shape": list(self.shape), "affine": torch.from_numpy(self.affine.copy())}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Grid:
        """Return what ``state`` told."""
        return cls(tuple(state["shape"]), state["affine"].numpy())


def _text(grid: Grid) -> str:
    sizes = " x ".join(map(str, grid.shape[1:]))
    corner = ", ".join(f"{x:.1f}" for x in grid.affine[:3, 3])
    return f"{sizes} voxels from ({corner}) mm" + (f" in {grid.shape[0]} channels" if grid.shape[0] > 1 else "")


def about(subjects: Sequence[tio.Subject]) -> list[Mapping[str, Any]]:
    """Return what is known of each scan besides its images; the core's sequence tells it without reading them."""
    known = getattr(subjects, "about", None)
    if known is not None:
        return list(known)
    return [{k: v for k, v in s.items() if not isinstance(v, tio.Image)} for s in subjects]


def blocks(count: int) -> Iterator[slice]:
    """Yield slices over ``count`` voxels, each of at most ``BLOCK``."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def changes(
    subjects: Sequence[tio.Subject], people: Sequence[int], what: str
) -> Iterator[tuple[int, Callable[[slice], Array], Grid]]:
    """Yield the scans of some people as their difference from the first one's, one in memory at a time.

    A difference keeps float64 exact where it matters: a voxel that is the same in everybody gives exactly 0.

    Args:
        subjects: Prepared scans, each made when it is asked for.
        people: Positions of the wanted ones.
        what: What is done, for the progress.

    Yields:
        The number in ``people`` (from 0), a function that gives the differences in a slice of the flattened scan, and
        the grid.

    Raises:
        InputError: The scans are on different grids.
    """
    first: npt.NDArray[Any] | None = None
    grid: Grid | None = None
    for number, position in enumerate(_tracked(people, what)):
        subject = subjects[position]
        image = input_image(subject)
        values = image.data.reshape(-1).numpy()
        if first is None or grid is None:
            first, grid = values.copy(), Grid.of(image)
        grid.check(image, f"{subject.get('subject_id', 'a scan')}: ")
        yield number, _difference(values, first), grid


def _difference(values: npt.NDArray[Any], first: npt.NDArray[Any]) -> Callable[[slice], Array]:
    return lambda part: values[part].astype(np.float64) - first[part].astype(np.float64)


def _tracked(people: Sequence[int], what: str) -> Iterable[int]:
    return track(people, what)


def weighted_sums(
    subjects: Sequence[tio.Subject], people: Sequence[int], weights: Array, what: str
) -> tuple[Array, npt.NDArray[np.bool_], Grid]:
    """Return sums over people of their scans' differences from the first one's scan.

    Memory: one scan and the result, whatever the number of people.

    Args:
        subjects: Prepared scans.
        people: Positions of those who count.
        weights: Of each sum and person [sums, people].
        what: What is done, for the progress.

    Returns:
        The sums [sums, V] over the flattened scan (C * D * H * W = V), whether a voxel differs between any two
        people [V], and the grid.
    """
    sums: Array | None = None
    varies: npt.NDArray[np.bool_] | None = None
    found: Grid | None = None
    for number, difference, grid in changes(subjects, people, what):
        count = int(np.prod(grid.shape))
        if sums is None or varies is None:
            sums, varies, found = np.zeros((len(weights), count)), np.zeros(count, dtype=bool), grid
        for part in blocks(count):
            values = difference(part)
            varies[part] |= values != 0
            for row, weight in enumerate(weights[:, number]):
                sums[row, part] += weight * values
    assert sums is not None  # there are people: see ``check_design``
    assert varies is not None
    assert found is not None
    return sums, varies, found
