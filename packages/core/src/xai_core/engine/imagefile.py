"""Reads an image file once: its hash, whether it can be used, and its voxels for whoever measures them."""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torchio as tio

from .imageheader import ANALYZE, affine_problem, header_problem, position_problem
from .units import file_hash

__all__ = ["ImageRead", "content_hash", "files_of", "image_problem", "read_image_file", "read_tensor"]

Array = np.ndarray[Any, Any]

_NIBABEL = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")
_COMPRESSED = (".nii.gz", ".mgz")
_SIMPLE_ITK = (".nrrd", ".mha", ".mhd", ".dcm")
_PAIRED = (".img", ".hdr", ".mhd")
_NUMBERS = "iufb"  # kinds of a NumPy data type
# The network computes in float32: squares of what is beyond either are infinite or 0 there, and so are deviations.
_LARGEST, _SMALLEST = 1e15, 1e-18
# Faults of the disk or of the network's file system, which may be gone at the next attempt.
_PASSING = {
    errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT,
}  # fmt: skip


@dataclass(frozen=True)
class ImageRead:
    """An image as it was read.

    Attributes:
        problem: Why it cannot be used, in one line that names it; None where it can.
        digest: SHA-256 of the file's content; empty where there is none.
        lasting: Whether reading the same content again would find the same.
        values: [X, Y, Z] in the file's own axes, scaled as the header says; None where they could not be read.
        affine: 4 x 4, voxel to world (RAS+, mm), or None.
        dtype: How a voxel is stored, such as ``int16``.
        path: The file; None for an image in memory.
    """

    problem: str | None
    digest: str = ""
    lasting: bool = True
    values: Array | None = None
    affine: Array | None = None
    dtype: str = ""
    path: Path | None = None


def read_image_file(path: Path, name: str, *, mask: bool = False) -> ImageRead:
    """Read an image file: once, with its check sum where it is compressed.

    Args:
        path: A NIfTI (or other nibabel) file, or something TorchIO reads (NRRD, a DICOM folder).
        name: Whose image it is, for the message.
        mask: It is a mask, which may be the same everywhere.
    """
    where = f"{name}: the {'mask' if mask else 'image'} {path}"
    missing = _missing(path, name, where)
    if missing:
        return ImageRead(missing, lasting=False, path=path)
    try:
        if path.name.lower().endswith(_NIBABEL):
            return _by_nibabel(path, where, mask)
        return _by_torchio(path, where, mask)
    except Exception as error:  # whatever a reader raises for a damaged file
        passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSING)
        return ImageRead(_unreadable(where, error), lasting=not passing, path=path)


def _missing(path: Path, name: str, where: str) -> str | None:
    if not _is_text(path):  # ITK would end the whole process
        return f"{where} has a name that is no {sys.getfilesystemencoding()} text. Rename it, or set PYTHONUTF8=1."
    if not path.exists():
        return f"{where} does not exist."
    if path.is_dir():
        return None if any(path.iterdir()) else f"{name}: {path} is an empty folder, not an image."
    if path.stat().st_size == 0:
        return f"{where} is empty (0 bytes)."
    if path.name.lower().endswith(_NIBABEL) or path.suffix.lower() in _SIMPLE_ITK:
        return None
    return f"{name}: {path} is no image that can be read. Known: {', '.join(_NIBABEL + _SIMPLE_ITK)}."


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(where: str, error: Exception) -> str:
    return f"{where} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})."


def _by_nibabel(path: Path, where: str, mask: bool) -> ImageRead:
    image: Any = nib.load(path)
    digest, size = "", None if path.suffix.lower() in _PAIRED else path.stat().st_size
    if path.name.lower().endswith(_COMPRESSED):
        packed = path.read_bytes()
        # nibabel reads up to the last voxel and never comes to the check sum behind it.
        content = gzip.decompress(packed)
        digest, size = hashlib.sha256(packed).hexdigest(), len(content)
        image = type(image).from_stream(io.BytesIO(content))
    shape = image.shape
    unusable = _shape_problem(shape) or header_problem(image, path, size)
    if unusable:
        return ImageRead(f"{where} {unusable}", digest or content_hash(path), path=path)
    affine = np.asarray(image.affine, dtype=np.float64)
    values = np.asanyarray(image.dataobj).reshape(shape[:3])
    problem = (
        value_problem(values, mask=mask) or affine_problem(affine) or position_problem(path, tuple(shape[:3]), affine)
    )
    return ImageRead(
        f"{where} {problem}" if problem else None, digest or content_hash(path), values=values, affine=affine,
        dtype=str(image.get_data_dtype()), path=path,
    )  # fmt: skip


def image_problem(image: Any) -> str | None:
    """Return why an image of nibabel's, with a file or not, cannot be a scan, but for the values of its voxels."""
    shape, kind = _shape_problem(image.shape), np.dtype(image.dataobj.dtype)
    if shape is not None or kind.kind not in _NUMBERS:
        return shape or _no_numbers(kind)
    if isinstance(image, nib.AnalyzeImage) and not isinstance(image, nib.Nifti1Pair):
        return ANALYZE
    return None


def _shape_problem(shape: Sequence[int]) -> str | None:
    sizes = " x ".join(map(str, shape))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        return f"has {len(shape)} dimensions ({sizes}). Give one 3D volume for each scan."
    return f"is flat ({sizes}). Give a 3D volume." if min(shape[:3]) < 2 else None


def _by_torchio(path: Path, where: str, mask: bool) -> ImageRead:
    image = tio.ScalarImage(path)
    image.load()
    channels, *sides = image.shape
    if channels != 1 or min(sides) < 2:
        sizes = " x ".join(map(str, sides))
        problem = f"{where} holds {channels} volumes of {sizes}. Give one 3D volume for each scan."
        return ImageRead(problem, content_hash(path), path=path)
    values, affine = image.data[0].numpy(), np.asarray(image.affine, dtype=np.float64)
    unusable = value_problem(values, mask=mask) or affine_problem(affine)
    return ImageRead(
        f"{where} {unusable}" if unusable else None, content_hash(path), values=values, affine=affine,
        dtype=str(values.dtype), path=path,
    )  # fmt: skip


def _no_numbers(kind: np.dtype[Any]) -> str:
    return f"holds {kind} voxels, not one number each."


def value_problem(values: Array, *, mask: bool = False) -> str | None:
    """Return why an image's voxels (any shape) cannot be used."""
    if values.dtype.kind not in _NUMBERS:
        return _no_numbers(values.dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        return f"has {count} voxels that are NaN or infinite. Replace them (by 0, say)."
    low, high = float(values.min()), float(values.max())
    if low == high:
        return None if mask else f"has the value {values.flat[0]} in every voxel."
    if max(-low, high) > _LARGEST or high - low < _SMALLEST:
        return (
            f"has values from {low:.3g} to {high:.3g}, which single precision cannot compute with. Its scaling "
            "(scl_slope) is wrong, or bring it to another unit."
        )
    return None


def read_tensor(image: tio.ScalarImage, name: str) -> list[ImageRead]:
    """As ``read_image_file`` for each channel of an image in memory; all have the digest of the whole."""
    data, affine = image.data.numpy(), np.asarray(image.affine)
    content = str((data.shape, data.dtype)).encode() + data.tobytes() + affine.tobytes()
    digest = hashlib.sha256(content).hexdigest()
    problem = value_problem(data) or affine_problem(affine)
    told = f"{name}: the image {problem}" if problem else None
    return [ImageRead(told, digest, values=channel, affine=affine, dtype=str(data.dtype)) for channel in data]


def files_of(path: Path) -> list[Path]:
    """Return the files that an image consists of: itself, a pair of header and data, or all of a folder."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if path.suffix.lower() in _PAIRED:
        return sorted(p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if p.is_file())
    return [path]


def content_hash(path: Path) -> str:
    """Return the SHA-256 of all files that an image consists of."""
    files = files_of(path)
    if files == [path]:
        return file_hash(path)
    parts = [f"{p.relative_to(path.parent)}:{file_hash(p)}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
