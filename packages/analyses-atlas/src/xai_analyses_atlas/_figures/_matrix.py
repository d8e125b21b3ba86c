"""A matrix of regions by features, with what is significant marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ._style import DIVERGING, shown_names, styled, title

__all__ = ["matrix"]

_CELL = 0.24  # inch


@styled
def matrix(
    values: pd.DataFrame,
    *,
    value_label: str,
    heading: str,
    significant: pd.DataFrame | None = None,
    significance: str = "",
    limit: float | None = None,
    most: int = 60,
) -> Figure:
    """Draw a coloured cell for each region (row) and feature (column).

    Colours are symmetric about zero. A cell without a value is hatched. More than ``most`` rows are cut, and the
    heading says so.

    Args:
        values: Numbers, such as correlations; the index names regions, the columns features.
        value_label: What they are.
        heading: Title; lines end with a line feed.
        significant: Bool, the same index and columns: these cells get a star.
        significance: What a star means, such as "FDR q < 0.05".
        limit: |value| where colours end; None: the largest.
        most: Rows to show.

    Raises:
        ValueError: There is no cell, or ``significant`` has other rows or columns.
    """
    if values.empty:
        raise ValueError("the matrix has no cell")
    if significant is not None and not (
        significant.index.equals(values.index) and significant.columns.equals(values.columns)
    ):
        raise ValueError("significant has other rows or columns than values")
    cells = values.to_numpy(np.float64)[:most]
    rows, columns = cells.shape
    strongest = float(np.nanmax(np.abs(cells))) if np.isfinite(cells).any() else 0.0
    reach = limit or strongest or 1.0
    figure = Figure(figsize=(5.0 + _CELL * columns, 2.6 + _CELL * rows), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(cells, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="equal", interpolation="nearest")
    axis.set_yticks(range(rows), shown_names(values.index[:most]))
    axis.set_xticks(range(columns), shown_names(values.columns, 30), rotation=90)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    marked = np.zeros(cells.shape, bool) if significant is None else significant.to_numpy(bool)[:most]
    for row, column in np.argwhere(~np.isfinite(cells)):
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, hatch="////", facecolor="0.93", edgecolor="0.6", linewidth=0)
        axis.add_patch(box)
    for row, column in np.argwhere(marked & np.isfinite(cells)):
        ink = "white" if abs(cells[row, column]) > 0.6 * reach else "black"
        axis.text(column, row + 0.08, "*", ha="center", va="center", color=ink, fontsize=11)
    bar = figure.colorbar(picture, ax=axis, location="right", shrink=min(1.0, 6 / rows + 0.1), aspect=14, pad=0.02,
                          extend="both" if strongest > reach else "neither")  # fmt: skip
    bar.set_label(value_label)
    hatched = "hatched: no value" if not np.isfinite(cells).all() else ""
    star = f"*: {significance}" if significance else ""
    cut = f"the first {most} of {len(values)} rows" if len(values) > most else ""
    title(figure, [*heading.split("\n"), "; ".join(text for text in (star, hatched, cut) if text)])
    return figure
