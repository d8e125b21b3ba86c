"""Mean, median and standard deviation over the maps of a group."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._contrasts.rows import read_maps
from ._grids import Grid
from ._groups import Scan
from ._mean import mean_map, relevance_on
from ._stack import Stack

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

    from .plugin import GroupMaps

__all__ = ["over_maps"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")


def over_maps(
    records: Sequence[MapRecord], grid: Grid | None, options: GroupMaps, what: str
) -> tuple[dict[str, npt.NDArray[np.float32]], Grid | None, list[MapRecord], dict[Scan, str]]:
    """Return the statistics of a group's maps.

    Args:
        records: Of the group; may be empty.
        grid: That the maps must lie on; None: that of the first one.
        options: Of the analysis.
        what: Explainer and group, for messages.

    Returns:
        float32 [D, H, W] for each statistic that the maps allow (one map has no standard deviation), the grid, the maps
        that count, and why the others do not: a map that has nothing to be divided by is left out, with a warning.

    Raises:
        InputError: A map cannot be read, is not finite, or lies elsewhere.
    """
    if not records:
        return {}, grid, [], {}
    mni = options.space == "mni"
    if options.statistics == ["mean"] and options.normalise == "none":
        mean, grid = mean_map(records, grid, resample=options.resample, mni=mni)
        return {"mean": mean}, grid, list(records), {}
    if grid is None:
        grid = relevance_on(records[0], None, resample=False, mni=mni)[1]
    with tempfile.TemporaryDirectory(prefix="xai-groups-") as scratch:
        maps = read_maps(
            {(record.scan_id, record.fold): record for record in records}, None, grid, Path(scratch),
            normalise=options.normalise, resample=options.resample, mni=mni,
        )  # fmt: skip
        for (scan, fold), reason in maps.unusable.items():
            log.warning("group-maps: %s: the map of %s, fold %d, is left out: %s", what, scan, fold, reason)
        used = [scan for scan in maps.rows if scan not in maps.unusable]
        found = _statistics(maps.stack, [maps.rows[scan] for scan in used], options.statistics) if used else {}
    if "sd" in options.statistics and len(used) == 1:
        log.warning("group-maps: %s: one map has no standard deviation.", what)
    return found, grid, [maps.records[scan] for scan in used], dict(maps.unusable)


def _statistics(stack: Stack, rows: Sequence[int], wanted: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    compute: dict[str, Callable[[Array], Array]] = {
        "mean": lambda y: y.mean(axis=0),
        "median": lambda y: np.median(y, axis=0),
        "sd": lambda y: y.std(axis=0, ddof=1),
    }
    chosen = [name for name in wanted if name != "sd" or len(rows) > 1]
    found = {name: np.empty(stack.values.shape[1], dtype=np.float32) for name in chosen}
    for part, y in stack.chunks():
        for name, values in found.items():
            values[part] = compute[name](y[list(rows)])
    return {name: stack.volume(values) for name, values in found.items()}
