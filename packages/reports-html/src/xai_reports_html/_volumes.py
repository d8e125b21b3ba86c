"""Scans and maps as arrays whose axes run to the right, to the front and upwards."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from xai_core import InputError

__all__ = ["Volume", "coarse", "cut_through", "on_same_grid", "read", "reoriented"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Volume:
    """A volume in the voxel axes nearest to RAS+.

    Attributes:
        data: float32 [X, Y, Z], finite; X grows to the patient's right, Y to the front, Z upwards.
        affine: 4 x 4, from indices of ``data`` to world millimetres (RAS+).
        replaced: How many voxels were not finite and are zero here.
    """

    data: Array
    affine: Array
    replaced: int = 0

    @cached_property
    def window(self) -> tuple[float, float]:
        """Intensities of black and white: the 1st and 99.5th percentile of what is not background."""
        lowest = float(self.data.min())
        inside = self.data[self.data != lowest]
        if not inside.size:
            return lowest, lowest + 1
        low, high = (float(v) for v in np.percentile(inside, [1, 99.5]))
        low = min(low, float(np.median(self.data)))
        return low, high if high > low else low + 1

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel along X, Y and Z in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def world(self, index: tuple[int, int, int]) -> tuple[float, float, float]:
        """Return where a voxel lies, in mm."""
        x, y, z = self.affine[:3, :3] @ np.asarray(index) + self.affine[:3, 3]
        return float(x), float(y), float(z)


def reoriented(data: Array, affine: Array) -> Volume:
    """Return an array [D, H, W] of any orientation with its axes flipped and swapped towards RAS+; nothing is
    interpolated, so that an oblique scan keeps its own planes.
    """
    affine = np.asarray(affine, dtype=np.float64)
    orientation = io_orientation(affine)
    turned = np.ascontiguousarray(apply_orientation(data, orientation), dtype=np.float32)
    finite = np.isfinite(turned)
    replaced = turned.size - int(np.count_nonzero(finite))
    if replaced:
        turned = np.where(finite, turned, np.float32(0))
    return Volume(turned, affine @ inv_ornt_aff(orientation, data.shape), replaced)


def read(source: Path | nib.Nifti1Image, *, add_channels: bool = False) -> Volume:
    """Read a scan (its first channel), a mask or a map (its channels added up).

    Raises:
        InputError: The file is missing or cannot be read as an image.
    """
    data, affine = _loaded(source)
    while data.ndim > 4 and data.shape[3] == 1:  # NIfTI keeps channels in the fifth dimension
        data = data[:, :, :, 0]
    if data.ndim == 4:
        data = data.sum(axis=3) if add_channels else data[..., 0]
    if data.ndim != 3:
        raise InputError(
            f"{source} has {data.ndim} dimensions; a volume of three, or with channels of four, is needed."
        )
    return reoriented(data, affine)


def _loaded(source: Path | nib.Nifti1Image) -> tuple[Array, Array]:
    if isinstance(source, nib.Nifti1Image):
        return np.asanyarray(source.dataobj), np.asarray(source.affine)
    if not source.exists():
        raise InputError(f"{source} does not exist any more, so the report cannot show it. Bring it back to its place.")
    try:
        image: Any = nib.load(source)
        return np.asanyarray(image.dataobj), np.asarray(image.affine)
    except nib.filebasedimages.ImageFileError:
        return _loaded_by_torchio(source)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{source} cannot be read as an image: {error}.") from error


def _loaded_by_torchio(source: Path) -> tuple[Array, Array]:
    """Formats that nibabel does not know (NRRD, MetaImage, a folder of DICOM files)."""
    import torchio as tio

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one reader's complaint before the next one is tried
            image = tio.ScalarImage(source)
            image.load()
        return np.moveaxis(image.data.numpy(), 0, -1), np.asarray(image.affine)
    except Exception as error:  # SimpleITK raises RuntimeError, others their own
        raise InputError(f"{source} cannot be read as an image: {error}.") from error


def on_same_grid(scan: Volume, other: Volume, what: str) -> Volume:
    """Return ``other`` if it lies on the scan's grid, within a tenth of a voxel.

    Raises:
        InputError: It does not; laid over the scan it would show the wrong place.
    """
    if other.data.shape != scan.data.shape:
        raise InputError(
            f"{what} has {other.data.shape} voxels, but its scan has {scan.data.shape}. It would be drawn in the wrong "
            "place; make it again on the scan's grid."
        )
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.asarray(scan.data.shape) - 1
    distance = np.abs(corners @ (scan.affine - other.affine).T).max()
    if distance > 0.1 * min(scan.spacing):
        raise InputError(
            f"{what} and its scan have affines that differ by up to {distance:.2g} mm. It would be drawn in the wrong "
            "place; make it again on the scan's grid."
        )
    return other


def cut_through(relevance: Volume) -> tuple[int, int, int]:
    """Return the voxel where the three planes cross: the peak of the absolute relevance, smoothed over about 12 mm.

    Smoothing keeps a single noisy voxel from deciding; the centre of the volume where there is no relevance.
    """
    strength = np.abs(relevance.data)
    if not strength.any():
        x, y, z = (n // 2 for n in strength.shape)
        return x, y, z
    factors = _factors(strength.shape, relevance.spacing)
    smooth = ndimage.uniform_filter(_block_means(strength, factors), 3, mode="constant")
    peak = np.unravel_index(int(smooth.argmax()), smooth.shape)
    x, y, z = (min(int(p) * f + f // 2, n - 1) for p, f, n in zip(peak, factors, strength.shape, strict=True))
    return x, y, z


def coarse(data: Array, spacing: tuple[float, float, float]) -> Array:
    """Return means over blocks of about 4 mm."""
    return _block_means(data, _factors(data.shape, spacing))


def _factors(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> list[int]:
    return [min(max(1, round(4 / size)), n) for size, n in zip(spacing, shape, strict=True)]


def _block_means(data: Array, factors: list[int]) -> Array:
    """Means over blocks of voxels; a last, incomplete block counts the missing voxels as zero."""
    padded = np.pad(data, [(0, -n % f) for n, f in zip(data.shape, factors, strict=True)])
    x, y, z = (n // f for n, f in zip(padded.shape, factors, strict=True))
    means: Array = padded.reshape(x, factors[0], y, factors[1], z, factors[2]).mean(axis=(1, 3, 5))
    return means
