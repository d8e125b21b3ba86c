"""Two maps and their difference in three planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xai_core import InputError

from ._compare import Comparison
from ._drawing import colour_limit, png, ticks
from ._grids import Grid, to_ras
from ._pairs import Pair

__all__ = ["QUANTILE", "write_figure"]

Array = npt.NDArray[Any]

QUANTILE = 0.9999  # of |relevance| where colours end, so that one voxel does not whiten all others
_PLAIN: dict[str, Any] = {"parse_math": False}
_SIDES = (("P", "A"), ("L", "R"), ("L", "R"))
_PLANES = ("sagittal", "coronal", "axial")


def write_figure(pair: Pair, found: Comparison, place: tuple[int, ...], where: str, path: Path) -> None:
    """Draw A, B and B - A through the voxel ``place``; A and B share one scale, the difference has its own.

    The patient's left is on the picture's left. Voxels outside of the mask are grey.

    Raises:
        InputError: The maps are no volumes, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--output {path}: the picture is a PNG file. Give a name that ends in .png.")
    first, second = pair.volumes("--output")
    volumes, spacing, cut = _turned([first, second, second - first], pair, place[:3])
    ends = [colour_limit(volume[np.isfinite(volume)], QUANTILE)[0] for volume in volumes]
    limits = [max(ends[:2]), max(ends[:2]), ends[2]]
    figure = Figure(figsize=(11, 10.5), facecolor="white")
    sizes = [n * s for n, s in zip(volumes[0].shape, spacing, strict=True)]
    grid = figure.add_gridspec(
        3, 4, width_ratios=[sizes[1], sizes[0], sizes[0], 0.06 * sum(sizes)], left=0.02, right=0.9, bottom=0.02,
        top=0.9, hspace=0.16, wspace=0.04,
    )  # fmt: skip
    titles = (
        f"A: {_tail(pair.names[0])}   sum {found.sum_a:.4g}, largest {found.largest_a:.4g}",
        f"B: {_tail(pair.names[1])}   sum {found.sum_b:.4g}, largest {found.largest_b:.4g}",
        f"B - A   sum {found.sum_difference:.4g}, largest {found.largest_difference:.4g}",
    )
    for row, (volume, limit, title) in enumerate(zip(volumes, limits, titles, strict=True)):
        axes = [figure.add_subplot(grid[row, column]) for column in range(3)]
        for plane, axis in enumerate(axes):
            _panel(axis, volume, plane, cut, spacing, limit, known=pair.grid is not None, named=row == 0)
        axes[0].set_title(title, loc="left", fontsize=10, **_PLAIN)
        _bar(figure.add_subplot(grid[row, 3]), volume, limit)
    figure.text(0.02, 0.985, "\n".join(_headline(pair, found, where)), va="top", fontsize=11, **_PLAIN)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(figure))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Give another --output.") from error


def _turned(
    volumes: list[Array], pair: Pair, place: tuple[int, ...]
) -> tuple[list[Array], tuple[float, float, float], tuple[int, ...]]:
    """Return volumes with axes RAS, NaN outside of the mask, their spacing, and where ``place`` went."""
    shape = (volumes[0].shape[0], volumes[0].shape[1], volumes[0].shape[2])
    grid = pair.grid or Grid(shape, np.eye(4))
    marker = np.zeros(shape, dtype=bool)
    marker[place] = True
    marked, ras = to_ras(marker, grid)
    cut = tuple(int(i) for i in np.unravel_index(int(marked.argmax()), marked.shape))
    if pair.inside is not None:
        volumes = [np.where(pair.inside, volume, np.nan) for volume in volumes]
    return [to_ras(volume, grid)[0] for volume in volumes], ras.spacing, cut


def _panel(
    axis: Axes, volume: Array, plane: int, cut: tuple[int, ...], spacing: tuple[float, float, float], limit: float,
    *, known: bool, named: bool,
) -> None:  # fmt: skip
    across, up = [i for i in range(3) if i != plane]
    picture = np.take(volume, cut[plane], axis=plane).T
    extent = (0, volume.shape[across] * spacing[across], 0, volume.shape[up] * spacing[up])
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="0.85")
    reach = limit or 1.0
    axis.imshow(picture, origin="lower", extent=extent, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
    style: dict[str, Any] = {"color": "0.35", "linewidth": 0.5, "linestyle": (0, (4, 4))}
    axis.axvline((cut[across] + 0.5) * spacing[across], **style)
    axis.axhline((cut[up] + 0.5) * spacing[up], **style)
    axis.set_xticks([])
    axis.set_yticks([])
    corner: dict[str, Any] = {"transform": axis.transAxes, "va": "top", "fontsize": 8}
    if not known:
        axis.text(0.02, 0.98, f"axis {across} to the right, axis {up} upwards", ha="left", **corner)
        return
    if named:
        axis.text(0.98, 0.98, _PLANES[plane], ha="right", **corner)
    for side, letter in zip(("left", "right"), _SIDES[plane], strict=True):
        x = 0.02 if side == "left" else 0.98
        axis.text(x, 0.5, letter, transform=axis.transAxes, ha=side, va="center", fontsize=9, weight="bold")


def _bar(axis: Axes, volume: Array, limit: float) -> None:
    if limit == 0:
        axis.set_axis_off()
        axis.text(0, 0.5, "zero\neverywhere", transform=axis.transAxes, va="center", fontsize=9)
        return
    strip = np.linspace(-limit, limit, 256)[:, None]
    axis.imshow(strip, origin="lower", aspect="auto", extent=(0, 1, -limit, limit), cmap="RdBu_r")
    axis.set_xticks([])
    axis.yaxis.tick_right()
    positions, labels = ticks(limit)
    if float(np.nanmax(np.abs(volume))) > limit:  # colours end before the values do
        labels[0], labels[-1] = f"\N{LESS-THAN OR EQUAL TO} {labels[0]}", f"\N{GREATER-THAN OR EQUAL TO} {labels[-1]}"
    axis.set_yticks(positions, labels, fontsize=9)


def _headline(pair: Pair, found: Comparison, where: str) -> list[str]:
    if found.identical:
        return ["The maps are identical: every value is the same.", f"planes through {where}"]
    numbers = {
        "correlation": found.pearson, "cosine": found.cosine, "L1 difference / L1 of A": found.l1_relative,
        "largest difference / largest |A|": found.largest_relative,
    }  # fmt: skip
    text = ",  ".join(f"{name} {'not defined' if v is None else f'{v:.6g}'}" for name, v in numbers.items())
    sides = "left is left" if pair.grid is not None else "no affine: sides are not known"
    return [text, f"planes through the largest difference, {where}; {sides}; colours end at the {QUANTILE} quantile"]


def _tail(name: str, most: int = 80) -> str:
    return name if len(name) <= most else "..." + name[-most:]
