"""A relevance map over its scan in three planes, as a matplotlib figure."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from ..errors import InputError
from .mapvolumes import AGAINST, FOR, Array, Convention, map_volumes
from .mapwidget import map_widget
from .richdisplay import picture_html

if TYPE_CHECKING:
    from ipyniivue import NiiVue
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["Convention", "MapOfScan", "figure_png", "plot_explanation", "plot_map"]

_SIDES = (("P", "A"), ("L", "R"), ("L", "R"))
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class MapOfScan:
    """A relevance map in memory, on the grid of its scan.

    Attributes:
        image: float32 NIfTI on the grid of the scan.
        sidecar: What the JSON file beside it holds.
        scan: What is explained (its first channel), on the grid of ``image``; None: not kept.
    """

    image: nib.Nifti1Image
    sidecar: Mapping[str, Any]
    scan: nib.Nifti1Image | None = field(default=None, kw_only=True)

    def to_nifti(self) -> nib.Nifti1Image:
        """Return the map on the grid of the scan."""
        return self.image

    def plot(self, **options: Any) -> Figure:
        """Draw the map over its scan in three planes; options are those of ``plot_map``."""
        return plot_explanation(self.image, self.scan, self.sidecar, **options)

    def view(self, **options: Any) -> NiiVue:
        """Return an interactive viewer for a notebook; options as of ``xai_core.engine.mapwidget.map_widget``."""
        return map_widget(self.image, self.scan, **options)

    def _repr_html_(self) -> str:
        return picture_html(figure_png(self.plot()), "relevance")


def plot_map(
    relevance: nib.Nifti1Image,
    scan: nib.Nifti1Image | None,
    title: str,
    *,
    cut: tuple[float, float, float] | None = None,
    threshold: float = 95,
    limit: float = 99.9,
    convention: Convention = "neurological",
) -> Figure:
    """Draw a map over its scan in a sagittal, a coronal and an axial plane.

    Args:
        relevance: [D, H, W], or with channels (they are added up). Warm colours are relevance for the output, cold ones
            against it.
        scan: On the same grid; None: the map alone.
        title: Above the planes.
        cut: Where the planes meet, mm in the scan's world (RAS+); None: at the largest absolute relevance.
        threshold: Percentile of the absolute relevance, among voxels where it is not zero, below which nothing is
            drawn, in [0, 100).
        limit: Percentile of the same at which the colours end, above ``threshold``.
        convention: Side of the picture on which the patient's left lies: left, or right for ``"radiological"``.

    Raises:
        InputError: matplotlib is not installed, the scan lies on another grid, ``cut`` outside of it, the percentiles
            are not in order, or the map holds NaN or infinities.
    """
    try:
        from .mapfigure import MapFigure
    except ImportError as error:
        raise InputError("Maps are drawn by matplotlib, which is not installed: pip install matplotlib") from error

    shown = map_volumes(relevance, scan, cut=cut, threshold=threshold, limit=limit, convention=convention)
    values, affine, index = shown.values, shown.affine, shown.index
    grey = np.zeros_like(values) if shown.grey is None else shown.grey
    figure = MapFigure(figsize=(9.5, 3.6), facecolor="black", layout="constrained")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sides = spacing * values.shape  # mm; one scale for all planes
    axes = figure.subplots(1, 3, width_ratios=[sides[1], sides[0], sides[0]])
    drawn: Any = None
    for axis in range(3):
        picture = _plane(grey, axis, index, convention), _plane(values, axis, index, convention)
        drawn = _panel(axes[axis], picture, axis, spacing, (shown.low, shown.high), convention)
    place = affine @ [*index, 1.0]
    where = ", ".join(f"{name} {value:.0f}" for name, value in zip("xyz", place[:3], strict=True))
    figure.suptitle(f"{title}   {where} mm", color="white", fontsize=10, parse_math=False)
    if shown.high > 0:
        bar = figure.colorbar(drawn, ax=list(axes), shrink=0.8)
        bar.ax.tick_params(colors="white", labelsize=8)
        bar.set_label(f"relevance (shown from {shown.low:.2g})", color="white", fontsize=8)
    else:
        figure.supxlabel("no relevance: every voxel is zero", color="white", fontsize=9)
    return figure


def plot_explanation(
    relevance: nib.Nifti1Image, scan: nib.Nifti1Image | None, sidecar: Mapping[str, Any], **options: Any
) -> Figure:
    """Draw a map whose title follows from its sidecar; options as of ``plot_map``."""
    target = sidecar.get("target_name")
    explained = "" if target in (None, "value") else f" for {target}"
    title = f"{sidecar.get('scan_id', 'scan')}   {sidecar.get('explainer_id', '')}{explained}"
    return plot_map(relevance, scan, title, **options)


def figure_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()


def _plane(volume: Array, axis: int, index: tuple[int, int, int], convention: Convention) -> Array:
    """Return a plane as rows from below upwards."""
    plane: Array = np.take(volume, index[axis], axis=axis).T
    return plane[:, ::-1] if convention == "radiological" and axis > 0 else plane


def _colours() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("relevance", [*reversed(AGAINST), *FOR])


def _panel(
    axes: Axes, picture: tuple[Array, Array], axis: int, spacing: Array, ends: tuple[float, float], convention: str
) -> Any:
    across, up = ((1, 2), (0, 2), (0, 1))[axis]
    grey, values = picture
    low, high = ends
    aspect = float(spacing[up] / spacing[across])
    style: dict[str, Any] = {"origin": "lower", "aspect": aspect, "interpolation": "nearest"}
    axes.imshow(grey, cmap="gray", **style)
    strength = np.abs(values)
    # Zero is never drawn, also where the threshold is 0.
    alpha = np.where((strength >= low) & (strength > 0), np.clip(0.5 + strength / (high or 1), 0, 1), 0)
    drawn = axes.imshow(values, cmap=_colours(), vmin=-(high or 1), vmax=high or 1, alpha=alpha, **style)
    axes.set_axis_off()
    left, right = _SIDES[axis] if axis == 0 or convention == "neurological" else ("R", "L")
    for x, side, align in ((0.01, left, "left"), (0.99, right, "right")):
        axes.text(x, 0.5, side, transform=axes.transAxes, color="white", ha=align, va="center", fontsize=9)
    axes.set_title(_PLANES[axis], color="white", fontsize=8)
    return drawn
