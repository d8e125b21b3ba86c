"""Charts of what the test scores rest on: calibration, and the gap between predicted and true value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._charts import COLOURS, figure_of, plain_text
from ._texts import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, Any]

__all__ = ["calibration_chart", "gap_chart"]

_KINDS = {
    "probability": ("chart.network", COLOURS[0], "o", "-"),
    "calibrated": ("chart.calibrated", COLOURS[1], "s", "--"),
}


def calibration_chart(curve: pd.DataFrame) -> Figure | None:
    """Draw observed shares against predicted probabilities, a panel for each class, with 95 % intervals of the shares.

    Args:
        curve: ``kind``, ``class``, ``predicted``, ``observed``, ``observed_low``, ``observed_high``.

    Returns:
        The figure, or None where there is no point.
    """
    names = [str(name) for name in dict.fromkeys(curve["class"])]
    if not names:
        return None
    figure, axes = figure_of(len(names))
    for ax, name in zip(axes, names, strict=True):
        ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label=plain("chart.perfect"))
        for kind, (label, colour, marker, style) in _KINDS.items():
            rows = curve[(curve["class"] == name) & (curve["kind"] == kind)].sort_values("predicted")
            if not len(rows):
                continue
            x, y = rows["predicted"].to_numpy(dtype=float), rows["observed"].to_numpy(dtype=float)
            ends = rows[["observed_low", "observed_high"]].to_numpy(dtype=float)
            errors = np.clip(np.stack([y - ends[:, 0], ends[:, 1] - y]), 0, None)
            ax.errorbar(
                x, y, yerr=errors, color=colour, marker=marker, linestyle=style, label=plain(label), capsize=2,
                linewidth=1.3, elinewidth=0.8,
            )  # fmt: skip
        shown = plain_text(name)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set(xlabel=plain("chart.probability", name=shown), ylabel=plain("chart.share", name=shown))
        ax.legend(loc="upper left", fontsize="small")
    return figure


def gap_chart(true: Sequence[float], gap: Sequence[float], corrected: Sequence[float] | None) -> Figure:
    """Draw the gap against the true value, before and (where there is one) after the correction, with fitted lines.

    Args:
        true: True value of each scan.
        gap: Predicted less true value.
        corrected: The same of the corrected predictions, NaN where there is none; None without a correction.
    """
    gaps = [(plain("chart.gap"), np.asarray(gap, dtype=float), COLOURS[0])]
    if corrected is not None and np.isfinite(np.asarray(corrected, dtype=float)).any():
        gaps.append((plain("chart.corrected_gap"), np.asarray(corrected, dtype=float), COLOURS[1]))
    figure, axes = figure_of(len(gaps))
    limit = 1.05 * max(float(np.nanmax(np.abs(values))) for _, values, _ in gaps) or 1.0
    for ax, (name, values, colour) in zip(axes, gaps, strict=True):
        _gap(ax, np.asarray(true, dtype=float), values, colour)
        ax.set(
            ylim=(-limit, limit),
            xlabel=plain("chart.true_value"),
            ylabel=plain("chart.gap_axis", name=name),
            title=name,
        )
    return figure


def _gap(ax: Axes, true: Array, gap: Array, colour: str) -> None:
    known = np.isfinite(gap)
    x, y = true[known], gap[known]
    ax.axhline(0, color="0.6", linestyle=":")
    ax.scatter(x, y, s=20, color=colour, alpha=0.7, linewidths=0)
    if len(x) > 2 and np.ptp(x) > 0:
        slope, intercept = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(
            ends,
            intercept + slope * ends,
            color="0.15",
            linewidth=1.5,
            label=plain("chart.slope", slope=f"{slope:+.2f}"),
        )
        ax.legend(loc="upper right", fontsize="small")
