"""Bars of regions with intervals, groups side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._style import GROUP_COLOURS, HATCHES, legend, shown_names, styled, title

__all__ = ["bars"]

Array = npt.NDArray[Any]

_BAR, _GAP = 0.11, 0.09  # inch


@styled
def bars(
    table: pd.DataFrame,
    *,
    value: str,
    value_label: str,
    heading: str,
    name: str = "region",
    low: str | None = None,
    high: str | None = None,
    group: str | None = None,
    significant: str | None = None,
    significance: str = "",
    most: int = 40,
) -> Figure:
    """Draw one horizontal bar for each region, or one for each region and group.

    Regions stand from above in the order of their first row; more than ``most`` are cut, and the heading says so.
    A value that is missing is written as n/a.

    Args:
        table: A row for each region (and group).
        value: Column of the bars' lengths.
        value_label: What they are, with the unit.
        heading: Title; lines end with a line feed.
        name: Column of the regions' names.
        low: Column of the lower ends of the intervals, absolute values (not distances).
        high: Column of the upper ends.
        group: Column of the groups, at most six.
        significant: Column (bool) of bars that get a star.
        significance: What a star means, such as "FDR q < 0.05".
        most: Regions to show.

    Raises:
        ValueError: A column is missing, there is no row, or there are more than six groups, or two rows of a bar.
    """
    wanted = [column for column in (value, name, low, high, group, significant) if column is not None]
    if missing := [column for column in wanted if column not in table]:
        raise ValueError(f"the table has no column {', '.join(missing)}")
    regions = list(dict.fromkeys(table[name].tolist()))
    groups = [None] if group is None else list(dict.fromkeys(table[group].tolist()))
    if not regions or len(groups) > len(GROUP_COLOURS):
        raise ValueError(f"{len(regions)} regions and {len(groups)} groups cannot be drawn")
    if table.duplicated([name] if group is None else [name, group]).any():
        raise ValueError(f"a bar has two rows: {name} and {group} do not tell the rows apart")
    shown = regions[:most]
    figure = Figure(figsize=(7.2, 1.5 + (_BAR * len(groups) + _GAP) * len(shown)), layout="constrained")
    axis = figure.subplots()
    thick = 0.8 / len(groups)
    for number, label in enumerate(groups):
        part = (table if group is None else table[table[group] == label]).set_index(name).reindex(shown)
        place = np.arange(len(shown)) - 0.4 + thick * (number + 0.5)
        _group(axis, part, place, thick, number, (value, low, high, significant), None if label is None else str(label))
    axis.set_yticks(np.arange(len(shown)), shown_names(shown), fontsize=8)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel(value_label)
    axis.margins(x=0.08)
    axis.grid(axis="x", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if len(groups) > 1:
        legend(figure, axis)
    star = f"*: {significance}" if significance else ""
    cut = f"the first {most} of {len(regions)} regions" if len(regions) > most else ""
    title(figure, [*heading.split("\n"), "; ".join(text for text in (star, cut) if text)])
    return figure


def _group(
    axis: Axes, part: pd.DataFrame, place: Array, thick: float, number: int,
    columns: tuple[str, str | None, str | None, str | None], label: str | None,
) -> None:  # fmt: skip
    value, low, high, significant = columns
    lengths = part[value].to_numpy(np.float64)
    look: dict[str, Any] = {"color": GROUP_COLOURS[number], "hatch": HATCHES[number], "edgecolor": "white"}
    axis.barh(place, np.nan_to_num(lengths), height=thick * 0.92, label=label, linewidth=0, **look)
    ends = lengths
    if low is not None and high is not None:
        limits = part[[low, high]].to_numpy(np.float64)
        axis.hlines(place, limits[:, 0], limits[:, 1], color="black", linewidth=1)
        for end in (0, 1):
            axis.plot(limits[:, end], place, linestyle="none", marker="|", markersize=4, color="black")
        ends = np.where(np.isfinite(limits[:, 1]), np.where(lengths < 0, limits[:, 0], limits[:, 1]), lengths)
    stars = np.zeros(len(part), bool) if significant is None else part[significant].eq(True).to_numpy()
    for y, length, end, star in zip(place, lengths, ends, stars, strict=True):
        if not np.isfinite(length):
            axis.annotate("n/a", (0, y), (4, 0), textcoords="offset points", va="center", fontsize=7, color="0.35")
        elif star:
            side = -1 if length < 0 else 1
            axis.annotate("*", (end, y), (5 * side, -3), textcoords="offset points", ha="center", va="center")
