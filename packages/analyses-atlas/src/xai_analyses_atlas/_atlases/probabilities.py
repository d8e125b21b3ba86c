"""Probabilistic atlases: images of several volumes, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid

__all__ = ["scale_and_centres", "volumes_of"]

Array = npt.NDArray[Any]


def scale_and_centres(path: Path, count: int) -> tuple[float, npt.NDArray[np.float64]]:
    """Return what makes the values of a probabilistic atlas shares of 1, and the mean x of each volume in mm.

    Args:
        path: Image of ``count`` volumes.
        count: Number of volumes.

    Returns:
        1 where values reach up to 1, 0.01 where up to 100; and [count], NaN where a volume is empty.

    Raises:
        InputError: They are neither, or not finite.
    """
    about = path.stat()
    return _looked_through(path, count, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _looked_through(path: Path, count: int, _size: int, _changed: int) -> tuple[float, npt.NDArray[np.float64]]:
    """Look through a file once: a run whose analyses name one atlas loads it in each check of each of them."""
    largest, smallest, centres = 0.0, 0.0, np.full(count, np.nan)
    for k, (values, grid) in enumerate(_each_volume(path, count)):
        if not np.isfinite(values).all():
            raise InputError(f"Volume {k + 1} of the atlas {path} holds values that are NaN or infinite.")
        largest, smallest = max(largest, float(values.max())), min(smallest, float(values.min()))
        along = values.sum(axis=(1, 2), dtype=np.float64), values.sum(axis=(0, 2), dtype=np.float64)
        sums = (*along, values.sum(axis=(0, 1), dtype=np.float64))
        if (total := float(sums[0].sum())) > 0:
            place = [float((line * np.arange(len(line))).sum()) / total for line in sums]
            centres[k] = grid.affine[0] @ [*place, 1.0]
    if smallest < 0 or not 0 < largest <= 100:
        raise InputError(
            f"{path} holds values from {smallest:.4g} to {largest:.4g}. A probabilistic atlas holds probabilities "
            "(0 to 1) or percent (0 to 100)."
        )
    centres.setflags(write=False)  # one array for all who ask
    return (1.0 if largest <= 1 else 0.01), centres


def _each_volume(path: Path, count: int) -> Iterator[tuple[Array, Grid]]:
    """Yield each volume as it is stored, and the grid; one is in memory at a time."""
    image: Any = nib.load(path, keep_file_open=True)  # a compressed file is read once, front to back
    shape = (int(image.shape[0]), int(image.shape[1]), int(image.shape[2]))
    grid = Grid(shape, np.asarray(image.affine, dtype=np.float64))
    for k in range(count):
        yield np.asarray(image.dataobj[..., k]), grid


def volumes_of(path: Path, scale: float, count: int) -> Iterator[tuple[Array, Grid]]:
    """Yield the probabilities of each region, float32 [A, B, C] in 0..1, and their grid.

    Args:
        path: Image of ``count`` volumes.
        scale: See ``scale_and_centres``.
        count: Number of regions.
    """
    for stored, own in _each_volume(path, count):
        yield stored.astype(np.float32) * np.float32(scale), own
