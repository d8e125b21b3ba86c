"""Threshold-free cluster enhancement."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .clusters import NEIGHBOURS

__all__ = ["STEPS", "enhanced"]

Array = npt.NDArray[np.float64]

STEPS = 100
"""Of the height of the observed map."""

_MOST = 10 * STEPS  # a shuffled map that is ten times as high has won anyway


def enhanced(
    volume: Array,
    step: float,
    *,
    connectivity: int = 6,
    two_sided: bool = True,
    extent: float = 0.5,
    height: float = 2.0,
) -> Array:
    """Return the TFCE values of a map: the sum over heights h of (size of the voxel's cluster at h)^E h^H dh.

    Smith and Nichols, Threshold-free cluster enhancement: addressing problems of smoothing, threshold dependence and
    localisation in cluster inference, NeuroImage 2009, with their E = 0.5 and H = 2. Values below zero are enhanced as
    those above, with their sign. The step dh is part of the sum, as in the paper; nilearn and FSL leave it out.

    Args:
        volume: [D, H, W], 0 where nothing is tested.
        step: dh, above 0; for all shuffles of a test that of the observed map.
        connectivity: Neighbours of a voxel: 6 (faces), 18 (and edges) or 26 (and corners).
        two_sided: Whether to enhance values below zero, too; otherwise they have 0.
        extent: E.
        height: H.

    Returns:
        float64 [D, H, W].
    """
    structure = ndimage.generate_binary_structure(3, NEIGHBOURS[connectivity])
    result = np.zeros(volume.shape)
    for sign in (1.0, -1.0) if two_sided else (1.0,):
        box = _box(volume * sign >= step * (1 - 1e-9))
        if box is not None:
            result[box] += sign * _one_sided(volume[box] * sign, step, structure, extent, height)
    return result


def _box(above: npt.NDArray[np.bool_]) -> tuple[slice, ...] | None:
    found = ndimage.find_objects(above.view(np.uint8))
    return found[0] if found else None


def _one_sided(values: Array, step: float, structure: npt.NDArray[Any], extent: float, height: float) -> Array:
    result = np.zeros(values.size)
    flat = values.ravel()
    above = np.arange(values.size)
    labels = np.empty(values.shape, dtype=np.int32)
    for number in range(1, _MOST + 1):
        # A hair below the height, so that rounding decides nothing about the peak, which is a height itself.
        level = number * step * (1 - 1e-9)
        above = above[flat[above] >= level]
        if not above.size:
            break
        ndimage.label(values >= level, structure, output=labels)
        mine = labels.ravel()[above]
        result[above] += (np.bincount(mine).astype(np.float64) ** extent * (number * step) ** height * step)[mine]
    return result.reshape(values.shape)
