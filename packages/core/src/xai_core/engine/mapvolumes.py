"""A relevance map and its scan made ready for drawing: axes, colours' ends, and where to look first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .imageheader import grid_problem

__all__ = ["AGAINST", "FOR", "Array", "Convention", "MapVolumes", "map_volumes"]

Array = npt.NDArray[Any]
Convention = Literal["neurological", "radiological"]
# Red, green and blue in [0, 1], from zero outwards. Dark to light, as in the report: pale colours near zero would not
# show on grey tissue.
FOR = ((0.60, 0.02, 0.05), (0.96, 0.36, 0.05), (1.00, 0.93, 0.35))
AGAINST = ((0.08, 0.10, 0.62), (0.05, 0.50, 0.95), (0.65, 0.98, 1.00))


@dataclass(frozen=True)
class MapVolumes:
    """What is drawn of a map.

    Attributes:
        values: float32 [D, H, W], axes to the right, to the front and upwards, channels added up.
        affine: Voxel index of ``values`` to millimetres (RAS+), 4 x 4.
        grey: The scan, as ``values``; None: there is none.
        index: Voxel where the planes meet.
        low: Absolute relevance below which nothing is drawn.
        high: Absolute relevance at which the colours end; 0 where every voxel is 0.
    """

    values: Array
    affine: Array
    grey: Array | None
    index: tuple[int, int, int]
    low: float
    high: float


def map_volumes(
    relevance: nib.Nifti1Image,
    scan: nib.Nifti1Image | None,
    *,
    cut: tuple[float, float, float] | None,
    threshold: float,
    limit: float,
    convention: Convention,
) -> MapVolumes:
    """Prepare a map for drawing; arguments as of ``xai_core.engine.mapplot.plot_map``.

    Raises:
        InputError: The scan lies on another grid, ``cut`` outside of it, the map holds NaN or infinities, or an option
            is none that there is.
    """
    if not 0 <= threshold < limit <= 100:
        raise InputError(f"threshold is {threshold:g} and limit {limit:g}; 0 <= threshold < limit <= 100 is needed.")
    if convention not in ("neurological", "radiological"):
        raise InputError(f"convention is {convention!r}. Give neurological or radiological.")
    values, affine = _volume(relevance)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise InputError(f"The map has {bad} voxels that are NaN or infinite; it cannot be drawn. Make it again.")
    grey = None if scan is None else _on_its_grid(scan, relevance)
    strength = np.abs(values[values != 0])
    low, high = (float(v) for v in np.percentile(strength, [threshold, limit])) if strength.size else (0.0, 0.0)
    return MapVolumes(values, affine, grey, _index(cut, values, affine), low, high)


def _volume(image: nib.Nifti1Image) -> tuple[Array, Array]:
    """Return the voxels, axes to the right, to the front and upwards, channels added up, and the affine."""
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim > 3:
        data = data.reshape(*data.shape[:3], -1).sum(axis=3)
    turned = nib.as_closest_canonical(nib.Nifti1Image(data, image.affine))
    return np.asarray(turned.dataobj), np.asarray(turned.affine, dtype=np.float64)


def _on_its_grid(scan: nib.Nifti1Image, relevance: nib.Nifti1Image) -> Array:
    problem = grid_problem(relevance.shape[:3], relevance.affine, scan.shape[:3], scan.affine)
    if problem:
        raise InputError(f"The map does not lie on the grid of its scan: it {problem}")
    return _volume(scan)[0]


def _index(cut: tuple[float, float, float] | None, values: Array, affine: Array) -> tuple[int, int, int]:
    if cut is None and not values.any():
        return values.shape[0] // 2, values.shape[1] // 2, values.shape[2] // 2
    if cut is None:
        place = np.unravel_index(int(np.abs(values).argmax()), values.shape)
        return int(place[0]), int(place[1]), int(place[2])
    voxel = np.rint(np.linalg.solve(affine, [*cut, 1.0])[:3]).astype(int)
    if (voxel < 0).any() or (voxel >= values.shape).any():
        ends = [affine @ [*corner, 1.0] for corner in ((0, 0, 0), np.array(values.shape) - 1)]
        box = ", ".join(f"{n} {a:.0f} to {b:.0f}" for n, a, b in zip("xyz", ends[0], ends[1], strict=False))
        raise InputError(f"cut {tuple(cut)} lies outside of the scan, which holds {box} mm.")
    return int(voxel[0]), int(voxel[1]), int(voxel[2])
