"""The folder that ``xai import-keras`` makes: ``model.json``, the description, and ``weights.pt``, a ``state_dict``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xai_core import InputError

from ._json import MOST_CHARACTERS, parse

__all__ = ["is_folder", "load", "save"]

_DESCRIPTION, _WEIGHTS = "model.json", "weights.pt"
_FORMAT = 1
_KEYS = {
    "format": int, "keras": str, "inputs": list, "modules": dict, "buffers": dict, "nodes": list, "outputs": list,
    "notes": list, "source": dict,
}  # fmt: skip


def is_folder(path: Path) -> bool:
    """Whether a path is such a folder, or the description in it."""
    return path.is_dir() or path.name == _DESCRIPTION


def load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return description and weights.

    Raises:
        InputError: A file is missing or damaged.
    """
    folder = path if path.is_dir() else path.parent
    missing = [name for name in (_DESCRIPTION, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: is no network imported from Keras: {' and '.join(missing)} are missing. Give a Keras model "
            "(.h5, .hdf5 or .keras) or a folder made by 'xai import-keras'."
        )
    return _description(folder / _DESCRIPTION), _weights(folder / _WEIGHTS)


def _description(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_CHARACTERS:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        found = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged: {error}. Import the Keras model again.") from error
    if found.get("format") != _FORMAT:
        raise InputError(
            f"{path}: is of the format {str(found.get('format'))[:20]}; this version reads {_FORMAT}. Import the Keras "
            "model again, or update xai-models-keras."
        )
    for key, kind in _KEYS.items():
        if not isinstance(found.get(key), kind):
            raise InputError(f"{path}: is damaged: {key} is missing or of another type. Import the Keras model again.")
    for each in found["inputs"]:
        shape = each.get("shape") if isinstance(each, dict) else None
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
            raise InputError(f"{path}: is damaged: the shape of an input is no list of sizes.")
    return found


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"{path}: cannot be read as weights ({type(error).__name__}: {reason}).") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: holds no state_dict (a mapping of names to tensors).")
    return found


def save(folder: Path, description: dict[str, Any], state: dict[str, Tensor], *, force: bool) -> None:
    """Write the folder under a temporary name and rename it, so that it is there whole or not at all.

    Raises:
        InputError: It exists already (with ``force``: and is no such folder), or cannot be written.
    """
    if folder.exists():
        _check_replaceable(folder, force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(new, description, state)
            if folder.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
                folder.rename(old)
                shutil.rmtree(old)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}). Choose another place with --output.") from error


def _check_replaceable(folder: Path, force: bool) -> None:
    if not force:
        raise InputError(f"{folder}: exists already. Choose another place with --output, or replace it with --force.")
    strange = (
        sorted({each.name for each in folder.iterdir()} - {_DESCRIPTION, _WEIGHTS}) if folder.is_dir() else ["a file"]
    )
    if strange:
        raise InputError(f"{folder}: is not replaced, since it holds something else ({', '.join(strange[:3])}).")


def _write(folder: Path, description: dict[str, Any], state: dict[str, Tensor]) -> None:
    folder.chmod(0o777 & ~_umask())
    with (folder / _DESCRIPTION).open("w", encoding="utf-8") as stream:
        json.dump(description, stream, indent=1, allow_nan=False)
        stream.write("\n")
    torch.save(state, folder / _WEIGHTS)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
