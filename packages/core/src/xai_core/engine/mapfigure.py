"""A figure that a notebook shows as it is. Apart from ``mapplot``, because it needs matplotlib when it is imported."""

from __future__ import annotations

from matplotlib.figure import Figure

from .mapplot import figure_png

__all__ = ["MapFigure"]


class MapFigure(Figure):
    """A matplotlib figure that shows itself in a notebook, also where pyplot was not imported there."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)
