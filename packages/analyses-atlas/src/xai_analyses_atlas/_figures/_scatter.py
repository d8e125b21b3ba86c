"""Points with a fitted line and its band, with covariates as partial residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ._linear import LinearFit, linear_fit
from ._style import GROUP_COLOURS, MARKERS, legend, styled, title

__all__ = ["scatter"]

Array = npt.NDArray[Any]


@styled
def scatter(
    x: Array,
    y: Array,
    *,
    x_label: str,
    y_label: str,
    heading: str,
    groups: Sequence[object] | None = None,
    covariates: Array | None = None,
    covariate_names: Sequence[str] = (),
    level: float = 0.95,
    fit: bool = True,
    identity: bool = False,
) -> Figure:
    """Draw a point for each person, the least-squares line and the interval of its mean.

    With covariates the points are partial residuals (see ``linear_fit``), so that line and points show the same
    model. Under the heading stand n, r (partial where there are covariates) with its interval, and p.

    Args:
        x: [N]; NaN is left out and counted.
        y: [N].
        x_label: With the unit.
        y_label: With the unit.
        heading: Title; lines end with a line feed.
        groups: Of each person [N], at most six, by colour and marker; the line is that of all.
        covariates: Numbers [N, K].
        covariate_names: For the axis.
        level: Of the intervals.
        fit: Whether a line is drawn at all.
        identity: Draw y = x too, with the same scale on both axes (predicted over true age).

    Raises:
        InputError: See ``linear_fit``.
        ValueError: More than six groups, or covariates without ``fit``.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if covariates is not None and not fit:
        raise ValueError("partial residuals need the fit")
    line = linear_fit(x, y, covariates, level=level) if fit else None
    kept = line.kept if line else np.isfinite(x) & np.isfinite(y)
    shown_x, shown_y = x[kept], (line.partial if line else y[kept])
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axis = figure.subplots()
    names = ["" for _ in x] if groups is None else [str(group) for group in groups]
    labels = list(dict.fromkeys(names))
    if len(labels) > len(GROUP_COLOURS):
        raise ValueError(f"{len(labels)} groups cannot be told apart")
    own = np.asarray(names)[kept]
    for number, label in enumerate(labels):
        mine = own == label
        axis.scatter(shown_x[mine], shown_y[mine], s=18, color=GROUP_COLOURS[number], marker=MARKERS[number],
                     alpha=0.8, linewidths=0, label=label)  # fmt: skip
    if identity:
        ends = (float(min(shown_x.min(), shown_y.min())), float(max(shown_x.max(), shown_y.max())))
        axis.plot(ends, ends, color="0.5", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        room = 0.05 * (ends[1] - ends[0]) or 1.0
        # The limits are set before the layout: with a box that follows the data the labels would be cut off.
        axis.set(xlim=(ends[0] - room, ends[1] + room), ylim=(ends[0] - room, ends[1] + room))
        axis.set_aspect("equal", adjustable="box")
    if line is not None:
        at = np.linspace(shown_x.min(), shown_x.max(), 100)
        middle, lower, upper = line.line(at)
        axis.fill_between(at, lower, upper, color="0.5", alpha=0.25, linewidth=0, zorder=0)
        axis.plot(at, middle, color="black", linewidth=1.2, zorder=1)
    axis.set_xlabel(x_label)
    given = f"\n(given {', '.join(covariate_names) or 'covariates'})" if covariates is not None else ""
    axis.set_ylabel(y_label + given)
    if len(labels) > 1:
        legend(figure, axis)
    title(figure, [*heading.split("\n"), _numbers(line, int(kept.sum()), len(x), covariates is not None)])
    return figure


def _numbers(line: LinearFit | None, n: int, people: int, partial: bool) -> str:
    out = f" ({people - n} without values)" if n < people else ""
    if line is None:
        return f"n = {n}{out}"
    r = f"{'partial r' if partial else 'r'} = {line.r:.2f} [{line.r_low:.2f}, {line.r_high:.2f}]"
    p = "p < 0.001" if line.p < 0.001 else f"p = {line.p:.3f}"
    # Spaces that do not break: a number stays with its name where the line is too long.
    return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in (f"n = {n}{out}", r, p))
