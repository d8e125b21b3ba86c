"""Reads the parts of a ``.keras`` archive: configuration, version and the HDF5 file with the weights."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from xai_core import InputError

from ._hdf5 import version
from ._json import MOST_CHARACTERS, parse, plain
from ._layer import File

__all__ = ["archive"]

_MOST_ENTRIES = 10_000
# Keras does not pack weights; what packs better than this is a bomb.
_TIGHT, _LITTLE = 20, 2**26
_WEIGHTS = "model.weights.h5"


def archive(path: Path) -> tuple[File, dict[str, Any], io.BytesIO]:
    """Return description, configuration and weights file. Nothing is unpacked to disk, so names lead nowhere.

    Raises:
        InputError: It is no such archive, is damaged, or says to be absurdly large.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            if len(opened.infolist()) > _MOST_ENTRIES:
                raise InputError(f"{path}: holds {len(opened.infolist())} files, which no .keras archive does.")
            metadata = _object(path, opened, "metadata.json")
            about = version(path, metadata.get("keras_version"))
            config = plain(_object(path, opened, "config.json"))
            return (
                about,
                config,
                io.BytesIO(_member(path, opened, _WEIGHTS, max(_TIGHT * path.stat().st_size, _LITTLE))),
            )
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"{path}: cannot be read as a .keras archive ({type(error).__name__}: {reason}). It may be damaged or cut "
            "off; save the model again with model.save('model.keras')."
        ) from error


def _object(path: Path, opened: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        return parse(_member(path, opened, name, MOST_CHARACTERS))
    except ValueError as error:
        raise InputError(f"{path}: its {name} is damaged: {error}.") from error


def _member(path: Path, opened: zipfile.ZipFile, name: str, most: int) -> bytes:
    entries = [entry for entry in opened.infolist() if entry.filename == name]
    if len(entries) != 1:
        held = ", ".join(repr(entry.filename[:40]) for entry in opened.infolist()[:6]) or "nothing"
        raise InputError(f"{path}: holds {len(entries)} files {name}; a .keras archive has one. It holds {held}.")
    entry = entries[0]
    if entry.file_size > most:
        raise InputError(f"{path}: its {name} says to unpack to {entry.file_size} bytes from {entry.compress_size}.")
    with opened.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise InputError(
            f"{path}: its {name} has {len(content)} bytes, not the {entry.file_size} that it says to have."
        )
    return content
