"""A map over a template in axial slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from ._drawing import over, png, ticks
from ._grids import Grid, to_ras

__all__ = ["Background", "mosaic", "shown_planes"]

Array = npt.NDArray[Any]
Convention = Literal["neurological", "radiological"]

_COLUMNS, _ROWS = 6, 2
_SEEN = 0.1  # of white: a plane whose brightest pixel is below shows nothing of the template
_PIXEL = 1.0  # mm, of the template in a picture; finer than most maps
_STYLE: dict[str, Any] = {"color": "white", "parse_math": False}  # names of groups may hold a dollar


@dataclass(frozen=True)
class Background:
    """What a map is drawn over.

    Attributes:
        data: Grey values [D, H, W], finite, background 0.
        grid: Where they lie.
    """

    data: Array
    grid: Grid

    def at(self, world: Array) -> Array:
        """Return the grey value in 0..1 at positions [..., 3] in mm; 0 outside of the field of view."""
        inverse = np.linalg.inv(self.grid.affine)
        index = np.moveaxis(world @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
        values = ndimage.map_coordinates(self.data, index, order=1, mode="grid-constant", cval=0.0)
        bright: Array = np.clip(values / self.white, 0, 1)
        return bright

    @cached_property
    def white(self) -> float:
        """Intensity that is drawn white: the 99.5th percentile of what is not background."""
        inside = self.data[self.data > 0]
        return float(np.percentile(inside, 99.5)) if inside.size else 1.0


def mosaic(
    relevance: Array,
    grid: Grid,
    background: Background,
    limit: float,
    peak: tuple[int, int, int] | None,
    lines: Sequence[str],
    convention: Convention,
    *,
    quantity: str = "relevance",
) -> bytes:
    """Draw up to twelve axial slices, from below upwards, the peak's among them.

    Args:
        relevance: [D, H, W], finite.
        grid: Of ``relevance``. Of an oblique one its own planes are shown.
        background: Lies in the same world.
        limit: |relevance| at the end of the colours.
        peak: Voxel of the largest |relevance|; None: there is no relevance.
        lines: Title, a line each.
        convention: Whether the patient's left is on the picture's left (neurological) or right.
        quantity: What the values are, above the colours.

    Returns:
        A PNG file.
    """
    marked = np.zeros(relevance.shape, dtype=bool)
    if peak is not None:
        marked[peak] = True
    turned, ras = to_ras(relevance, grid)
    top = None if peak is None else int(np.argmax(to_ras(marked, grid)[0].any(axis=(0, 1))))
    planes = shown_planes(turned, ras, background, top)
    figure = Figure(figsize=(13, 6.2), facecolor="black")
    axes = figure.subplots(_ROWS, _COLUMNS, squeeze=False).ravel()
    figure.subplots_adjust(0.01, 0.02, 0.9, 0.86, 0.03, 0.05)
    for axis in axes:
        axis.set_axis_off()
    for axis, plane in zip(axes, planes, strict=False):
        _panel(axis, turned, ras, background, plane, limit, convention)
    figure.text(0.01, 0.98, "\n".join(lines), va="top", fontsize=11, **_STYLE)
    _bar(figure, limit, quantity, empty=peak is None)
    return png(figure)


def shown_planes(relevance: Array, grid: Grid, background: Background, peak: int | None) -> list[int]:
    """Return the indices along the third axis of a volume (axes RAS) to show: evenly through template and map.

    Those in which the template shows, or (where it does not meet the map) all; the peak's replaces the nearest one.
    """
    middle = [(n - 1) // 2 for n in relevance.shape]
    shown = [k for k in range(relevance.shape[2]) if (_grey(grid, background, k, (1, 1)) > _SEEN).any()] or [middle[2]]
    if peak is not None:
        shown = list(range(min(shown[0], peak), max(shown[-1], peak) + 1))
    count = min(_ROWS * _COLUMNS, len(shown))
    # The outermost slices show little more than the edge of the brain.
    places = np.linspace(0, len(shown) - 1, count + 2)[1:-1] if len(shown) > count else np.arange(count)
    chosen = [shown[round(float(place))] for place in places]
    if peak is not None and peak not in chosen:
        chosen[int(np.argmin([abs(plane - peak) for plane in chosen]))] = peak
    return sorted(set(chosen))


def _grey(grid: Grid, background: Background, plane: int, refine: tuple[int, int]) -> Array:
    """Return the template in one plane of a grid, each voxel divided into ``refine`` pixels, as [X, Y]."""
    first, second = ((np.arange(n * r) + 0.5) / r - 0.5 for n, r in zip(grid.shape[:2], refine, strict=True))
    index = np.stack([*np.meshgrid(first, second, indexing="ij"), np.full((len(first), len(second)), float(plane))], -1)
    return background.at(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])


def _panel(
    axis: Axes, relevance: Array, grid: Grid, background: Background, plane: int, limit: float, convention: Convention
) -> None:
    x, y, _z = grid.spacing
    refine = (max(1, round(x / _PIXEL)), max(1, round(y / _PIXEL)))
    values = relevance[:, :, plane].repeat(refine[0], axis=0).repeat(refine[1], axis=1)
    picture = over(_grey(grid, background, plane, refine), values, limit).transpose(1, 0, 2)
    mirrored = convention == "radiological"
    width, height = grid.shape[0] * x, grid.shape[1] * y
    axis.imshow(picture[:, ::-1] if mirrored else picture, origin="lower", extent=(0, width, 0, height),
                interpolation="nearest")  # fmt: skip
    left, right = ("R", "L") if mirrored else ("L", "R")
    style = {"transform": axis.transAxes, "fontsize": 9, **_STYLE}
    axis.text(0.01, 0.5, left, ha="left", va="center", **style)
    axis.text(0.99, 0.5, right, ha="right", va="center", **style)
    centre = grid.world(((grid.shape[0] - 1) // 2, (grid.shape[1] - 1) // 2, plane))
    tilted = np.count_nonzero(np.abs(grid.affine[:3, :3]) > 1e-3 * min(grid.spacing)) > 3
    axis.text(0.01, 0.01, f"z {'about ' if tilted else ''}{centre[2]:.3g} mm", ha="left", va="bottom", **style)


def _bar(figure: Figure, limit: float, quantity: str, *, empty: bool) -> None:
    axis = figure.add_axes((0.925, 0.12, 0.014, 0.62))
    if empty:
        axis.set_axis_off()
        figure.text(0.905, 0.45, f"no {quantity}:\nevery voxel\nis zero", fontsize=9, **_STYLE)
        return
    values = np.linspace(-limit, limit, 256)[:, None]
    axis.imshow(over(np.full_like(values, 0.35), values, limit), origin="lower", aspect="auto",
                extent=(0, 1, -limit, limit), interpolation="nearest")  # fmt: skip
    axis.set_xticks([])
    positions, labels = ticks(limit)
    axis.yaxis.tick_right()
    axis.set_yticks(positions, labels, color="white", fontsize=9)
    axis.tick_params(color="white")
    figure.text(0.905, 0.76, quantity, fontsize=9, **_STYLE)
