"""Relevance back on the grid of the scan, through the affines of both grids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from scipy import ndimage

from ..errors import InputError
from .scans import image_of

__all__ = ["check_geometry", "to_scan_grid"]

Array = npt.NDArray[Any]
Volume = npt.NDArray[np.float32]

_PROBE = "xai_voxel_numbers"
_POSITIONS = 64


def to_scan_grid(relevance: Volume, affine: Array, scan_shape: Sequence[int], scan_affine: Array) -> Volume:
    """Bring a map from the grid that the network saw to the grid of the scan.

    Values are kept as relevance per voxel of the network's grid, interpolated linearly; where a scan voxel is larger
    than a voxel of the network, its sub-positions are averaged. Reorientation, cropping and padding alone give every
    value back exactly. Scan voxels outside the network's field of view are 0.

    Args:
        relevance: float32 [C, D, H, W].
        affine: 4 x 4, voxel to world (mm), of the network's grid.
        scan_shape: (D', H', W') of the scan.
        scan_affine: 4 x 4, voxel to world (mm), of the scan.

    Returns:
        float32 [C, D', H', W'].
    """
    mapping = np.linalg.inv(np.asarray(affine, float)) @ np.asarray(scan_affine, float)
    # Grids that differ by whole voxels give whole numbers up to rounding; exact ones keep every value exact.
    whole = np.round(mapping)
    mapping = np.where(np.abs(mapping - whole) < 1e-4, whole, mapping)
    samples = [max(1, ceil(np.abs(mapping[:3, axis]).max() - 1e-3)) for axis in range(3)]
    shape = tuple(int(n) for n in scan_shape)
    total = np.zeros((relevance.shape[0], *shape), dtype=np.float32)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in samples]
    for shift in product(*offsets):
        origin = mapping[:3, :3] @ np.asarray(shift) + mapping[:3, 3]
        inside = _inside(mapping[:3, :3], origin, shape, relevance.shape[1:])
        for channel, values in enumerate(relevance):
            sampled = ndimage.affine_transform(
                values,
                mapping[:3, :3],
                origin,
                output_shape=shape,
                order=1,
                mode="nearest",
                output=np.float32,
            )
            total[channel] += np.where(inside, sampled, 0)
    total /= np.float32(np.prod(samples))
    return total


def _inside(linear: Array, origin: Array, shape: Sequence[int], source: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which voxels of the scan have their centre inside the field of view of the network's grid."""
    inside = np.ones(tuple(shape), dtype=bool)
    first, second, third = (np.arange(n) for n in shape)
    for axis in range(3):
        position = (
            origin[axis]
            + (linear[axis, 0] * first)[:, None, None]
            + (linear[axis, 1] * second)[None, :, None]
            + (linear[axis, 2] * third)[None, None, :]
        )
        inside &= (position >= -0.5) & (position <= source[axis] - 0.5)
    return inside


def check_geometry(subject: tio.Subject, prepare: Any) -> None:
    """Refuse transforms that move the anatomy in a way that the affine does not tell.

    A relevance map finds its way back through the affine. TorchIO's Flip or Affine, say, move voxels and leave the
    affine as it is: the map would lie on the wrong place and look right. The scan's voxels are numbered, the numbers
    are sent through the transforms as labels, and where each one ends is compared with what the affine says.

    Args:
        subject: A scan that has not been transformed.
        prepare: The deterministic transforms, as a function of a subject.

    Raises:
        InputError: A voxel lies elsewhere than its affine says.
    """
    image = image_of(subject)
    shape, affine = image.spatial_shape, np.asarray(image.affine, float)
    numbers = torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.int32).reshape(1, *shape)
    probe = tio.Subject(subject)
    probe.add_image(tio.LabelMap(tensor=numbers, affine=affine), _PROBE)
    result = prepare(probe)
    after = cast(tio.LabelMap, result[_PROBE])
    _same_grid(image_of(result), after)
    expected, found = _positions(after, shape, affine)
    if not len(found):
        raise InputError("The transforms leave nothing of the scan: their field of view lies outside it.")
    distance = float(np.sqrt(((found - expected) ** 2).sum(axis=1)).max())
    # Labels are taken from the nearest voxel: half a voxel's diagonal off at the most, on either grid.
    if distance > 0.5 * (_diagonal(affine) + _diagonal(after.affine)) + 0.1:
        raise InputError(
            f"The transforms move the anatomy by up to {distance:.0f} mm without telling the image's affine, so a "
            "relevance map could not be laid over the scan. Remove the flip or warp from data.transforms, or use its "
            "random form, which is applied in training only."
        )


def _same_grid(image: tio.Image, labels: tio.Image) -> None:
    """Labels that were left out of a transform could not tell where the image went."""
    same = image.spatial_shape == labels.spatial_shape and np.allclose(image.affine, labels.affine, atol=1e-2)
    if not same:
        raise InputError(
            f"The transforms bring the image to another grid ({image.spatial_shape}) than its masks "
            f"({labels.spatial_shape}). Let every transform of data.transforms change both."
        )


def _positions(labels: tio.LabelMap, shape: Sequence[int], affine: Array) -> tuple[Array, Array]:
    """Return where voxels of the scan lie according to the new affine, and where they come from (N x 3, mm each).

    At most 64 positions along each axis are looked at; those outside the scan say nothing.
    """
    index = np.stack(
        np.meshgrid(*(np.arange(0, n, ceil(n / _POSITIONS)) for n in labels.spatial_shape), indexing="ij"), -1
    ).reshape(-1, 3)
    number = labels.data.numpy()[0][tuple(index.T)].astype(np.int64) - 1
    expected = _world(index, np.asarray(labels.affine))
    inside_scan = np.abs(_world(expected, np.linalg.inv(affine)) - (np.asarray(shape) - 1) / 2) <= np.asarray(shape) / 2
    kept = (number >= 0) & (number < np.prod(shape)) & inside_scan.all(axis=1)
    origin = np.stack(np.unravel_index(number[kept], tuple(shape)), axis=-1)
    return expected[kept], _world(origin, affine)


def _diagonal(affine: Array) -> float:
    return float(np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum()))


def _world(points: Array, affine: Array) -> Array:
    result: Array = points @ affine[:3, :3].T + affine[:3, 3]
    return result
