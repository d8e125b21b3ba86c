"""Colours and scale of relevance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Scale", "colours", "gradient", "scale_of"]

Array = np.ndarray[Any, Any]

# Dark to light away from zero, warm for relevance for the output and cold for relevance against it; both ends differ
# in hue and lightness, also for people with red-green blindness.
_FOR = ((0.60, 0.02, 0.05), (0.96, 0.36, 0.05), (1.00, 0.93, 0.35))
_AGAINST = ((0.08, 0.10, 0.62), (0.05, 0.50, 0.95), (0.65, 0.98, 1.00))
# A magnitude speaks neither for nor against: a third hue, from dark to light.
_STRENGTH = ((0.36, 0.04, 0.48), (0.80, 0.26, 0.78), (1.00, 0.86, 1.00))
_NOISE = 1e-6  # of the strongest relevance: less than that below zero is rounding


@dataclass(frozen=True)
class Scale:
    """How relevance becomes colour.

    Attributes:
        threshold: Absolute relevance from which on something is drawn.
        limit: Absolute relevance of the end of the colours; symmetric about zero.
        signed: Whether there is relevance below zero.
        empty: Whether there is no relevance at all.
        magnitude: Whether relevance has no sign, as a variance: it is neither for nor against the output.
    """

    threshold: float
    limit: float
    signed: bool
    empty: bool = False
    magnitude: bool = False


def scale_of(relevance: Array, percentile: float, *, limit: float = 99.9, magnitude: bool = False) -> Scale:
    """Return the scale of one map.

    Args:
        relevance: Any shape.
        percentile: Of the absolute relevance among voxels that are not zero, from which on something is drawn.
        limit: The same, at which the colours end: below 100, so that one voxel does not darken all others.
        magnitude: Whether the explainer promises relevance without a sign; not believed where some is below zero.
    """
    strength = np.abs(relevance[relevance != 0])
    if not strength.size:
        return Scale(0.0, 1.0, signed=False, empty=True)
    threshold, end = (float(v) for v in np.percentile(strength, [percentile, max(limit, percentile)]))
    signed = bool((relevance < -_NOISE * strength.max()).any())
    return Scale(threshold, end, signed=signed, magnitude=magnitude and not signed)


def colours(relevance: Array, scale: Scale) -> Array:
    """Return uint8 RGBA [..., 4]; transparent below the threshold."""
    strength = np.abs(relevance)
    span = scale.limit - scale.threshold
    position = np.clip((strength - scale.threshold) / span, 0, 1) if span > 0 else np.ones_like(strength)
    above = _STRENGTH if scale.magnitude else _FOR
    stops = np.linspace(0, 1, len(above))
    rgba = np.empty((*relevance.shape, 4))
    for channel in range(3):
        warm = np.interp(position, stops, [colour[channel] for colour in above])
        cold = np.interp(position, stops, [colour[channel] for colour in _AGAINST])
        rgba[..., channel] = np.where((relevance < 0) & scale.signed, cold, warm)
    shown = (strength >= scale.threshold) & (strength > 0)
    rgba[..., 3] = np.where(shown, 0.6 + 0.35 * position, 0)
    return (rgba * 255).round().astype(np.uint8)


def gradient(scale: Scale, width: int) -> Array:
    """Return the colour bar as uint8 RGBA [width, 4], from the lowest to the highest relevance."""
    return colours(np.linspace(-scale.limit if scale.signed else 0.0, scale.limit, width), scale)
