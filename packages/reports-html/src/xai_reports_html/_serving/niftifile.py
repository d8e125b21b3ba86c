"""Whether a file that somebody gave is a NIfTI volume: found out without trusting a byte of it."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib

from xai_core import InputError

__all__ = ["check_nifti"]

_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
_HEADERS = ((348, nib.Nifti1Header), (540, nib.Nifti2Header))
_LARGEST_SIDE = 2048  # voxels
_BEHIND = 1 << 20  # bytes that may follow the last voxel: some programs fill up a block


def check_nifti(path: Path, limit: int) -> str:
    """Return the ending that the file deserves: ``.nii`` or ``.nii.gz``.

    It is read in pieces; nothing is unpacked beyond what its header announces.

    Args:
        path: The file, whatever its name.
        limit: Largest size of the image when it is unpacked, in bytes.

    Raises:
        InputError: It is no NIfTI file, no volume, too large, cut off or damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    try:
        with cast(IO[bytes], gzip.open(path) if packed else path.open("rb")) as stream:
            needed, block = _announced(stream, limit)
            _check_length(stream, needed, len(block))
    except EOFError as error:
        raise InputError("The file is cut off: its compressed data ends early. Send it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"The file is damaged: {error}. Send it again.") from error
    return ".nii.gz" if packed else ".nii"


def _announced(stream: IO[bytes], limit: int) -> tuple[int, bytes]:
    """Return how many bytes the header announces, and what was read of them."""
    block = stream.read(540)
    found = _header(block)
    if found is None:
        raise InputError(_what_it_is(block))
    size, header = found
    shape, width = _shape(header), _width(header)
    start = float(header["vox_offset"])
    if not math.isfinite(start) or not size <= start <= limit:
        raise InputError(f"The header is damaged: it says that the voxels begin at byte {start:g}.")
    needed = int(start) + math.prod(shape) * width
    if needed > limit:
        raise InputError(
            f"The image has {' x '.join(map(str, shape))} voxels of {width} bytes, {needed / 1e6:.0f} MB when it is "
            f"unpacked. This server takes up to {limit / 1e6:.0f} MB (--max-upload)."
        )
    return needed, block


def _header(block: bytes) -> tuple[int, Any] | None:
    for size, kind in _HEADERS:
        if len(block) >= size and kind.may_contain_header(block[:size]) and _is_single(block):
            return size, kind.from_fileobj(io.BytesIO(block[:size]), check=False)
    return None


def _is_single(block: bytes) -> bool:
    return block[344:348] == b"n+1\0" or block[4:12] == b"n+2\0\r\n\x1a\n"


def _what_it_is(block: bytes) -> str:
    if block[344:348] == b"ni1\0" or block[4:8] == b"ni2\0":
        return "The file is one of a pair (.hdr and .img). Give one NIfTI file (.nii or .nii.gz)."
    if block[128:132] == b"DICM":
        return "The file is DICOM. Convert the series to NIfTI first (dcm2niix, for example)."
    return "The file is not NIfTI: its header is another one. Give a .nii or .nii.gz file."


def _shape(header: Any) -> tuple[int, ...]:
    dims = [int(n) for n in header["dim"]]
    count = dims[0]
    if not 1 <= count <= 7 or any(n < 1 for n in dims[1 : count + 1]):
        raise InputError(f"The header is damaged: its dimensions are {dims}.")
    shape = tuple(dims[1 : count + 1])
    sizes = " x ".join(map(str, shape))
    if count < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(f"The image has {count} dimensions ({sizes}). Give one 3D volume.")
    if min(shape[:3]) < 2 or max(shape[:3]) > _LARGEST_SIDE:
        raise InputError(f"The image has {sizes} voxels. Every side must have from 2 to {_LARGEST_SIDE}.")
    return shape


def _width(header: Any) -> int:
    """Return the bytes of a voxel."""
    try:
        kind = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError) as error:
        raise InputError(f"The header is damaged: there is no kind of voxel {int(header['datatype'])}.") from error
    if kind.kind not in "iuf":
        raise InputError(f"The image holds {kind} voxels, not one number each. Give a volume of intensities.")
    return int(kind.itemsize)


def _check_length(stream: IO[bytes], needed: int, read: int) -> None:
    while piece := stream.read(_PIECE):
        read += len(piece)
        if read > needed + _BEHIND:
            raise InputError("The file holds more than its header announces. It is damaged, or not what it seems.")
    if read < needed:
        raise InputError(f"The file is cut off: {read} of {needed} bytes. Send it again.")
