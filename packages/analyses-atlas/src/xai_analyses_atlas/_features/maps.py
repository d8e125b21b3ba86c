"""Features of regions from maps that each person brings along: volumes of tissue, mean FA, share of lesions."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._grids import Grid
from .._maps import read_image, require_finite
from .people import listed
from .records import Reading, Value

if TYPE_CHECKING:
    from .._atlases import Atlas, Placed
    from .._feature_params import FeatureSource

__all__ = ["map_column", "read_maps"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")

# Of a region's volume in the atlas: a map that holds less of it says nothing of the region.
SEEN = 0.8


def map_column(source: FeatureSource, table: pd.DataFrame) -> str:
    """Return the column of a study's table with the paths of a map.

    Raises:
        InputError: There is none.
    """
    column = f"map_{source.map}"
    if column not in table.columns:
        there = [str(name).removeprefix("map_") for name in table.columns if str(name).startswith("map_")]
        raise InputError(
            f"features: the study has no map {source.map!r}. It has: {listed(there) or 'none'}. Name maps in the "
            "dataset's 'maps'."
        )
    return column


def read_maps(source: FeatureSource, table: pd.DataFrame, atlas: Atlas, to_mni: Mapping[str, Any]) -> Reading:
    """Add up a map of each scan by region.

    Args:
        source: Which map, and what to take of it.
        table: One row for each scan: ``subject_id``, ``scan_id``, ``map_<name>``, and what names the atlas' files.
        atlas: The regions.
        to_mni: Matrices [4, 4] by scan, of scans that were registered within the run (an atlas in MNI space is laid
            on the map by them).

    A region of which the field of view of a map holds less than ``SEEN`` has no value (NaN); a warning says so.

    Raises:
        InputError: A map cannot be read, has several volumes, holds NaN, holds no probabilities where a volume is
            asked for, or does not meet the atlas.
    """
    column = map_column(source, table)
    reading = Reading()
    layer, cuts = _Layer(atlas), Counter[str]()
    for record in table.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        path, scan = row[column], str(row["scan_id"])
        if not isinstance(path, str) or not path:
            reading.left_out.append((scan, f"has no map {source.map}"))
            continue
        if atlas.frame == "subject":
            try:
                atlas.file_for(row)
            except InputError as error:
                reading.left_out.append((scan, str(error)))
                continue
        reading.files.append(Path(path))
        data, grid = read_image(Path(path))
        if data.ndim != 3:
            raise InputError(f"{path} has the shape {data.shape}; a map of one volume is needed.")
        require_finite(data, path)
        matrix = to_mni.get(scan) if atlas.frame == "mni" else None
        if matrix is not None:
            grid = Grid(grid.shape, np.asarray(matrix, dtype=np.float64) @ grid.affine)
        placed = layer.on(grid, row)
        cut = _cut(placed)
        cuts.update(region.name for region, gone in zip(placed.regions, cut, strict=True) if gone)
        reading.add(_values(source, scan, data, placed, cut, Path(path)))
    if cuts:
        shown = listed(f"{name} ({count} maps)" for name, count in cuts.items())
        log.warning("features, %s: maps hold less than %.0f %% of a region, which then has no value: %s", source.title,
                    100 * SEEN, shown)  # fmt: skip
    return reading


class _Layer:
    """Lays an atlas on one grid after the other; the last one is kept, since cohorts share one."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._last: Placed | None = None

    def on(self, grid: Grid, row: Mapping[str, Any]) -> Placed:
        last = self._last
        own = self._atlas.frame == "subject"
        if last is None or own or last.grid.shape != grid.shape or not np.array_equal(last.grid.affine, grid.affine):
            self._last = self._atlas.on(grid, row if own else None)
        assert self._last is not None
        return self._last


def _cut(placed: Placed) -> npt.NDArray[np.bool_]:
    """Return bool [R]: regions that the atlas has and the field of view cuts, so that a sum is no volume."""
    with np.errstate(invalid="ignore"):
        return np.asarray(placed.entries.kept < SEEN)


def _values(
    source: FeatureSource, scan: str, data: Array, placed: Placed, cut: npt.NDArray[np.bool_], path: Path
) -> list[Value]:
    amount = data if source.threshold is None else (data > source.threshold).astype(np.float64)
    feature, unit = f"{source.map}_{source.statistic}", {"volume": "mm^3", "share": "1"}.get(source.statistic, "")
    if source.statistic == "volume":
        low, high = float(amount.min()), float(amount.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise InputError(
                f"{path} holds values from {low:.4g} to {high:.4g}, so its sum is no volume: probabilities lie between "
                "0 and 1. Set a threshold, or statistic: mean."
            )
    sums = placed.sums(amount)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = sums * placed.voxel_volume if source.statistic == "volume" else sums / placed.sizes
    found = np.where((placed.sizes > 0) & ~cut, found, np.nan)
    return [
        Value(scan, None, region.name, feature, float(value), unit)
        for region, value in zip(placed.regions, found, strict=True)
    ]
