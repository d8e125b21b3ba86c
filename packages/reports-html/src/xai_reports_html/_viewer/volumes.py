"""Volumes as the viewer reads them: NIfTI in RAS, with the numbers that the page shows beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from xai_core import InputError

from .encoding import Array, Volume

__all__ = ["about_map", "label_volume", "map_volume", "read_ras", "scan_volume"]

_STEPS = 1000  # percentiles in tenths
_BEYOND = 20.0  # widths of the greys


def read_ras(path: Path, dtype: type[np.floating[Any]] = np.float32) -> tuple[Array, Array, Array]:
    """Return an image's voxels with axes to the right, to the front and upwards, their affine, and the file's own.

    Channels are added up.

    Raises:
        InputError: It cannot be read, has no three axes, or holds NaN.
    """
    try:
        image: Any = nib.load(path)
        data = np.asarray(image.dataobj, dtype=dtype)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}. Was it moved or cut off?") from error
    if data.ndim < 3:
        raise InputError(f"{path} has {data.ndim} dimensions. A volume is needed.")
    if data.ndim > 3:
        data = data.reshape(*data.shape[:3], -1).sum(axis=3)
    if not np.isfinite(data).all():
        raise InputError(f"{path} has {int((~np.isfinite(data)).sum())} voxels that are NaN or infinite.")
    turned: Any = nib.as_closest_canonical(nib.Nifti1Image(data, image.affine))
    return np.asfortranarray(turned.dataobj), np.asarray(turned.affine), np.asarray(image.affine)


def scan_volume(path: Path) -> Volume:
    """Return a scan for drawing: 16 bits between its lowest and highest value, and where grey begins and ends.

    A value that lies further from the greys than ``_BEYOND`` times their width, as that of a broken voxel may, is sent
    as the last one within: it is black or white all the same, and the others keep their greys.
    """
    data, affine, own = read_ras(path)
    flat = data.reshape(-1, order="F")
    low, high = float(data.min()), float(data.max())
    inside = flat[flat > low]
    first, last = map(float, np.percentile(inside, [2, 99.5]) if inside.size else (low, high))
    if first == last:  # of two values, the higher one would be as black as the lower one
        first, last = low, high
    low, high = max(low, first - _BEYOND * (last - first)), min(high, last + _BEYOND * (last - first))
    step = (high - low) / 65000 or 1.0
    stored = np.rint((np.clip(data, low, high) - low) / step - 32500).astype(np.int16)
    about = _place(affine, own, data.shape) | {"window": [first, last]}
    return Volume(stored, affine, about, step, low + 32500 * step)


def map_volume(path: Path) -> Volume:
    """Return a relevance map, its values as they are (float32), and the numbers of ``about_map``."""
    data, affine, own = read_ras(path)
    return Volume(data, affine, _place(affine, own, data.shape) | about_map(data, affine))


def label_volume(path: Path) -> Volume:
    """Return an image of labels (an atlas, a mask of the truth).

    ``labels`` of what is told are the numbers that are stored, ``named`` those of the file. They differ where the file
    has large ones (614454277 in the Allen atlas): a page that has a colour for each number up to them has no memory.
    """
    data, affine, own = read_ras(path, np.float64)  # 32 bits would make one of labels above 16 million that differ
    whole = (data == np.rint(data)) & (data >= 0) & (data < 2**53)
    if not whole.all():
        raise InputError(f"{path} is no image of labels: it holds values such as {data[~whole][:1]}.")
    found = np.unique(data)
    named = [int(label) for label in found if label]
    labels, stored = named, data
    if found[-1] >= 2**15:
        labels = list(range(1, len(named) + 1))
        stored = np.searchsorted(np.array([0, *named]), data)
    small = np.asfortranarray(stored, np.int16 if (labels or [0])[-1] < 2**15 else np.int32)
    return Volume(small, affine, _place(affine, own, data.shape) | {"labels": labels, "named": named})


def about_map(data: Array, affine: Array) -> dict[str, Any]:
    """Return what the page shows of a map without looking at its voxels.

    Args:
        data: [D, H, W], finite, axes RAS.
        affine: Of ``data``.

    Returns:
        ``quantiles``: of the absolute relevance where it is not zero, for the percentiles 0, 0.1 ... 100; ``largest``:
        of the absolute relevance; ``sum``; ``peaks``: value and voxel of the strongest positive and negative relevance
        (None: there is none); ``slices``: for x, y and z the centres of the slices in mm and the sums of the positive
        and of the negative relevance in each.
    """
    flat = data.reshape(-1, order="F")
    strength = np.sort(np.abs(flat[flat != 0]))
    parts = {"positive": np.maximum(data, 0), "negative": np.minimum(data, 0)}
    sums = {sign: _slice_sums(part) for sign, part in parts.items()}
    slices = {}
    for axis, name in enumerate("xyz"):
        middle = (np.array(data.shape) - 1) / 2
        places = np.repeat(middle[None], data.shape[axis], axis=0)
        places[:, axis] = np.arange(data.shape[axis])
        mm = (places @ affine[:3, :3].T + affine[:3, 3])[:, axis].tolist()
        slices[name] = {"mm": mm} | {sign: found[axis].tolist() for sign, found in sums.items()}
    return {
        "quantiles": _quantiles(strength).tolist(),  # exact: rounded up, one would hide the voxels that share it
        "largest": float(strength[-1]) if strength.size else 0.0,
        "sum": float(flat.sum(dtype=np.float64)),
        "peaks": {"positive": _peak(data, int(flat.argmax()), 1), "negative": _peak(data, int(flat.argmin()), -1)},
        "slices": slices,
    }


def _quantiles(ordered: Array) -> Array:
    """Return ``numpy.quantile`` of sorted values (linear); sorting 32-bit numbers is several times faster."""
    if not ordered.size:
        return np.zeros(_STEPS + 1)
    places = np.linspace(0, ordered.size - 1, _STEPS + 1)
    low = np.floor(places).astype(np.int64)
    below = ordered[low].astype(np.float64)
    above = ordered[np.minimum(low + 1, ordered.size - 1)].astype(np.float64)
    return np.asarray(below + (above - below) * (places - low))


def _slice_sums(part: Array) -> tuple[Array, Array, Array]:
    rows = part.T.sum(axis=2, dtype=np.float64)  # over x, which lies together in memory
    return part.T.sum(axis=(0, 1), dtype=np.float64), rows.sum(axis=0), rows.sum(axis=1)


def _peak(data: Array, place: int, sign: int) -> dict[str, Any] | None:
    at = np.unravel_index(place, data.shape, order="F")
    value = float(data[at])
    return {"value": value, "at": [int(i) for i in at]} if value * sign > 0 else None


def _place(affine: Array, own: Array, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return shape and affine of what is sent, and the way from mm to the voxel indices of the file itself."""
    return {"shape": list(shape), "affine": affine.tolist(), "to_voxel": np.linalg.inv(own).tolist()}
