"""Looks at every scan once before any long work: readable, three-dimensional, finite; and its content's hash."""

from __future__ import annotations

import glob
import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import torchio as tio

from ..errors import InputError
from .progress import track
from .units import file_hash, write_text

__all__ = ["ScanChecks", "check_image_file", "image_of", "several"]

_SHOWN = 5
_NIBABEL = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")
_SIMPLE_ITK = (".nrrd", ".mha", ".mhd", ".dcm")
_PAIRED = (".img", ".hdr", ".mhd")


def image_of(subject: tio.Subject) -> tio.ScalarImage:
    """Return a scan's image."""
    return cast(tio.ScalarImage, subject["image"])


def several(problems: Sequence[str], what: str) -> str:
    """Join the first problems of many into one message."""
    rest = len(problems) - _SHOWN
    shown = "\n  ".join(problems[:_SHOWN]) + (f"\n  and {rest} more" if rest > 0 else "")
    return problems[0] if len(problems) == 1 else f"{len(problems)} {what}:\n  {shown}"


def check_image_file(path: Path, name: str) -> str | None:
    """Return what makes an image file unusable, or None.

    Args:
        path: A NIfTI (or other nibabel) file, or something TorchIO reads (NRRD, a DICOM folder).
        name: Whose image it is, for the message.
    """
    where = f"{name}: the image {path}"
    if not _is_text(path):  # ITK would end the whole process
        return f"{where} has a name that is no {sys.getfilesystemencoding()} text. Rename it, or set PYTHONUTF8=1."
    if not path.exists():
        return f"{where} does not exist."
    if path.is_dir():
        empty = f"{name}: {path} is an empty folder, not an image."
        return _torchio_problem(path, where) if any(path.iterdir()) else empty
    if path.stat().st_size == 0:
        return f"{where} is empty (0 bytes)."
    if path.name.lower().endswith(_NIBABEL):
        return _volume_problem(path, where)
    if path.suffix.lower() in _SIMPLE_ITK:
        return _torchio_problem(path, where)
    return f"{name}: {path} is no image that can be read. Known: {', '.join(_NIBABEL + _SIMPLE_ITK)}."


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _volume_problem(path: Path, where: str) -> str | None:
    try:
        image: Any = nib.load(path)
        shape = image.shape
        sizes = " x ".join(map(str, shape))
        if len(shape) < 3 or any(n != 1 for n in shape[3:]):
            return f"{where} has {len(shape)} dimensions ({sizes}). Give one 3D volume for each scan."
        if min(shape[:3]) < 2:
            return f"{where} is flat ({sizes}). Give a 3D volume."
        values = np.asanyarray(image.dataobj)
    except Exception as error:
        return _unreadable(where, error)
    return (
        _value_problem(values, where)
        or _affine_problem(np.asarray(image.affine), where)
        or _position_problem(path, shape, np.asarray(image.affine), where)
    )


def _unreadable(where: str, error: Exception) -> str:
    return f"{where} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})."


def _torchio_problem(path: Path, where: str) -> str | None:
    try:
        image = _quiet(tio.ScalarImage(path))
    except Exception as error:
        return _unreadable(where, error)
    channels, *sides = image.shape
    if channels != 1 or min(sides) < 2:
        return f"{where} holds {channels} volumes of {' x '.join(map(str, sides))}. Give one 3D volume for each scan."
    return _value_problem(image.data.numpy(), where) or _affine_problem(np.asarray(image.affine), where)


def _quiet(image: tio.ScalarImage) -> tio.ScalarImage:
    """Load an image without the warnings of one reader before the next is tried."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
    return image


def _position_problem(path: Path, shape: Sequence[int], affine: Any, where: str) -> str | None:
    """Refuse a header that readers understand differently.

    TorchIO reads through ITK, which prefers the qform, where nibabel and viewers take the sform; and with neither the
    guesses differ. The network would see the brain at one place and a viewer show the scan and its map at another.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = np.asarray(tio.ScalarImage(path).affine)
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
    distance = float(np.linalg.norm(corners @ (other - affine).T, axis=1).max())
    if distance <= 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min():
        return None
    return (
        f"{where} has no clear position: its header can be read as two places up to {distance:.1f} mm apart (its sform "
        "and qform differ, or it has none). Check left and right, and save it with one affine: nibabel.save("
        "nibabel.Nifti1Image(image.get_fdata(), image.affine), 'new.nii.gz')."
    )


def _value_problem(values: Any, where: str) -> str | None:
    if values.dtype.kind not in "iufb":
        return f"{where} holds {values.dtype} voxels, not one number each."
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        return f"{where} has {count} voxels that are NaN or infinite. Replace them (by 0, say)."
    if values.min() == values.max():
        return f"{where} has the value {values.flat[0]} in every voxel."
    return None


def _affine_problem(affine: Any, where: str) -> str | None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return f"{where} has no usable affine (voxel to world matrix). Repair its header."
    return None


class ScanChecks:
    """Checks and hashes scans, and remembers both for files that have not changed since.

    Args:
        memory: JSON file to remember in.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError, TypeError):
            self._known = dict(json.loads(memory.read_text(encoding="utf-8")))

    def hashes(self, subjects: Sequence[tio.Subject], names: Sequence[str]) -> list[str]:
        """Return the SHA-256 of each scan's content.

        Raises:
            InputError: Scans that cannot be used, all in one message.
        """
        problems: list[str] = []
        hashes: list[str] = []
        for subject, name in track(list(zip(subjects, names, strict=True)), "checking scans"):
            found, problem = self._one(image_of(subject), name)
            if problem:
                problems.append(problem)
            hashes.append(found)
        if problems:
            raise InputError(several(problems, "scans cannot be used"))
        write_text(self._memory, json.dumps(self._known, indent=0, sort_keys=True))
        return hashes

    def _one(self, image: tio.ScalarImage, name: str) -> tuple[str, str | None]:
        paths = _paths(image)
        if not paths:
            return _tensor_hash(image, name)
        digests = []
        for path in paths:
            key = str(path)
            stamp = _stamp(path)
            if self._known.get(key, [None])[0] != stamp:
                problem = check_image_file(path, name)
                if problem:
                    return "", problem
                self._known[key] = [stamp, _content_hash(path)]
            digests.append(self._known[key][1])
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(), None


def _paths(image: tio.ScalarImage) -> list[Path]:
    path = image.path
    if path is None:
        return []
    return [Path(p) for p in path] if isinstance(path, list | tuple) else [Path(path)]


def _files(path: Path) -> list[Path]:
    """Return the files that an image consists of: itself, a pair of header and data, or all of a folder."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if path.suffix.lower() in _PAIRED:
        return sorted(p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if p.is_file())
    return [path]


def _stamp(path: Path) -> str:
    """Return what changes when a file is written: also the time that no program can set back."""
    found = [(str(p), p.stat()) for p in _files(path) if p.exists()]
    parts = [(name, about.st_size, about.st_mtime_ns, about.st_ctime_ns) for name, about in found]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _content_hash(path: Path) -> str:
    files = _files(path)
    if files == [path]:
        return file_hash(path)
    parts = [f"{p.relative_to(path.parent)}:{file_hash(p)}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tensor_hash(image: tio.ScalarImage, name: str) -> tuple[str, str | None]:
    data = image.data.numpy()
    where = f"{name}: the image"
    problem = _value_problem(data, where) or _affine_problem(np.asarray(image.affine), where)
    content = str((data.shape, data.dtype)).encode() + data.tobytes() + np.asarray(image.affine).tobytes()
    return hashlib.sha256(content).hexdigest(), problem
