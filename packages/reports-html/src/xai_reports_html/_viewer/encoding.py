"""How volumes travel to the page: as text inside a script that opens from disk, or as bytes from a local server."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Volume", "as_bytes", "as_text"]

Array = npt.NDArray[Any]
_HEADER = 352  # bytes before the voxels of a NIfTI-1 file in one piece


@dataclass(frozen=True)
class Volume:
    """An image as it is drawn.

    Attributes:
        stored: [D, H, W], axes RAS, int16, int32 or float32.
        affine: [4, 4], of ``stored``, in mm.
        about: What the page shows of it without looking at its voxels.
        slope: Value of a voxel: ``slope * stored + inter``.
        inter: See ``slope``.
    """

    stored: Array
    affine: Array
    about: dict[str, Any]
    slope: float = 1.0
    inter: float = 0.0

    def header(self) -> bytes:
        """Return what stands before the voxels of a NIfTI-1 file."""
        header: Any = nib.Nifti1Image(self.stored, self.affine).header
        header.set_slope_inter(self.slope, self.inter)
        header.set_xyzt_units("mm")
        header.set_data_offset(_HEADER)
        return bytes(header.binaryblock).ljust(_HEADER, b"\0")


def as_text(volume: Volume) -> str:
    """Return a gzipped NIfTI file as base64; the same content gives the same text."""
    file = volume.header() + volume.stored.tobytes(order="F")
    return base64.b64encode(gzip.compress(file, compresslevel=4, mtime=0)).decode("ascii")


def as_bytes(volume: Volume, told: Mapping[str, Any]) -> bytes:
    """Return what is told of a volume, its header, and those of its voxels that are not like the first one.

    A map is zero, and a scan often, outside of the head: that makes the fourth part of a file of 1 mm, in a tenth of
    the time that gzip takes.

    Args:
        volume: What is sent.
        told: What JSON can hold.

    Returns:
        Parts, each filled up with zeros to a multiple of 8 bytes: the length of the text (32 bits, lowest byte first);
        ``told`` as JSON in UTF-8; the header of a NIfTI-1 file (352 bytes); a bit for each voxel in the order of the
        file, lowest bit of a byte first: whether its value is sent; the values. The first voxel's is sent, and is that
        of all voxels whose values are not.
    """
    text = json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    flat = volume.stored.reshape(-1, order="F")
    sent = flat != flat[0]
    sent[0] = True
    bits = np.packbits(sent, bitorder="little").tobytes()
    parts = (struct.pack("<I", len(text)), text, volume.header(), bits, flat[sent].tobytes())
    return b"".join(piece for part in parts for piece in (part, bytes(-len(part) % 8)))
