"""Left against right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["asymmetry_table"]

_MAP = ["scan_id", "subject_id", "session_id", "fold", "explainer", "atlas"]
_MEASURES = ("sum", "absolute", "density")


def asymmetry_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Return left and right of every structure that has one region on each side.

    Args:
        regions: See ``region_table``.

    Returns:
        One row for each map, structure and measure (``sum``, ``absolute``, ``density``), with the columns ``left``,
        ``right``, ``difference`` (left minus right) and ``asymmetry``: (left - right) / (|left| + |right|), from -1 to
        1; NaN where both are 0 or a side has no voxel.
    """
    import pandas as pd

    sided = regions[regions["hemisphere"].notna()]
    names = sided.drop_duplicates("index").groupby("structure", sort=False)["hemisphere"].agg(sorted)
    paired = [structure for structure, sides in names.items() if sides == ["L", "R"]]
    left, right = (
        sided[(sided["hemisphere"] == side) & sided["structure"].isin(paired)].set_index(
            ["scan_id", "fold", "explainer", "structure"]
        )
        for side in "LR"
    )
    right = right.reindex(left.index)
    found = []
    for measure in _MEASURES:
        a, b = left[measure].to_numpy(), right[measure].to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (a - b) / (np.abs(a) + np.abs(b))
        rows = left.reset_index()[[*_MAP, "structure"]].assign(
            measure=measure, left=a, right=b, difference=a - b, asymmetry=ratio, place=np.arange(len(left))
        )
        found.append(rows)
    joined = pd.concat(found).sort_values("place", kind="stable")
    return joined.drop(columns="place").reset_index(drop=True)
