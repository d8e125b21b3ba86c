"""Shifts by whole voxels, without interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchio as tio

__all__ = ["RandomScanShift", "ScanShift"]


class ScanShift(tio.transforms.SpatialTransform):
    """Moves the voxels of every image; what comes in from outside is 0, and the affine stays.

    Args:
        voxels: Voxels to move along each axis, upwards where positive.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(self, voxels: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.voxels = voxels
        self.args_names = ["voxels"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Move every image."""
        for image in self.get_images(subject):
            moved = torch.zeros_like(image.data)
            pairs = [(_part(shift, size), _part(-shift, size)) for shift, size in zip(
                self.voxels, image.spatial_shape, strict=True
            )]  # fmt: skip
            target, source = ((slice(None), *parts) for parts in zip(*pairs, strict=True))
            moved[target] = image.data[source]
            image.set_data(moved)
        return subject


def _part(shift: int, size: int) -> slice:
    """Return the voxels of an axis that something shifted onto it covers."""
    return slice(min(max(shift, 0), size), max(size + min(shift, 0), 0))


class RandomScanShift(tio.transforms.SpatialTransform, tio.transforms.augmentation.RandomTransform):
    """Moves training scans by whole voxels, each number from ``-max_shift`` to ``max_shift`` alike likely.

    Args:
        max_shift: Largest number of voxels, for all axes or for each of them.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(self, max_shift: int | tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.max_shift = max_shift

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Draw a shift and apply it."""
        largest = [int(n) for n in np.broadcast_to(self.max_shift, (3,))]
        voxels = [int(torch.randint(-n, n + 1, ()).item()) for n in largest]
        moved = ScanShift((voxels[0], voxels[1], voxels[2]), **self._get_base_args())
        return moved(subject)
