"""What is the same in two copies of an image: its voxels, whatever the compression, the header and the axes."""

from __future__ import annotations

import hashlib
from typing import Any

import nibabel as nib
import numpy as np

__all__ = ["thumbnail", "voxel_digests"]

Array = np.ndarray[Any, Any]
_SIDE = 12


def voxel_digests(values: Array, affine: Array | None) -> tuple[str, ...]:
    """Return SHA-256 of the voxels as float32 in the order of the file, and in RAS+ order where that is another.

    Two copies of a scan have one in common: also where one has lost its affine, or its axes were turned or flipped.

    Args:
        values: [X, Y, Z], scaled as the header says.
        affine: 4 x 4, voxel to world; None: not known.
    """
    # -0.0 and 0.0 are the same value with different bytes.
    plain = np.asarray(values, dtype="<f4") + np.float32(0)
    return tuple(dict.fromkeys([_digest(plain), _digest(_to_ras(plain, affine))]))


def _digest(values: Array) -> str:
    return hashlib.sha256(str(values.shape).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


def _to_ras(values: Array, affine: Array | None) -> Array:
    if affine is None:
        return values
    orientation = nib.orientations.io_orientation(affine)
    if not np.isfinite(orientation).all():
        return values
    return np.asarray(nib.orientations.apply_orientation(values, orientation))


def thumbnail(values: Array, affine: Array | None) -> Array:
    """Return float64 [1728]: means of 12 x 12 x 12 blocks in RAS+ order, centred, of length 1 (or 0: constant).

    The product of two is the correlation of two images at low resolution.
    """
    small = _to_ras(np.asarray(values, dtype=np.float64), affine)
    for axis in range(3):
        edges = np.linspace(0, small.shape[axis], _SIDE + 1)[:-1].astype(int)
        counts = np.diff([*edges, small.shape[axis]]).clip(1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        small = np.add.reduceat(small, edges, axis=axis) / counts.reshape(shape)
    flat = small.ravel() - small.mean()
    length = np.linalg.norm(flat)
    return np.asarray(flat / length if length > 0 else flat)
