"""Clusters of voxels above a threshold, with the names of the regions in which they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from xai_core import InputError

from .._grids import Grid, first_in_world
from .._maps import require_finite
from .._regions import OUTSIDE

if TYPE_CHECKING:
    from .._atlases import Atlas, Placed

__all__ = ["CLUSTER_COLUMNS", "NEIGHBOURS", "cluster_table"]

Array = npt.NDArray[Any]

NEIGHBOURS = {6: 1, 18: 2, 26: 3}
"""Voxels that touch by a face; by a face or an edge; by a face, an edge or a corner."""

CLUSTER_COLUMNS = [
    "cluster", "sign", "peak", "peak_x", "peak_y", "peak_z", "hemisphere", "voxels", "size", "region", "regions",
    "subpeaks",
]  # fmt: skip

_SUBPEAKS = 3
_LEAST = 0.005  # share of a cluster below which a region is not listed


@dataclass(frozen=True)
class _Peak:
    index: tuple[int, int, int]
    value: float
    world: tuple[float, float, float]


def cluster_table(
    volume: Array,
    grid: Grid,
    threshold: float,
    *,
    minimal_size: float = 0.0,
    connectivity: int = 6,
    atlas: Atlas | Placed | None = None,
    two_sided: bool = True,
    minimal_distance: float = 8.0,
) -> pd.DataFrame:
    """Return the clusters of a map: connected voxels whose value is above a threshold, the highest peak first.

    Voxels above ``threshold`` and those below ``-threshold`` make clusters of their own. To list the clusters of a mask
    of significance, give the map with 0 where it is not significant, and the threshold 0.

    Args:
        volume: [D, H, W], finite.
        grid: Where its voxels lie. Positions are given in its world (RAS+ in mm; MNI where the map lies in it), so that
            left stays left however the axes are stored.
        threshold: 0 or above; a voxel counts where its value is strictly above it.
        minimal_size: Clusters smaller than this are left out, in mm3.
        connectivity: Neighbours of a voxel: 6 (faces), 18 (and edges) or 26 (and corners).
        atlas: That names regions, or the same placed on ``grid`` already; None: no names.
        two_sided: Whether to list the clusters below ``-threshold``, after the positive ones.
        minimal_distance: Least distance of subpeaks from the peak and each other, in mm.

    Returns:
        A row for each cluster: ``cluster`` (from 1), ``sign`` (1 or -1), ``peak`` (value), ``peak_x``, ``peak_y``,
        ``peak_z`` (mm), ``hemisphere`` of the peak (L: x below 0, R: above 0, empty: at 0), ``voxels``, ``size`` (mm3),
        ``region`` at the peak, ``regions`` (which it covers, with the percent of the cluster in each) and ``subpeaks``
        (up to three local maxima of the cluster: value, position, region). Without an atlas the regions are None.

    Raises:
        InputError: The map is not finite, or the parameters make no sense.
    """
    _require(volume, grid, threshold, connectivity)
    placed = None if atlas is None else _placed(atlas, grid)
    cubic = float(abs(np.linalg.det(grid.affine[:3, :3])))
    structure = ndimage.generate_binary_structure(3, NEIGHBOURS[connectivity])
    rows: list[dict[str, Any]] = []
    for sign in (1, -1) if two_sided else (1,):
        signed = volume * sign
        labels, _ = ndimage.label(signed > threshold, structure)
        found = []
        for label, box in enumerate(ndimage.find_objects(labels), 1):
            inside = labels[box] == label
            voxels = int(inside.sum())
            # Header precision: 27 voxels of 0.9999 mm3 are a cluster of 27 mm3.
            if voxels * cubic < minimal_size * (1 - 1e-4):
                continue
            start = tuple(int(axis.start) for axis in box)
            peaks = _peaks(np.where(inside, signed[box], -np.inf), start, grid, minimal_distance)
            found.append((peaks, {"sign": sign, "voxels": voxels, "size": round(voxels * cubic, 6)}, (box, inside)))
        found.sort(key=lambda each: (-each[0][0].value, each[0][0].world))
        rows += [
            {"cluster": len(rows) + number, **row, **_described(peaks, sign), **_named(peaks, sign, where, placed)}
            for number, (peaks, row, where) in enumerate(found, 1)
        ]
    return pd.DataFrame(rows, columns=CLUSTER_COLUMNS)


def _require(volume: Array, grid: Grid, threshold: float, connectivity: int) -> None:
    if volume.shape != grid.shape:
        raise ValueError(f"a map of the shape {volume.shape} does not lie on a grid of {grid.shape}")
    require_finite(volume, "The map of which clusters are wanted")
    if not threshold >= 0:
        raise InputError(f"threshold: {threshold} is below 0; clusters need a threshold of 0 or above.")
    if connectivity not in NEIGHBOURS:
        raise InputError(f"connectivity: {connectivity} is not one of {', '.join(map(str, NEIGHBOURS))}.")


def _placed(atlas: Atlas | Placed, grid: Grid) -> Placed:
    from .._atlases import Atlas

    return atlas.on(grid) if isinstance(atlas, Atlas) else atlas


def _peaks(values: Array, start: tuple[int, ...], grid: Grid, distance: float) -> list[_Peak]:
    """Return the peak of a cluster and its subpeaks, the highest first.

    Args:
        values: Of a box around the cluster; -inf outside of it.
        start: Index of the box's first voxel.
        grid: Of the whole map.
        distance: See ``cluster_table``.
    """
    local = (values == ndimage.maximum_filter(values, 3, mode="constant", cval=-np.inf)) & np.isfinite(values)
    plateaus, _ = ndimage.label(local, ndimage.generate_binary_structure(3, 3))
    places = [
        _middle(np.argwhere(plateaus[box] == number) + [axis.start for axis in box], grid)
        for number, box in enumerate(ndimage.find_objects(plateaus), 1)
    ]
    peaks = []
    for place in places:
        index = (place[0] + start[0], place[1] + start[1], place[2] + start[2])
        peaks.append(_Peak(index, float(values[place]), grid.world(index)))
    chosen: list[_Peak] = []
    for peak in sorted(peaks, key=lambda each: (-each.value, each.world)):
        if all(np.linalg.norm(np.subtract(peak.world, other.world)) >= distance for other in chosen):
            chosen.append(peak)
        if len(chosen) > _SUBPEAKS:
            break
    return chosen


def _middle(voxels: Array, grid: Grid) -> tuple[int, int, int]:
    """Return the voxel [3] of a plateau [N, 3] that lies next to its centre, in mm."""
    distance = np.linalg.norm((voxels - voxels.mean(axis=0)) @ grid.affine[:3, :3].T, axis=1)
    nearest = voxels[distance <= distance.min() + 1e-6]  # mm
    x, y, z = nearest[first_in_world(nearest, grid)]
    return int(x), int(y), int(z)


def _described(peaks: list[_Peak], sign: int) -> dict[str, Any]:
    x, y, z = (round(value, 3) + 0.0 for value in peaks[0].world)
    hemisphere = "L" if x < 0 else "R" if x > 0 else ""
    return {"peak": sign * peaks[0].value, "peak_x": x, "peak_y": y, "peak_z": z, "hemisphere": hemisphere}


def _named(peaks: list[_Peak], sign: int, where: tuple[Any, Array], placed: Placed | None) -> dict[str, Any]:
    texts = []
    for peak in peaks[1:]:
        place = ", ".join(f"{value + 0.0:.4g}" for value in peak.world)
        region = "" if placed is None else f" {placed.label_at(peak.index) or OUTSIDE}"
        texts.append(f"{sign * peak.value:.4g} at ({place}){region}")
    row: dict[str, Any] = {"subpeaks": "; ".join(texts) or None, "region": None, "regions": None}
    if placed is None:
        return row
    box, inside = where
    covered = np.zeros(placed.grid.shape, dtype=np.float32)
    covered[box] = inside
    shares = placed.sums(covered) / inside.sum()
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= _LEAST]
    parts = [f"{placed.regions[k].name} {100 * shares[k]:.0f} %" for k in order]
    outside = 1 - float(shares.sum())
    if outside >= _LEAST:
        parts.append(f"{OUTSIDE} {100 * outside:.0f} %")
    return row | {"region": placed.label_at(peaks[0].index) or OUTSIDE, "regions": "; ".join(parts)}
