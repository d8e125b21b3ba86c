"""The table of regions, for analyses and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from .cohort import Options, measured_run

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

    from .._atlases import Atlas
    from .._atlases.atlas import Assign

__all__ = ["region_table"]


def region_table(
    run: RunResults,
    atlas: Atlas,
    explainers: Sequence[str] | None = None,
    *,
    space: Literal["mni", "scan"] = "mni",
    assign: Assign = "partial",
    channel: str | None = None,
    missing: Literal["error", "leave-out"] = "error",
    mismatch: Literal["error", "note"] = "error",
    threads: int = 2,
) -> pd.DataFrame:
    """Return the relevance of every map of a run in every region of an atlas.

    Args:
        run: With relevance maps.
        atlas: Whose regions.
        explainers: Ids of explainers; None: all.
        space: Whether the maps are taken in ``"mni"`` space (the scans are registered to it, before the run or within
            it) or where their ``"scan"`` lies.
        assign: See ``Atlas.on``.
        channel: Name of one channel of the images; None: their sum.
        missing: What becomes of a scan without a file of an atlas in each person's own space.
        mismatch: What becomes of a scan whose head does not lie over the atlas: see ``HeadCheck``.
        threads: Scans that are read at the same time; each holds one map in memory.

    Returns:
        One row for each map and region, ordered by explainer, fold, scan and the atlas' regions, with the columns

        * ``scan_id``, ``subject_id``, ``session_id``, ``fold``, ``explainer``, ``atlas``,
        * ``index``, ``region``, ``hemisphere`` (L, R or missing), ``structure``,
        * ``voxels`` (of the map's grid, parts included) and ``volume`` (mm3),
        * ``sum``, ``positive``, ``negative`` and ``absolute`` of the relevance, ``mean`` (sum for each voxel),
          ``density`` (absolute for each mm3),
        * ``share`` (absolute, of the absolute relevance of the whole map, 0..1) and ``size_corrected`` (share divided
          by the region's share of the atlas' volume: 1 is what relevance would give that lies evenly in the atlas
          and nowhere else; a map that is even everywhere gives less, the same in every region),
        * ``peak``, ``peak_x``, ``peak_y``, ``peak_z``: the value with the largest size in the region's mask, with its
          sign, and the middle of its voxel in mm, in MNI space or in the scan's world; of several equal ones (a
          plateau) the first in the order of the file.

        The last row of each map is what lies outside of the atlas: index 0, region ``(outside of the atlas)``. The
        rows of a map add up to the map. Values of a region without a voxel, and shares of a map that is zero
        everywhere, are NaN.

    Raises:
        InputError: A map is missing, cannot be read, is not finite or lies beside the atlas, or the atlas lies in
            another space.
    """
    return measured_run(run, atlas, explainers, Options(space, assign, channel, missing, mismatch), threads).regions
