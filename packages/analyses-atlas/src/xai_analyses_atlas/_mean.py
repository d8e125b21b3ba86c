"""The mean over many maps, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from ._grids import Grid, meets_mni_brain, resampled, same_grid, turned_like
from ._maps import read_image, require_finite

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["mean_map", "relevance_on", "volume_on"]

Array = npt.NDArray[Any]


def mean_map(
    records: Sequence[MapRecord], grid: Grid | None, *, resample: bool, mni: bool
) -> tuple[npt.NDArray[np.float32], Grid]:
    """Return the mean relevance of scans and its grid.

    Args:
        records: At least one map.
        grid: That the mean must lie on; None: that of the first map.
        resample: Whether a map on another grid is interpolated; otherwise it is an error.
        mni: Whether maps must meet the MNI brain.

    Raises:
        InputError: A map cannot be read, is not finite, or lies elsewhere.
    """
    total: Array | None = None
    for record in records:
        data, grid = relevance_on(record, grid, resample=resample, mni=mni)
        total = data if total is None else np.add(total, data, out=total)
    if total is None or grid is None:
        raise ValueError("records is empty")
    return (total / len(records)).astype(np.float32), grid


def relevance_on(record: MapRecord, grid: Grid | None, *, resample: bool, mni: bool) -> tuple[Array, Grid]:
    """Return one map, channels added up, as float64 [D, H, W] and the grid that it now lies on.

    Args:
        record: The map.
        grid: That it must lie on; None: its own.
        resample: Whether a map on another grid is interpolated; otherwise it is an error.
        mni: Whether it must meet the MNI brain. A map whose scan was registered within the run lies where the scan
            does; it is taken to MNI space by the ``to_mni`` of its sidecar.

    Raises:
        InputError: It cannot be read, is not finite, or lies elsewhere.
    """
    data, found = _relevance(record.path)
    if mni and "to_mni" in record.sidecar:
        found = Grid(found.shape, np.asarray(record.sidecar["to_mni"], dtype=np.float64) @ found.affine)
    if mni and not meets_mni_brain(found):
        raise InputError(
            f"{record.path} does not meet the MNI brain: {found}. Is the scan registered to MNI space? If all "
            "scans share another space, set space: scan (in group-maps also template: mean-image)."
        )
    grid = grid or found
    return volume_on(data, found, grid, f"The map {record.path}", resample=resample), grid


def _relevance(path: Path) -> tuple[Array, Grid]:
    data, grid = read_image(path)
    require_finite(data, str(path))
    return data.sum(axis=3) if data.ndim == 4 else data, grid


def volume_on(data: Array, found: Grid, grid: Grid, what: str, *, resample: bool) -> Array:
    """Return a volume [D, H, W] on a grid, its axes flipped and swapped where that is all.

    Raises:
        InputError: It lies on another grid, and ``resample`` is not set.
    """
    turned, like = turned_like(data, found, grid)
    if same_grid(like, grid):
        return np.ascontiguousarray(turned)
    if resample:
        return resampled(data, found, grid)
    raise InputError(
        f"{what} lies on another grid than those before it:\n  {found}\n  {grid}\nA mean over them would mix places. "
        "Where every scan is registered to MNI space, set resample: true; otherwise give the study scans of one grid."
    )
