"""One entry of the cache: the images of a preprocessed scan in a file that is read by mapping it into memory.

Layout: 8 bytes that name the format, the header's length (uint64, little-endian), the header's SHA-256, the header
(JSON), then the voxels of each image as they lie in memory (C order), each beginning at a multiple of 64 bytes.
Mapped pages belong to the operating system's page cache: all processes share them, and they are given back when memory
is short.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio as tio

__all__ = ["DamagedEntryError", "NotStorableError", "read_entry", "write_entry"]

_MAGIC = b"XAIVOL1\n"
_START = struct.Struct("<8sQ32s")
_ALIGNED = 64
# Of an image's own items, those that TorchIO sets; path and stem are the reader's, since files may have moved.
_TORCHIO = {"path", "stem", "type", "data", "affine"}
_KINDS: Mapping[str, type[tio.Image]] = {"scalar": tio.ScalarImage, "label": tio.LabelMap}


class DamagedEntryError(Exception):
    """A file is not what was written: cut off, changed, or of another format."""


class NotStorableError(Exception):
    """A subject holds what a file of this format cannot."""


def write_entry(path: Path, key: str, images: Mapping[str, tio.Image], values: Mapping[str, Any]) -> int:
    """Write an entry so that it is there whole or not at all, whoever else writes it; return its bytes.

    Args:
        path: Where.
        key: Its key, kept in the header.
        images: Images by name; their tensors contiguous.
        values: What else was made with them, JSON-serialisable.

    Raises:
        NotStorableError: An image is of a class of its own, or has a type or items that JSON does not have.
        OSError: It cannot be written.
    """
    arrays = {name: _array(image) for name, image in images.items()}
    rows, offset = [], 0
    for name, image in images.items():
        array = arrays[name]
        rows.append({
            "name": name, "kind": _kind(image), "dtype": array.dtype.str, "shape": array.shape,
            "affine": np.asarray(image.affine, dtype=np.float64).tolist(), "offset": offset, "bytes": array.nbytes,
            "crc32": zlib.crc32(array.data), "more": plain({k: v for k, v in image.items() if k not in _TORCHIO}),
        })  # fmt: skip
        offset = _aligned(offset + array.nbytes)
    header = json.dumps({"key": key, "images": rows, "values": plain(dict(values))}).encode()
    start = _START.pack(_MAGIC, len(header), hashlib.sha256(header).digest()) + header
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(start)
            first = _aligned(len(start))
            for row, array in zip(rows, arrays.values(), strict=True):
                stream.write(b"\0" * (first + row["offset"] - stream.tell()))
                stream.write(array.data)
            stream.write(b"\0" * (first - stream.tell()))  # where there is no image
            size = stream.tell()
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return size


def _array(image: tio.Image) -> np.ndarray[Any, Any]:
    try:
        return image.data.detach().contiguous().numpy()
    except (TypeError, RuntimeError) as error:  # a type that NumPy does not have
        raise NotStorableError(str(error)) from error


def _kind(image: tio.Image) -> str:
    for kind, known in _KINDS.items():
        if type(image) is known:
            return kind
    raise NotStorableError(f"an image of the class {type(image).__name__}")


def plain(value: Any) -> Any:
    """Return a value that JSON gives back as it is.

    Raises:
        NotStorableError: It would not.
    """
    try:
        same = _same(json.loads(json.dumps(value)), value)
    except (TypeError, ValueError) as error:
        raise NotStorableError(str(error)) from error
    if not same:
        raise NotStorableError(f"{value!r} is changed by JSON")
    return value


def _same(first: Any, second: Any) -> bool:
    """Whether values and their types agree: True == 1 and NumPy's float64 == float would pass as equal."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNED) * _ALIGNED


def read_entry(path: Path, key: str, *, whole: bool) -> tuple[dict[str, tio.Image], dict[str, Any], float]:
    """Map an entry into memory.

    Voxels are read from disk when they are looked at. Writing into them changes a copy, never the file.

    Args:
        path: The file.
        key: That the header must hold.
        whole: Whether every voxel is looked at, to find ones that were changed on the disk.

    Returns:
        The images by name, what else was stored, and when it was last used (seconds since the epoch).

    Raises:
        DamagedEntryError: It is not what was written under this key.
        OSError: There is none, or it cannot be read.
    """
    with path.open("rb") as stream:
        about = os.fstat(stream.fileno())
        if about.st_size < _START.size:
            raise DamagedEntryError("shorter than its start")
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    header, first = _header(mapped, key)
    rows = header["images"]
    end = first + (rows[-1]["offset"] + rows[-1]["bytes"] if rows else 0)
    if about.st_size != end:
        raise DamagedEntryError(f"{about.st_size} bytes instead of {end}")
    images = {}
    for row in rows:
        dtype, shape = np.dtype(row["dtype"]), tuple(row["shape"])
        array = np.frombuffer(mapped, dtype, int(np.prod(shape)), first + row["offset"]).reshape(shape)
        if whole and zlib.crc32(array.data) != row["crc32"]:
            raise DamagedEntryError(f"voxels of {row['name']} were changed")
        affine = np.array(row["affine"], dtype=np.float64)
        images[row["name"]] = _KINDS[row["kind"]](tensor=torch.from_numpy(array), affine=affine, **row["more"])
    return images, header["values"], about.st_mtime


def _header(mapped: mmap.mmap, key: str) -> tuple[dict[str, Any], int]:
    """Return the header, and where the voxels begin."""
    magic, length, digest = _START.unpack_from(mapped)
    text = mapped[_START.size : _START.size + length] if magic == _MAGIC else b""
    if hashlib.sha256(text).digest() != digest:
        raise DamagedEntryError("its header is not what was written")
    header: dict[str, Any] = json.loads(text)
    if header["key"] != key:
        raise DamagedEntryError("another entry's content")
    return header, _aligned(_START.size + length)
