"""The three mid-slices of an image as one small PNG."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

__all__ = ["GAP", "SIDE", "png", "strip"]

Array = np.ndarray[Any, Any]

SIDE, GAP = 96, 4
"""Pixels of one slice's square, and between two of them."""


def strip(values: Array, affine: Array, window: tuple[float, float]) -> Array:
    """Return the sagittal, the coronal and the axial slice through the middle, side by side.

    All three have the same scale in mm. Sagittal: front to the right. Coronal and axial: the patient's left on the
    picture's left (neurological convention). An oblique image keeps its own planes; left and right are those of the
    nearest world axis.

    Args:
        values: [X, Y, Z] in the file's own axes.
        affine: 4 x 4, voxel to world (RAS+, mm).
        window: Intensities of black and white.

    Returns:
        uint8 [SIDE, 3 * SIDE + 2 * GAP], rows from the top.
    """
    orientation = io_orientation(affine)
    # A view, with X to the right, Y to the front and Z upwards.
    turned = apply_orientation(values, orientation)
    order = np.argsort(orientation[:, 0])
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)[order]
    middle = [n // 2 for n in turned.shape]
    scale = SIDE / max(n * size for n, size in zip(turned.shape, (x, y, z), strict=True))
    slices = (
        (turned[middle[0]], (y, z)),
        (turned[:, middle[1]], (x, z)),
        (turned[:, :, middle[2]], (x, y)),
    )
    picture = np.zeros((SIDE, 3 * SIDE + 2 * GAP), np.uint8)
    for position, (plane, sizes) in enumerate(slices):
        panel = _panel(plane, sizes, scale, window)
        top, left = (SIDE - panel.shape[0]) // 2, (SIDE - panel.shape[1]) // 2 + position * (SIDE + GAP)
        picture[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return picture


def _panel(plane: Array, sizes: tuple[float, float], scale: float, window: tuple[float, float]) -> Array:
    """Return a slice [horizontal, vertical upwards] as uint8 rows from the top, in pixels of 1 / scale mm."""
    factors = [size * scale for size in sizes]  # pixels for each voxel
    # Averaged before it is made smaller: every n-th voxel would show patterns that are not there.
    blocks = [max(1, round(1 / factor)) for factor in factors]
    smooth = ndimage.uniform_filter(plane.astype(np.float32), blocks, mode="nearest")
    targets = [min(SIDE, max(1, round(n * factor))) for n, factor in zip(plane.shape, factors, strict=True)]
    places = [(np.arange(t) + 0.5) * n / t - 0.5 for t, n in zip(targets, plane.shape, strict=True)]
    small = ndimage.map_coordinates(smooth, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    low, high = window
    grey = np.clip((small - low) / (high - low if high > low else 1), 0, 1)
    rows: Array = np.rint(255 * grey).astype(np.uint8).T[::-1]
    return rows


def png(grey: Array) -> bytes:
    """Return a uint8 picture [rows, columns] as a PNG file (ISO/IEC 15948), each row as its difference to the last."""
    rows, columns = grey.shape
    above = np.vstack([np.zeros((1, columns), np.uint8), grey[:-1]])
    filtered = np.hstack([np.full((rows, 1), 2, np.uint8), grey - above])  # filter type 2 (Up), modulo 256
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
