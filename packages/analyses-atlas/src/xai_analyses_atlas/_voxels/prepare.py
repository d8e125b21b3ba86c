"""What is done to a map before it is compared: its sign, a threshold, clusters, a margin, a shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .._grids import Grid

__all__ = ["Preparation", "is_binary", "prepared", "signed_part"]

Array = npt.NDArray[Any]
Part = Literal["signed", "absolute", "positive", "negative"]

_NEIGHBOURS = {6: 1, 18: 2, 26: 3}
_ROUNDING = 1 + 1e-6  # of distances, so that a margin of 2 mm reaches the voxel that is 2 mm away


@dataclass(frozen=True)
class Preparation:
    """What is done to a map, in this order.

    Attributes:
        part: The values as they are (``"signed"``), their absolute values, what is above zero, or minus what is below.
        threshold: Where the map is at or above it, it becomes 1, elsewhere 0; None: values are kept.
        minimal_cluster: Clusters of the thresholded map that are smaller are dropped, in mm3.
        connectivity: Neighbours that belong to a cluster: 6 share a face, 18 an edge too, 26 a corner too.
        dilation: How far the thresholded map is extended, in mm between voxel centres.
        border_only: Keep only what the dilation added; without one, the outermost layer of voxels of the map itself
            (those that share a face with a voxel outside of it).
    """

    part: Part = "signed"
    threshold: float | None = None
    minimal_cluster: float = 0
    connectivity: int = 26
    dilation: float = 0
    border_only: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any], part: Part = "signed") -> Preparation:
        """Return what a configuration says; what it leaves out has its default."""
        return cls(**{"part": part, **params})

    @property
    def shapes(self) -> bool:
        """Whether it does something that only a map of zeros and ones can undergo."""
        return bool(self.minimal_cluster or self.dilation or self.border_only)


def is_binary(values: Array) -> bool:
    """Return whether every value is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def signed_part(values: Array, part: Part) -> Array:
    """Return values, their magnitudes, their positive part, or the magnitude of their negative part."""
    if part == "absolute":
        return np.abs(values)
    if part == "positive":
        return np.maximum(values, 0)
    return np.maximum(-values, 0) if part == "negative" else values


def prepared(values: Array, grid: Grid, steps: Preparation) -> Array:
    """Return a map after the steps of a ``Preparation``.

    Args:
        values: float64 [D, H, W], finite.
        grid: Where its voxels lie; its axes are taken to be at right angles.
        steps: Clusters, margin and shell need a threshold.

    Returns:
        float64 [D, H, W]; zeros and ones where there is a threshold.
    """
    values = signed_part(values, steps.part)
    if steps.threshold is None:
        return values
    inside = _without_small(values >= steps.threshold, grid, steps)
    larger = _dilated(inside, grid, steps.dilation)
    if steps.border_only:
        larger &= ~(inside if steps.dilation else ndimage.binary_erosion(inside, border_value=1))
    return larger.astype(np.float64)


def _without_small(inside: Array, grid: Grid, steps: Preparation) -> Array:
    if not steps.minimal_cluster:
        return inside
    structure = ndimage.generate_binary_structure(3, _NEIGHBOURS[steps.connectivity])
    labels, _count = ndimage.label(inside, structure)
    size = np.bincount(labels.ravel()) * abs(float(np.linalg.det(grid.affine[:3, :3])))
    # Header precision: a cluster of 27 voxels of 0.9999999 mm3 has 27 mm3.
    kept = size >= steps.minimal_cluster * (1 - 1e-4)
    kept[0] = False
    return np.asarray(kept[labels])


def _dilated(inside: Array, grid: Grid, margin: float) -> Array:
    if not margin or not inside.any():
        return inside.copy()
    return np.asarray(ndimage.distance_transform_edt(~inside, sampling=grid.spacing) <= margin * _ROUNDING)
