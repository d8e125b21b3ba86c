"""Looks at every scan once before any long work: readable, three-dimensional, finite; and its content's hash."""

from __future__ import annotations

import hashlib
import json
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
    if not path.exists():
        return f"{where} does not exist."
    if path.is_dir():
        return None if any(path.iterdir()) else f"{name}: {path} is an empty folder, not an image."
    if path.stat().st_size == 0:
        return f"{where} is empty (0 bytes)."
    if path.name.lower().endswith(_NIBABEL):
        return _volume_problem(path, where)
    if path.suffix.lower() in _SIMPLE_ITK:
        return None
    return f"{name}: {path} is no image that can be read. Known: {', '.join(_NIBABEL + _SIMPLE_ITK)}."


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
        return f"{where} cannot be read ({type(error).__name__}: {str(error).strip()[:120]})."
    return _value_problem(values, where) or _affine_problem(np.asarray(image.affine), where)


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
        with suppress(OSError, ValueError):
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
            try:
                stamp = [path.stat().st_size, path.stat().st_mtime_ns]
            except OSError:
                return "", f"{name}: the image {path} does not exist."
            if self._known.get(key, [None])[:2] != stamp:
                problem = check_image_file(path, name)
                if problem:
                    return "", problem
                self._known[key] = [*stamp, _content_hash(path)]
            digests.append(self._known[key][2])
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(), None


def _paths(image: tio.ScalarImage) -> list[Path]:
    path = image.path
    if path is None:
        return []
    return [Path(p) for p in path] if isinstance(path, list | tuple) else [Path(path)]


def _content_hash(path: Path) -> str:
    if not path.is_dir():
        return file_hash(path)
    parts = [f"{p.relative_to(path)}:{file_hash(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tensor_hash(image: tio.ScalarImage, name: str) -> tuple[str, str | None]:
    data = image.data.numpy()
    where = f"{name}: the image"
    problem = _value_problem(data, where) or _affine_problem(np.asarray(image.affine), where)
    content = str((data.shape, data.dtype)).encode() + data.tobytes() + np.asarray(image.affine).tobytes()
    return hashlib.sha256(content).hexdigest(), problem
