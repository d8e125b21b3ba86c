"""The ICBM152 brain and a fixed grid around it, in MNI space (mm, RAS)."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from scipy import ndimage

from xai_core.errors import InputError

from ._resample import Grid, ScanResample, where
from ._scan import InputOnly, input_image

__all__ = [
    "BRAIN_BOX", "REGISTERED", "MniBrain", "MniGrid", "brain_mask", "from_scan", "mni_grid", "mni_grid_in_scan",
]  # fmt: skip

# What register-to-mni leaves in a subject: 4 x 4 numbers, from the scan's world (mm, RAS) to MNI space. The images'
# affines keep to the scan's world, since a relevance map finds its way back through them.
REGISTERED = "to_mni"

# Centres of the outermost voxels of nilearn's ICBM152 brain mask at 1 mm. Written down, so that the grid (and with it
# the input of a trained network) never changes with a version of nilearn; a test compares the two.
BRAIN_BOX = ((-72.0, -107.0, -72.0), (72.0, 73.0, 82.0))

# Widest dilation (mm) that is asked for; the mask's own box ends where the brain does.
MAX_DILATION = 40


def mni_grid(spacing: float, margin: float) -> Grid:
    """Return shape and affine of the smallest RAS grid around the brain.

    Args:
        spacing: Distance of the voxels in mm. Their centres are at multiples of it, one of them at the world's origin.
        margin: Distance in mm that the outermost centres keep, at least, from the brain's outermost voxels.
    """
    low, high = (np.asarray(corner) for corner in BRAIN_BOX)
    first = np.floor((low - margin) / spacing)
    last = np.ceil((high + margin) / spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = first * spacing
    x, y, z = (int(n) for n in last - first + 1)
    return (x, y, z), affine


def from_scan(subject: tio.Subject) -> npt.NDArray[np.float64]:
    """Return the way from the world of a subject's affines to MNI space: that of its registration, or none."""
    return np.array(subject.get(REGISTERED, np.eye(4)), dtype=np.float64)


def mni_grid_in_scan(subject: tio.Subject, spacing: float, margin: float) -> Grid:
    """Return :func:`mni_grid` as it lies in the world of a registered subject's scan."""
    shape, affine = mni_grid(spacing, margin)
    return shape, np.linalg.inv(from_scan(subject)) @ affine


@lru_cache(maxsize=1)
def _outside_distance() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the distance (mm) of every voxel to the brain, 0 inside, on a 1 mm grid, and that grid's affine."""
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=1)
    mask = ndimage.binary_fill_holes(np.asarray(image.dataobj) > 0)
    lows = [int(np.flatnonzero(mask.any(axis=others))[0]) for others in ((1, 2), (0, 2), (0, 1))]
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    padding = MAX_DILATION + 2
    distance = ndimage.distance_transform_edt(~np.pad(mask[box], padding))
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3, 3] += affine[:3, :3] @ (np.asarray(lows) - padding)
    return distance.astype(np.float32), affine


@lru_cache(maxsize=4)
def _mask(shape: tuple[int, int, int], affine: bytes, dilation: float) -> npt.NDArray[np.bool_]:
    distance, distance_affine = _outside_distance()
    to_distance = np.linalg.inv(distance_affine) @ np.frombuffer(affine).reshape(4, 4)
    sampled = ndimage.affine_transform(
        distance, to_distance[:3, :3], to_distance[:3, 3], output_shape=shape, order=1, cval=np.float32(1e6)
    )
    # The mask's surface lies half a voxel (0.5 mm) before the centre of the first voxel outside of it.
    inside: npt.NDArray[np.bool_] = sampled <= dilation + 0.5
    inside.flags.writeable = False
    return inside


def brain_mask(
    shape: tuple[int, int, int], affine: npt.NDArray[np.float64], dilation: float = 0
) -> npt.NDArray[np.bool_]:
    """Return nilearn's ICBM152 brain mask on a grid in MNI space.

    Args:
        shape: Shape (D, H, W) of the grid.
        affine: Voxel to world (mm, RAS), [4, 4].
        dilation: Also voxels whose centre is at most this far (mm, at most 40) from the brain's surface.

    Returns:
        bool [D, H, W], read-only: whether the voxel's centre is in the brain.
    """
    return _mask(shape, np.ascontiguousarray(affine, dtype=np.float64).tobytes(), float(dilation))


class MniGrid(ScanResample):
    """Resamples every image of a subject onto :func:`mni_grid`; images must be in MNI space, or registered to it."""

    def __init__(self, spacing: float, margin: float, **kwargs: Any) -> None:
        super().__init__(target=mni_grid(spacing, margin), **kwargs)
        self.spacing = spacing
        self.margin = margin
        self.args_names = ["spacing", "margin"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Resample, and refuse a scan that lies beside the brain."""
        image = input_image(subject)
        low, high = (np.asarray(corner) for corner in BRAIN_BOX)
        corners = np.array(list(itertools.product(*((-0.5, size - 0.5) for size in image.spatial_shape))))
        to_mni = from_scan(subject) @ image.affine
        corners = corners @ to_mni[:3, :3].T + to_mni[:3, 3]
        start, end = corners.min(axis=0), corners.max(axis=0)
        if np.any(start > high) or np.any(end < low):
            raise InputError(
                f"mni-grid: {where(image)} reaches from {np.round(start)} to {np.round(end)} mm and does not meet "
                f"the MNI brain ({low} to {high} mm). Is it registered to MNI space?"
            )
        if REGISTERED not in subject:
            return super().apply_transform(subject)
        return ScanResample(mni_grid_in_scan(subject, self.spacing, self.margin)).apply_transform(subject)


class MniBrain(InputOnly):
    """Sets the voxels outside of :func:`brain_mask` to exactly 0; images must be in MNI space, or registered to it."""

    def __init__(self, dilation: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dilation = dilation
        self.args_names = ["dilation"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Mask the scalar images."""
        for image in self.get_images(subject):
            mask = brain_mask(image.spatial_shape, from_scan(subject) @ image.affine, self.dilation)
            if not mask.any():
                raise InputError(
                    f"mni-brain: {where(image)} does not meet the MNI brain. Is it registered to MNI space?"
                )
            inside = torch.from_numpy(mask.copy())
            # Not a product: 0 times a negative value is -0.0, and 0 times an infinite one is not 0.
            image.set_data(torch.where(inside, image.data, torch.zeros((), dtype=image.data.dtype)))
        return subject
