"""Maps as they lie on disk: NIfTI files and NumPy arrays."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt

from xai_core import InputError

from ._grids import Grid

__all__ = [
    "SUFFIXES", "UNREADABLE", "LoadedMap", "archive_keys", "load_map", "read_image", "read_stored", "require_finite",
]  # fmt: skip

Array = npt.NDArray[Any]

SUFFIXES = (".nii", ".nii.gz", ".npy", ".npz")
# The size of its header, in either order of bytes.
_NIFTI_1 = ((348).to_bytes(4, "little"), (348).to_bytes(4, "big"))
UNREADABLE = (OSError, EOFError, ValueError, MemoryError, OverflowError, KeyError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class LoadedMap:
    """A map in memory.

    Attributes:
        name: What the user called it, with the array's name where a file holds several.
        data: float64 [D, H, W]; of a NIfTI file with channels [D, H, W, C]; of an array any shape.
        grid: Where the voxels lie; None for an array without an affine.
        note: What the user should know of the reading, or an empty string.
    """

    name: str
    data: Array
    grid: Grid | None
    note: str = ""


def load_map(text: str) -> LoadedMap:
    """Read a map.

    Args:
        text: A ``.nii``, ``.nii.gz``, ``.npy`` or ``.npz`` file, or ``file.npz::key``.

    Raises:
        InputError: It is missing, of another kind, unreadable, or holds no numbers.
    """
    path, key = Path(text), None
    if "::" in text and not path.exists():
        file, _, key = text.rpartition("::")
        path = Path(file)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}. Give a map: {', '.join(SUFFIXES)}, or file.npz::key.")
    name = path.name.lower()
    if key is not None and not name.endswith(".npz"):
        raise InputError(f"{text}: only a .npz file has named arrays. Give {path} alone.")
    if name.endswith((".nii", ".nii.gz")):
        data, grid = read_image(path)
        return LoadedMap(text, data, grid)
    if name.endswith(".npy"):
        return LoadedMap(text, _squeezed(_numbers(_array(path), text)), None)
    if name.endswith(".npz"):
        return _from_archive(path, key)
    raise InputError(f"{path} is not a map that can be read. Give {', '.join(SUFFIXES)}, or file.npz::key.")


def read_image(path: Path) -> tuple[Array, Grid]:
    """Return a NIfTI file as float64 [D, H, W], or with channels [D, H, W, C], and its grid.

    Raises:
        InputError: It is missing, unreadable, has another number of dimensions, no numbers or no usable affine.
    """
    data, grid = read_stored(path)
    return data.astype(np.float64), grid


def read_stored(path: Path) -> tuple[Array, Grid]:
    """Return an image (NIfTI, MGH) [D, H, W] or [D, H, W, C] in the type that it is stored in, and its grid.

    Raises:
        InputError: See ``read_image``.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Was it moved or deleted?")
    try:
        image = _opened(path)
        data, affine = np.asanyarray(image.dataobj), image.affine
    except (nib.filebasedimages.ImageFileError, *UNREADABLE) as error:
        raise InputError(f"{path} cannot be read as an image: {_short(error)}. Is it whole?") from error
    while data.ndim > 4 and data.shape[3] == 1:  # NIfTI keeps channels in the fifth dimension
        data = data[:, :, :, 0]
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim not in (3, 4) or not data.size:
        raise InputError(
            f"{path} has the shape {data.shape}; a volume of three dimensions is needed, or with channels."
        )
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path} has no usable affine (voxel to world matrix). Repair its header.")
    shape = cast(tuple[int, int, int], tuple(int(n) for n in data.shape[:3]))
    return _require_numbers(data, str(path)), Grid(shape, np.asarray(affine, dtype=np.float64))


def _opened(path: Path) -> Any:
    """Open an image; a compressed NIfTI file at once: nibabel does it in small steps, for which threads wait."""
    if path.name.lower().endswith(".nii.gz"):
        content = gzip.decompress(path.read_bytes())
        if content[:4] in _NIFTI_1:
            return nib.Nifti1Image.from_bytes(content)
    return nib.load(path)


def archive_keys(path: Path) -> list[str]:
    """Return the names of the arrays of a ``.npz`` file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except (*UNREADABLE, AttributeError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a NumPy archive: {_short(error)}. Is it whole?") from error


def _from_archive(path: Path, key: str | None) -> LoadedMap:
    keys = archive_keys(path)
    if not keys:
        raise InputError(f"{path} holds no array.")
    if key is not None and key not in keys:
        raise InputError(f"{path} has no array {key!r}. It holds: {', '.join(keys)}.")
    chosen = keys[0] if key is None else key
    name = f"{path}::{chosen}"
    several = key is None and len(keys) > 1
    note = f"{name} is the first of {len(keys)} arrays ({', '.join(keys)})." if several else ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = archive[chosen]
    except (*UNREADABLE, AttributeError, TypeError) as error:
        raise InputError(f"{name} cannot be read: {_short(error)}. Is the file whole?") from error
    if not isinstance(data, np.ndarray):
        raise InputError(f"{name} is no NumPy array.")
    return LoadedMap(name, _squeezed(_numbers(data, name)), None, note)


def _array(path: Path) -> Array:
    try:
        return cast(Array, np.load(path, allow_pickle=False))
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as a NumPy array: {_short(error)}. Is it whole?") from error


def _numbers(data: Any, name: str) -> Array:
    """Return float64; refuse what is no array of real numbers."""
    return _require_numbers(data, name).astype(np.float64)


def _require_numbers(data: Any, name: str) -> Array:
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "iufb":
        found = data.dtype if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f"{name} holds {found}, not one real number for each voxel.")
    if not data.size:
        raise InputError(f"{name} has the shape {data.shape}: it holds no value.")
    return data


def _squeezed(data: Array) -> Array:
    """Drop the axes of size one before and behind a volume: a batch of one, a channel first or last."""
    while data.ndim > 3 and data.shape[0] == 1:
        data = data[0]
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    return data


def require_finite(data: Array, name: str) -> None:
    """Raise where a map holds NaN or infinite values.

    Raises:
        InputError: With their numbers.
    """
    finite = np.isfinite(data)
    if not finite.all():
        nan = int(np.isnan(data).sum())
        infinite = int((~finite).sum()) - nan
        raise InputError(
            f"{name} has {nan} voxels that are NaN and {infinite} that are infinite, of {data.size}. A map must be "
            "finite; make it again, or compare within a mask that leaves them out."
        )


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(". ")
