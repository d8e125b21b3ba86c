"""Whether the head of a scan lies where the atlas does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .._grids import BRAIN_BOX

if TYPE_CHECKING:
    from .._atlases import Placed
    from .._grids import Grid

__all__ = ["FEW", "LEAST_IN_HEAD", "Head", "HeadCheck", "share_in_view"]

Array = npt.NDArray[Any]

# Of the atlas' part in the field of view: a scan whose head holds less lies elsewhere. Registered brains hold 0.84 and
# more, whole heads nearly all; a brain without skull that lies 30 mm aside 0.7, 60 mm aside 0.5.
LEAST_IN_HEAD = 0.6
FEW = 0.8
# mm by which a head may reach beyond the brain's box (skin, hair), or stay within it (atrophy, a narrow mask), and by
# which its middle may lie aside.
_BEYOND, _WITHIN, _ASIDE = 40.0, -20.0, 16.0
_COARSE = 4.0  # mm
_HALF_A_BRAIN, _WHOLE_BRAIN = 3e5, 6e5  # mm3, of small ones


@dataclass(frozen=True)
class Head:
    """How the head of a scan lies.

    Attributes:
        share: Of the atlas' part in the field of view that lies within it, 0..1.
        aside: In plain words what is wrong with its place, or None.
    """

    share: float
    aside: str | None


class HeadCheck:
    """Looks whether the head of a scan lies over an atlas.

    The head is where the scan differs from its background (the median over the faces of the field of view) by more than
    a tenth of the 99th percentile, with gaps up to about 16 mm closed and holes of axial slices filled: grey-matter
    maps have them. Its left, right, back and upper ends are compared with those of the brain: the box of the MNI brain,
    or that of an atlas in another space where it is as large as a brain. Ends that the field of view cuts are not, nor
    is what is smaller than a brain, such as a scan that was masked.

    Args:
        placed: The atlas on the grid of the scans.
        mni: Whether the atlas lies in MNI space.
    """

    def __init__(self, placed: Placed, *, mni: bool) -> None:
        sizes = zip(placed.grid.spacing, placed.grid.shape, strict=True)
        self._steps = [min(max(1, round(_COARSE / size)), n) for size, n in sizes]
        self._grid, self._voxel = placed.grid, placed.voxel_volume
        cells = tuple(len(range(step // 2, n, step)) for step, n in zip(self._steps, placed.grid.shape, strict=True))
        places = np.unravel_index(placed.entries.voxels, placed.grid.shape)
        coarse = tuple(np.minimum(p // s, n - 1) for p, s, n in zip(places, self._steps, cells, strict=True))
        weights = np.bincount(
            np.ravel_multi_index(coarse, cells), placed.entries.weights, minlength=int(np.prod(cells))
        )
        self._weights = weights.astype(np.float64).reshape(cells)
        self._box: Array | None = np.asarray(BRAIN_BOX) if mni else None
        if not mni and placed.sizes.sum() * placed.voxel_volume > _WHOLE_BRAIN:
            self._box = self._ends(self._weights > 0)

    def of(self, scan: Array) -> Head | None:
        """Return how the head lies; None: no head is to be seen.

        That is a scan that is constant, or differs from its background in less than half the volume of a small brain.

        Args:
            scan: [D, H, W].
        """
        coarse = scan[tuple(slice(step // 2, None, step) for step in self._steps)]
        head = _head(np.asarray(coarse, dtype=np.float32), int(np.abs(self._grid.affine[2, :3]).argmax()))
        if head is None or self._volume(head) < _HALF_A_BRAIN:
            return None
        return Head(float(self._weights[head].sum()) / float(self._weights.sum()), self._aside(head))

    def _volume(self, head: npt.NDArray[np.bool_]) -> float:
        return float(head.sum() * np.prod(self._steps) * self._voxel)

    def _ends(self, inside: npt.NDArray[np.bool_]) -> Array:
        """Return the lowest and the highest x, y and z of coarse voxels in mm, but for a thousandth: [2, 3]."""
        places = np.argwhere(inside) * self._steps + np.asarray(self._steps) // 2
        world = places @ self._grid.affine[:3, :3].T + self._grid.affine[:3, 3]
        return np.asarray(np.quantile(world, [0.001, 0.999], axis=0))

    def _aside(self, head: npt.NDArray[np.bool_]) -> str | None:
        if self._box is None:
            return None
        parts, count = ndimage.label(head)
        largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()) if count > 1 else head
        if self._volume(largest) < _WHOLE_BRAIN:
            return None
        ends, cut = self._ends(largest), _cut_sides(largest, self._grid)
        beyond = {
            "left": self._box[0, 0] - ends[0, 0], "right": ends[1, 0] - self._box[1, 0],
            "back": self._box[0, 1] - ends[0, 1], "top": ends[1, 2] - self._box[1, 2],
        }  # fmt: skip
        seen = {side: float(by) for side, by in beyond.items() if side not in cut}
        if {"left", "right"} <= set(seen) and abs(seen["left"] - seen["right"]) / 2 > _ASIDE:
            return f"its middle lies {abs(seen['left'] - seen['right']) / 2:.0f} mm aside of the brain's"
        wrong = [f"{by:.0f} mm beyond it at the {side}" if by > 0 else f"{-by:.0f} mm short of it at the {side}"
                 for side, by in seen.items() if side in ("back", "top") and not _WITHIN <= by <= _BEYOND]  # fmt: skip
        return f"against the brain it ends {' and '.join(wrong)}" if wrong else None


def share_in_view(placed: Placed) -> float:
    """Return which share of the atlas' volume lies in the field of view, 0..1."""
    entries = placed.entries
    return min(float(np.nansum(entries.kept * entries.volumes) / entries.volumes.sum()), 1.0)


def _head(scan: Array, upwards: int) -> npt.NDArray[np.bool_] | None:
    faces = np.concatenate([np.take(scan, end, axis).ravel() for axis in range(3) for end in (0, -1)])
    away = np.abs(np.nan_to_num(scan) - np.float32(np.nan_to_num(np.nanmedian(faces))))
    there = away > 0.1 * float(np.percentile(away, 99))
    if not there.any():
        return None
    padded = np.pad(there, 3)
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=2), _in_slices(upwards))
    head: npt.NDArray[np.bool_] = closed[3:-3, 3:-3, 3:-3]
    return head


def _in_slices(axis: int) -> npt.NDArray[np.bool_]:
    """Return neighbours within slices across an axis: white matter is no hole of the whole, it goes on below."""
    cross: npt.NDArray[np.bool_] = ndimage.generate_binary_structure(3, 1)
    cross[tuple(slice(None, None, 2) if n == axis else 1 for n in range(3))] = False
    return cross


def _cut_sides(head: npt.NDArray[np.bool_], grid: Grid) -> set[str]:
    """Return the sides (of those that are looked at) on which the field of view cuts the head."""
    names = {(0, -1): "left", (0, 1): "right", (1, -1): "back", (2, 1): "top"}
    found = set()
    for axis in range(3):
        direction = grid.affine[:3, axis]
        along = int(np.abs(direction).argmax())
        for end, sign in ((0, -1), (-1, 1)):
            if np.take(head, end, axis).mean() > 0.02:
                found.add(names.get((along, int(sign * np.sign(direction[along]))), ""))
    return found
