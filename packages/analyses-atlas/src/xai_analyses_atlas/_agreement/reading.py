"""Maps of one person in memory, on one grid, within the brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid, mni_grid, resampled_labels, same_grid
from .._maps import read_image
from .._mean import relevance_on
from .index import Explained
from .similarity import Prepared, prepared, signed

if TYPE_CHECKING:
    from ..agreement import Agreement

__all__ = ["Brain", "Loaded", "Person", "load_person", "mask_file", "totals"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Loaded:
    """A map of a person.

    Attributes:
        about: Which one.
        prepared: Within the brain, for comparisons.
        totals: Of the whole field of view: see ``totals``.
    """

    about: Explained
    prepared: Prepared
    totals: dict[str, float]


@dataclass(frozen=True)
class Person:
    """The maps of one person.

    Attributes:
        subject_id: Who.
        maps: On ``grid`` within ``mask``.
        grid: Of the person's first map, or the common one.
        voxels: Of the brain.
        common: Whether the mask is that of the space, not this person's own: then others can be compared with.
    """

    subject_id: str
    maps: list[Loaded]
    grid: Grid
    voxels: int
    common: bool


class Brain:
    """Which voxels of a grid count.

    Args:
        mask: File; where it is not zero. None: nilearn's MNI brain, or None where the scans share another space.
        mni: Whether they are in MNI space.
    """

    def __init__(self, mask: str | None, *, mni: bool) -> None:
        self.mask, self.mni = mask, mni
        self._last: tuple[Grid, Mask | None] | None = None

    def on(self, grid: Grid) -> Mask | None:
        """Return bool [D, H, W], by the nearest voxel; None: nothing is known of the brain.

        Raises:
            InputError: The mask cannot be read, or has no voxel on the grid.
        """
        if self._last is None or not same_grid(self._last[0], grid):
            self._last = (grid, self._found(grid))
        return self._last[1]

    def _found(self, grid: Grid) -> Mask | None:
        if self.mask is None and not self.mni:
            return None
        data, of_mask = _mni_brain() if self.mask is None else mask_file(self.mask)
        found: Mask = resampled_labels(data.astype(np.uint8), of_mask, grid).astype(bool)
        if not found.any():
            what = "The MNI brain" if self.mask is None else f"mask: {self.mask}"
            raise InputError(f"{what} has no voxel on the grid of the maps: {grid}. Are they in the same space?")
        return found


def load_person(subject: str, maps: Sequence[Explained], brain: Brain, options: Agreement) -> Person:
    """Read all maps of a person.

    Raises:
        InputError: One cannot be read, is not finite, or lies on another grid than the first (``resample`` helps).
    """
    mni = options.space == "mni"
    grid = mni_grid(options.spacing) if options.resample else None
    mask: Mask | None = None
    loaded: list[Loaded] = []
    volumes: list[tuple[Explained, Array]] = []
    for each in maps:
        volume, grid = relevance_on(each.record, grid, resample=options.resample, mni=mni)
        mask = brain.on(grid)
        if mask is None:
            volumes.append((each, volume))
        else:
            loaded.append(_loaded(each, volume, mask, options))
    if grid is None:
        raise ValueError("maps is empty")
    if mask is not None:
        return Person(subject, loaded, grid, int(np.count_nonzero(mask)), common=True)
    inside = _anywhere([volume for _each, volume in volumes])
    loaded = [_loaded(each, volume, inside, options) for each, volume in volumes]
    return Person(subject, loaded, grid, int(np.count_nonzero(inside)), common=False)


def _loaded(each: Explained, volume: Array, inside: Mask, options: Agreement) -> Loaded:
    return Loaded(each, prepared(signed(volume[inside], options.sign), options.top), totals(volume))


def totals(volume: Array) -> dict[str, float]:
    """Return ``sum``, ``absolute`` (sum of sizes) and ``positive_share`` (of the sizes; NaN of a zero map)."""
    absolute = float(np.abs(volume).sum())
    positive = float(volume[volume > 0].sum())
    return {
        "sum": float(volume.sum()), "absolute": absolute,
        "positive_share": positive / absolute if absolute > 0 else float("nan"),
    }  # fmt: skip


def _anywhere(volumes: Sequence[Array]) -> Mask:
    """Where any of the maps is not zero: background would agree with background."""
    found = np.zeros(volumes[0].shape, dtype=bool)
    for volume in volumes:
        found |= volume != 0
    return found if found.any() else np.ones_like(found)


@lru_cache(maxsize=1)
def _mni_brain() -> tuple[npt.NDArray[Any], Grid]:
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=1)
    data = np.asarray(image.dataobj) != 0
    return data, Grid((data.shape[0], data.shape[1], data.shape[2]), np.asarray(image.affine, dtype=np.float64))


@lru_cache(maxsize=1)
def mask_file(path: str) -> tuple[npt.NDArray[Any], Grid]:
    """Return bool [D, H, W] and the grid of a mask.

    Raises:
        InputError: It cannot be read, or is no mask.
    """
    data, grid = read_image(Path(path))
    if data.ndim != 3 or not np.isfinite(data).all() or not data.any():
        raise InputError(f"mask: {path} is no mask: one finite volume is needed that is not zero somewhere.")
    return data != 0, grid
