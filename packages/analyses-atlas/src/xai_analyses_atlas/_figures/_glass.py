"""A map as a glass brain."""

from __future__ import annotations

import textwrap
import warnings
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from .._grids import Grid
from ._style import DIVERGING, ZERO, styled, title

__all__ = ["glass_brain"]

Array = npt.NDArray[Any]
_LABEL = 30  # characters beside the colours


@styled
def glass_brain(
    volume: Array,
    grid: Grid,
    *,
    value_label: str,
    heading: str,
    limit: float | None = None,
    threshold: float = 0.0,
) -> Figure:
    """Project a map in MNI space through a transparent brain: left, front, right and from above.

    Each pixel shows the value of the largest magnitude along its line (nilearn's ``plot_glass_brain``). The patient's
    left is on the picture's left, and L and R say so.

    Args:
        volume: [D, H, W], finite.
        grid: Of ``volume``, in MNI space.
        value_label: Beside the colours, with the unit.
        heading: Title; lines end with a line feed.
        limit: |value| where colours end; None: the largest.
        threshold: |value| below it is not drawn.
    """
    from nilearn import plotting

    strongest = float(np.abs(volume).max())
    reach = limit or strongest or 1.0
    figure = Figure(figsize=(9.5, 3.2))
    image = nib.Nifti1Image(np.asarray(volume, np.float32), grid.affine)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="empty mask")  # nothing is to be drawn: the heading says so
        plotting.plot_glass_brain(
            image, figure=figure, axes=(0.0, 0.03, 0.87, 0.78), display_mode="lyrz", plot_abs=False,
            threshold=threshold, vmin=-reach, vmax=reach, cmap=DIVERGING, colorbar=False, annotate=True,
        )  # fmt: skip
    # nilearn's own colour bar has its numbers over the last brain.
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-reach, reach), DIVERGING)
    bar = figure.colorbar(
        scale, cax=figure.add_axes((0.89, 0.1, 0.014, 0.64)), label=textwrap.fill(value_label, _LABEL),
        extend="both" if strongest > reach else "neither",
    )  # fmt: skip
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))  # numbers short enough for the label beside them
    bar.ax.yaxis.set_offset_position("left")
    title(figure, [*heading.split("\n"), "" if volume.any() else ZERO])
    return figure
