"""Numbers of one image: its grid, its intensities, how much of it is brain or head, and how noisy it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes

__all__ = ["NUMBERS", "measure", "otsu"]

Array = np.ndarray[Any, Any]

NUMBERS = (
    "shape", "spacing", "orientation", "oblique", "dtype", "min", "p1", "median", "p99", "max", "volume_ml",
    "volume_of", "background_percent", "snr",
)  # fmt: skip
"""What ``measure`` returns."""

_SAMPLE = 500_000  # voxels that percentiles are taken from, at least
_FLAT_SHARE = 0.2  # of the voxels that have one and the same value: a background that was filled in
_CORNER = 0.08  # of each side
# Of a Rayleigh distribution (the magnitude of noise alone): its deviation over that of the noise, sqrt(2 - pi / 2).
_RAYLEIGH = float(np.sqrt(2 - np.pi / 2))


def measure(values: Array, affine: Array, dtype: str, mask: Array | None = None) -> dict[str, Any]:
    """Return the numbers of one image.

    ``volume_ml`` is that of the mask where there is one; otherwise of the voxels that do not have the background's
    value, where a fifth of the image has one and the same value as its corners (a brain or head that was cut out);
    otherwise of the voxels above Otsu's threshold, which is the head with its scalp. ``volume_of`` says which.
    ``snr`` is the median of the foreground over the noise in the eight corners, for a magnitude image with air around
    the head (Dietrich et al. 2007, J Magn Reson Imaging 26:375); None where the background was filled in.

    Args:
        values: [X, Y, Z], finite, in the file's own axes.
        affine: 4 x 4, voxel to world in mm (RAS+).
        dtype: How a voxel is stored.
        mask: The brain's, on the same grid, or None.
    """
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    sample = _sample(values)
    p1, median, p99 = (float(v) for v in np.percentile(sample, [1, 50, 99]))
    background = _background(values)
    foreground = values > otsu(sample) if background is None else values != background
    voxel = float(np.abs(np.linalg.det(axes))) / 1000
    inside, of = (foreground, "above threshold" if background is None else "not background")
    if mask is not None:
        inside, of = mask > 0, "mask"
    return {
        "shape": [int(n) for n in values.shape],
        "spacing": [round(float(s), 4) for s in spacing],
        "orientation": "".join(code or "?" for code in aff2axcodes(affine)),
        "oblique": round(float(np.degrees(np.arccos(np.clip(np.abs(axes / spacing).max(axis=0), 0, 1))).max()), 1),
        "dtype": dtype,
        "min": float(values.min()), "p1": p1, "median": median, "p99": p99, "max": float(values.max()),
        "volume_ml": float(np.count_nonzero(inside)) * voxel,
        "volume_of": of,
        "background_percent": 100 * (1 - int(np.count_nonzero(foreground)) / foreground.size),
        "snr": _snr(values, foreground) if background is None else None,
    }  # fmt: skip


def _sample(values: Array) -> Array:
    """Return every n-th voxel along each axis: percentiles of millions need no more."""
    step = max(1, int((values.size / _SAMPLE) ** (1 / 3)))
    return values[::step, ::step, ::step].ravel().astype(np.float64)


def _background(values: Array) -> float | None:
    """Return the value that fills the background, or None where air or noise is there."""
    corner = float(np.median([values[x, y, z] for x in (0, -1) for y in (0, -1) for z in (0, -1)]))
    return corner if np.count_nonzero(values == corner) >= _FLAT_SHARE * values.size else None


def otsu(values: Array, bins: int = 256) -> float:
    """Return the threshold that divides values into the two groups that differ most (Otsu 1979).

    Args:
        values: Any shape, finite. A thousandth at the bright end counts as its darkest value: vessels and fat would
            take the threshold to themselves.
        bins: Of the histogram; the threshold is the upper edge of one.
    """
    top = float(np.percentile(values, 99.9))
    low = float(values.min())
    counts, edges = np.histogram(np.minimum(values, top), bins, (low, top if top > low else low + 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * difference**2)
    return float(edges[1 + int(between.argmax())])


def _snr(values: Array, foreground: Array) -> float | None:
    """Return the signal-to-noise ratio by the noise of the air, where the corners are air."""
    if values.min() < 0:
        return None  # no magnitude image
    sides = [max(1, round(_CORNER * n)) for n in values.shape]
    cuts = [(slice(0, n), slice(-n, None)) for n in sides]
    places = [(x, y, z) for x in cuts[0] for y in cuts[1] for z in cuts[2]]
    inside = np.concatenate([foreground[place].ravel() for place in places])
    noise = np.concatenate([values[place].ravel() for place in places]).astype(np.float64)
    deviation = float(noise.std())
    # Zeros were filled in; tissue (a neck, a wrapped nose) is no noise.
    unclear = (noise == noise.min()).mean() > 0.5 or inside.mean() > 0.05
    if unclear or deviation == 0 or not foreground.any():
        return None
    return float(np.median(values[foreground])) * _RAYLEIGH / deviation
