"""Grids of voxels in the world: whether two are one, and how values go from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from scipy import ndimage

__all__ = [
    "Grid", "first_in_world", "meets_mni_brain", "mni_grid", "resampled", "resampled_labels", "same_grid", "to_ras",
    "turned_like",
]  # fmt: skip

Array = npt.NDArray[Any]

# Centres of the outermost voxels of nilearn's ICBM152 template at 1 mm, and of its brain mask, in mm (RAS). Written
# down, so that a mean map lies on the same grid with every version of nilearn; a test compares them.
TEMPLATE_BOX = ((-98.0, -134.0, -72.0), (98.0, 98.0, 116.0))
BRAIN_BOX = ((-72.0, -107.0, -72.0), (72.0, 73.0, 82.0))

# Share of a voxel that two grids may differ by: header precision, not a shift that a picture would show.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: (D, H, W).
        affine: 4 x 4, voxel index to world millimetres (RAS+).
    """

    shape: tuple[int, int, int]
    affine: Array

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel along its three axes in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def world(self, index: tuple[int, ...]) -> tuple[float, float, float]:
        """Return where the centre of a voxel lies, in mm."""
        x, y, z = self.affine[:3, :3] @ np.asarray(index[:3], float) + self.affine[:3, 3]
        return float(x), float(y), float(z)

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        voxel = " x ".join(f"{s:.4g}" for s in self.spacing)
        codes = "".join(code or "?" for code in nib.aff2axcodes(self.affine))
        x, y, z = self.world((0, 0, 0))
        return f"{size} voxels of {voxel} mm, axes {codes}, the first at ({x:.4g}, {y:.4g}, {z:.4g}) mm"


def first_in_world(voxels: Array, grid: Grid) -> int:
    """Return which of the voxels [N, 3] lies lowest in x, then in y, then in z.

    For voxels of equal value: the first one in memory would be another one where a scan is stored from the right.
    """
    if len(voxels) == 1:
        return 0
    world = np.round(voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3], 3)
    return int(np.lexsort(world.T[::-1])[0])


def same_grid(first: Grid, second: Grid) -> bool:
    """Return whether every voxel of one lies where that of the other lies, within 2 % of a voxel."""
    if first.shape != second.shape:
        return False
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.asarray(first.shape) - 1
    distance = np.linalg.norm(corners @ (first.affine - second.affine).T, axis=1).max()
    return bool(distance <= _TOLERANCE * min(first.spacing))


def turned_like(data: Array, grid: Grid, like: Grid) -> tuple[Array, Grid]:
    """Flip and swap the axes of a volume so that they run as those of another grid; no value changes.

    Args:
        data: [D, H, W] or [D, H, W, C].
        grid: Of ``data``.
        like: Whose axes are taken over.
    """
    return _turned(data, grid, ornt_transform(io_orientation(grid.affine), io_orientation(like.affine)))


def to_ras(data: Array, grid: Grid) -> tuple[Array, Grid]:
    """Flip and swap the axes of a volume so that they run to the right, to the front and upwards, as near as can be."""
    return _turned(data, grid, io_orientation(grid.affine))


def _turned(data: Array, grid: Grid, orientation: Array) -> tuple[Array, Grid]:
    turned = apply_orientation(data, orientation)
    return turned, Grid(_shape(turned), grid.affine @ inv_ornt_aff(orientation, grid.shape))


def _shape(data: Array) -> tuple[int, int, int]:
    return cast(tuple[int, int, int], tuple(int(n) for n in data.shape[:3]))


def mni_grid(spacing: float) -> Grid:
    """Return a grid over the field of view of nilearn's ICBM152 template, axes RAS.

    Args:
        spacing: Distance of the voxels in mm. Their centres are at multiples of it, one of them at the origin.
    """
    first = [ceil(low / spacing) for low in TEMPLATE_BOX[0]]
    last = [floor(high / spacing) for high in TEMPLATE_BOX[1]]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(first) * spacing
    x, y, z = (end - start + 1 for start, end in zip(first, last, strict=True))
    return Grid((x, y, z), affine)


def meets_mni_brain(grid: Grid) -> bool:
    """Return whether the field of view reaches into the box of the MNI brain."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * np.asarray(grid.shape) - 0.5
    world = corners @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    low, high = (np.asarray(corner) for corner in BRAIN_BOX)
    return bool((world.min(axis=0) <= high).all() and (world.max(axis=0) >= low).all())


def resampled(data: Array, grid: Grid, target: Grid) -> Array:
    """Interpolate a map linearly on another grid, as the maps themselves were brought to their scans.

    Relevance stays relevance per voxel of the grid that the network saw; voxels outside of ``grid`` are 0.

    Args:
        data: [D, H, W] or [D, H, W, C].
        grid: Of ``data``.
        target: Where values are wanted.

    Returns:
        float64 [D', H', W'] or [D', H', W', C].
    """
    from xai_core.engine.spatial import to_scan_grid

    channels = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[None]
    moved = to_scan_grid(channels.astype(np.float32), grid.affine, target.shape, target.affine).astype(np.float64)
    return np.moveaxis(moved, 0, 3) if data.ndim == 4 else cast(Array, moved[0])


def resampled_labels(labels: Array, grid: Grid, target: Grid) -> Array:
    """Take for each voxel of ``target`` the label [D, H, W] of the nearest voxel; outside of ``grid`` it is 0."""
    mapping = np.linalg.inv(grid.affine) @ target.affine
    # "constant" would lose the outermost voxels to rounding: it takes what is 1e-15 outside of the centres for outside.
    found: Array = ndimage.affine_transform(
        labels, mapping[:3, :3], mapping[:3, 3], output_shape=target.shape, order=0, mode="grid-constant", cval=0
    )
    return found
