"""What the pictures share: colours, scales, text."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

__all__ = ["colour_limit", "over", "png", "ticks", "warm_cold"]

Array = npt.NDArray[Any]

# Dark to light away from zero, warm for relevance for the output and cold for relevance against it: the same colours
# as in the HTML report.
_FOR = ((0.60, 0.02, 0.05), (0.96, 0.36, 0.05), (1.00, 0.93, 0.35))
_AGAINST = ((0.08, 0.10, 0.62), (0.05, 0.50, 0.95), (0.65, 0.98, 1.00))


def colour_limit(relevance: Array, quantile: float) -> tuple[float, bool]:
    """Return where the colours of a map end.

    Args:
        relevance: Any shape, finite.
        quantile: Of |relevance| over all voxels.

    Returns:
        The quantile and True; where it is 0 (nearly all voxels are) the largest |relevance| and False.
    """
    strength = np.abs(relevance)
    limit = float(np.quantile(strength, quantile))
    return (limit, True) if limit > 0 else (float(strength.max()), False)


def warm_cold(values: Array, limit: float) -> tuple[Array, Array]:
    """Return colours [..., 3] in 0..1 and opacity [...], symmetric about zero; opacity falls with |value| to nothing.

    Args:
        values: Any shape.
        limit: |value| at the end of the colours; 0: every value is zero.
    """
    position = np.clip(np.abs(values) / (limit or 1.0), 0, 1)
    stops = np.linspace(0, 1, len(_FOR))
    colours = np.empty((*values.shape, 3))
    for channel in range(3):
        warm = np.interp(position, stops, [colour[channel] for colour in _FOR])
        cold = np.interp(position, stops, [colour[channel] for colour in _AGAINST])
        colours[..., channel] = np.where(values < 0, cold, warm)
    return colours, np.clip(1.5 * position, 0, 1)


def over(base: Array, values: Array, limit: float) -> Array:
    """Lay relevance over grey.

    Args:
        base: Grey [...] in 0..1.
        values: Relevance [...].
        limit: See ``warm_cold``.

    Returns:
        RGB [..., 3] in 0..1.
    """
    colours, opacity = warm_cold(values, limit)
    mixed: Array = base[..., None] * (1 - opacity[..., None]) + colours * opacity[..., None]
    return mixed


def ticks(limit: float) -> tuple[list[float], list[str]]:
    """Return five positions from -limit to limit and their numbers."""
    positions = [-limit, -limit / 2, 0.0, limit / 2, limit]
    return positions, [f"{position:.3g}" for position in positions]


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return the bytes of a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
