"""Two maps brought together: on one grid, within one mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from ._grids import Grid, resampled, resampled_labels, same_grid, turned_like
from ._maps import LoadedMap, load_map, require_finite

__all__ = ["Pair", "labels_on", "pair_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """Two maps on one grid.

    Attributes:
        first: A, float64, its values outside of the mask 0.
        second: B, likewise.
        inside: Which voxels are compared, bool of the shape of a volume; None: all.
        grid: Where the voxels lie; None where neither file has an affine.
        names: Of A and B.
        notes: What the user should know.
    """

    first: Array
    second: Array
    inside: npt.NDArray[np.bool_] | None
    grid: Grid | None
    names: tuple[str, str]
    notes: list[str] = field(default_factory=list)

    def values(self) -> tuple[Array, Array]:
        """Return the values that are compared, [N] or with channels [N, C]."""
        if self.inside is None:
            return self.first, self.second
        return self.first[self.inside], self.second[self.inside]

    def volumes(self, what: str) -> tuple[Array, Array]:
        """Return both maps as [D, H, W], channels of a NIfTI file added up.

        Raises:
            InputError: They are no volumes.
        """
        if self.first.ndim == 4 and self.grid is not None:
            return self.first.sum(axis=3), self.second.sum(axis=3)
        if self.first.ndim != 3:
            raise InputError(f"{what} needs volumes of three dimensions; {self.names[0]} has {self.first.shape}.")
        return self.first, self.second


def pair_of(a: str, b: str, mask: Path | None, *, resample: bool) -> Pair:
    """Read two maps and a mask and bring them to the grid of A.

    Raises:
        InputError: A file cannot be read, grids differ and ``resample`` is not set, values are NaN or infinite, or the
            mask is empty.
    """
    first, second = load_map(a), load_map(b)
    notes = [loaded.note for loaded in (first, second) if loaded.note]
    if _same_file(a, b):
        notes.append("A and B are one and the same file.")
    moved = _on_grid_of(first, second, notes, resample=resample)
    inside = None if mask is None else _inside(mask, first, notes, resample=resample)
    grid = first.grid or second.grid
    if (first.grid is None) != (second.grid is None):
        notes.append("Only one of the files has an affine: that the voxels lie in the same places is not checked.")
    kept = []
    for loaded, data in ((first, first.data), (second, moved)):
        require_finite(data if inside is None else data[inside], loaded.name)
        kept.append(data if inside is None else _outside_zero(data, inside))
    return Pair(kept[0], kept[1], inside, grid, (first.name, second.name), notes)


def _same_file(a: str, b: str) -> bool:
    if a == b:
        return True
    paths = Path(a), Path(b)
    return all(path.is_file() for path in paths) and paths[0].samefile(paths[1])


def _on_grid_of(first: LoadedMap, second: LoadedMap, notes: list[str], *, resample: bool) -> Array:
    """Return B on the grid of A: as it is, with its axes flipped and swapped, or interpolated."""
    if first.grid is None or second.grid is None:
        if first.data.shape != second.data.shape:
            raise InputError(
                f"{first.name} has the shape {first.data.shape} and {second.name} {second.data.shape}. Compare maps of "
                "one shape."
            )
        return second.data
    if first.data.shape[3:] != second.data.shape[3:]:
        raise InputError(
            f"{first.name} has the shape {first.data.shape} and {second.name} {second.data.shape}: their numbers of "
            "channels differ."
        )
    turned, grid = turned_like(second.data, second.grid, first.grid)
    if same_grid(grid, first.grid):
        if not np.array_equal(grid.affine, second.grid.affine):
            notes.append("The axes of B were flipped or swapped to run as those of A; no value changed.")
        return turned
    _require_resample(first.name, first.grid, second.name, second.grid, resample=resample)
    notes.append("B was interpolated on the grid of A (linearly); some of the difference comes from that.")
    return resampled(second.data, second.grid, first.grid)


def _require_resample(name: str, grid: Grid, other: str, other_grid: Grid, *, resample: bool) -> None:
    if not resample:
        raise InputError(
            f"{name} and {other} lie on different grids:\n  {grid}\n  {other_grid}\n"
            "Compare maps of one grid, or let --resample bring everything to the grid of A."
        )


def _outside_zero(data: Array, inside: npt.NDArray[np.bool_]) -> Array:
    return np.where(inside if data.ndim == inside.ndim else inside[..., None], data, 0.0)


def _inside(mask: Path, first: LoadedMap, notes: list[str], *, resample: bool) -> npt.NDArray[np.bool_]:
    """Return which voxels of A are in a mask."""
    data = _labels_like(mask, first, notes, resample=resample)
    require_finite(data, str(mask))
    inside: npt.NDArray[np.bool_] = data != 0
    if not inside.any():
        raise InputError(f"{mask} is zero in every voxel of {first.name}: there is nothing to compare.")
    return inside


def labels_on(path: Path, pair: Pair, *, resample: bool) -> Array:
    """Return an atlas on the grid of a pair, nearest neighbours where it is resampled; notes it.

    Raises:
        InputError: It cannot be read, or lies on another grid and ``resample`` is not set.
    """
    volume = LoadedMap(pair.names[0], pair.volumes("--atlas")[0], pair.grid)
    return _labels_like(path, volume, pair.notes, resample=resample)


def _labels_like(path: Path, first: LoadedMap, notes: list[str], *, resample: bool) -> Array:
    labels = load_map(str(path))
    shape = first.data.shape if first.grid is None else first.grid.shape
    if labels.grid is not None and labels.data.ndim != 3:
        raise InputError(f"{path} has the shape {labels.data.shape}. Give one volume.")
    if first.grid is None or labels.grid is None:
        if labels.data.shape != shape:
            raise InputError(
                f"{path} has the shape {labels.data.shape} and {first.name} {shape}. Give one of that shape."
            )
        return labels.data
    turned, grid = turned_like(labels.data, labels.grid, first.grid)
    if same_grid(grid, first.grid):
        return turned
    _require_resample(first.name, first.grid, str(path), labels.grid, resample=resample)
    notes.append(f"{path.name} was brought to the grid of A (nearest neighbour).")
    return resampled_labels(labels.data, labels.grid, first.grid)
