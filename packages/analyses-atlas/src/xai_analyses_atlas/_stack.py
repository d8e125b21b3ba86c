"""Maps of many scans on one grid within a mask: a table of people by voxels that lies on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from ._grids import Grid
from ._mean import relevance_on

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["Stack", "filled", "stack_maps"]

Array = npt.NDArray[Any]
Volume = npt.NDArray[Any]

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Stack:
    """Values of N maps at the V voxels of a mask.

    Attributes:
        values: float32 [N, V], memory-mapped: whoever takes all rows of a few thousand voxels, or all voxels of a few
            rows, keeps memory small.
        mask: bool [D, H, W] with V voxels set; voxels are in C order.
        grid: Of ``mask``.
        records: The N maps, in the order of the rows; empty where the rows are something else than relevance maps.
    """

    values: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    grid: Grid
    records: tuple[MapRecord, ...] = ()

    def volume(self, row: Array, *, outside: float = 0.0) -> Volume:
        """Return values [V] as a volume [D, H, W] of their type, ``outside`` where the mask is not set."""
        row = np.asarray(row)
        volume = np.full(self.mask.shape, outside, dtype=row.dtype)
        volume[self.mask] = row
        return volume

    def delete(self) -> None:
        """Give the disk's room back before the scratch folder goes; the values are lost."""
        name = getattr(self.values, "filename", None)
        if name is not None:
            Path(name).unlink()

    def chunks(self, most_bytes: int = _CHUNK_BYTES) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        """Yield the voxels' range and float64 [N, v] of all rows, at most ``most_bytes`` at a time."""
        rows, voxels = self.values.shape
        step = max(1, most_bytes // (8 * max(rows, 1)))
        for start in range(0, voxels, step):
            part = slice(start, min(start + step, voxels))
            yield part, self.values[:, part].astype(np.float64)


def stack_maps(
    records: Sequence[MapRecord],
    mask: npt.NDArray[np.bool_] | None,
    grid: Grid | None,
    scratch: Path,
    *,
    resample: bool,
    mni: bool,
) -> Stack:
    """Read relevance maps one by one into a table on disk; channels are added up.

    Args:
        records: At least one map; one row each.
        mask: bool [D, H, W] on ``grid``; None: every voxel of it.
        grid: That all maps must lie on; None: that of the first map.
        scratch: An existing folder for the table of 4 N V bytes. The caller deletes it.
        resample: Whether a map on another grid is interpolated linearly; otherwise it is an error.
        mni: Whether maps must meet the MNI brain; a map that was registered within the run is moved there.

    Raises:
        InputError: A map cannot be read, is not finite or lies on another grid; the mask has another shape or is empty;
            the disk is full.
    """
    if not records:
        raise ValueError("records is empty")
    first, found = relevance_on(records[0], grid, resample=resample, mni=mni)
    inside = _mask_on(mask, found)

    def rows() -> Iterator[Array]:
        yield first[inside]
        for record in records[1:]:
            yield relevance_on(record, found, resample=resample, mni=mni)[0][inside]

    return filled(rows(), len(records), inside, found, scratch, tuple(records))


def filled(
    rows: Iterable[Array],
    count: int,
    mask: npt.NDArray[np.bool_],
    grid: Grid,
    scratch: Path,
    records: tuple[MapRecord, ...] = (),
) -> Stack:
    """Write at most ``count`` rows [V] of finite numbers to disk as a ``Stack`` of as many rows as came.

    Raises:
        InputError: The disk has no room for them.
    """
    voxels = int(np.count_nonzero(mask))
    values = _table(scratch, (count, voxels))
    written = 0
    for number, row in enumerate(rows):
        values[number] = row
        written += 1
    values.flush()
    return Stack(values[:written], mask, grid, records)


def _mask_on(mask: npt.NDArray[np.bool_] | None, grid: Grid) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(grid.shape, dtype=bool)
    if mask.shape != grid.shape:
        raise InputError(f"The mask has the shape {mask.shape}, but the maps lie on another grid: {grid}.")
    if not mask.any():
        raise InputError("The mask has no voxel on the grid of the maps. Is it in the same space?")
    return np.asarray(mask, dtype=bool)


def _table(scratch: Path, shape: tuple[int, int]) -> np.memmap[Any, np.dtype[np.float32]]:
    """Return a new table on disk whose room is taken: a full disk would end the process with SIGBUS later on."""
    size = 4 * shape[0] * shape[1]
    handle, name = tempfile.mkstemp(suffix=".float32", dir=scratch)
    allocate = getattr(os, "posix_fallocate", None)  # not on macOS
    try:
        if allocate is None:
            os.truncate(handle, size)
        else:
            allocate(handle, 0, size)
    except OSError as error:
        raise InputError(
            f"{scratch} has no room for a table of {shape[0]} maps by {shape[1]} voxels ({size / 2**30:.2g} GiB): "
            f"{error.strerror}. Free some, or set TMPDIR to a folder on another disk."
        ) from error
    finally:
        os.close(handle)
    return np.memmap(name, dtype=np.float32, mode="r+", shape=shape)
