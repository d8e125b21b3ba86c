"""Reads what Keras writes into HDF5 files: a legacy file with configuration and weights, and stored arrays.

Only attributes, groups and plain arrays are touched. Links to other places and other files, filters that come as
plugins, and arrays that say to be larger than what is stored are refused before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xai_core import InputError

from ._json import parse, plain
from ._layer import Array, File, Stored

try:
    import h5py
except ImportError as error:  # the folder that import-keras writes is read without it
    raise InputError(
        "keras: reading .h5, .hdf5 and .keras files needs the package h5py, which is not installed. Install it: pip "
        "install h5py. (A folder made by 'xai import-keras' is read without.)"
    ) from error

__all__ = ["array", "child", "get_attribute", "legacy", "opened", "version"]

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
# Deflate packs at most 1032 times; weights, not constants, hardly at all.
_TIGHTEST = 1100
_TIGHT, _LITTLE = 20, 2**26
_MOST_ATTRIBUTES = 1000
_BACKENDS = ("tensorflow", "jax", "torch", "cntk", "numpy")


@contextmanager
def opened(path: str, source: Path | BinaryIO) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; whatever the HDF5 library has to say of it becomes one ``InputError``."""
    try:
        with h5py.File(source, "r") as file:
            yield file
    except InputError:
        raise
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"{path}: cannot be read as an HDF5 file ({type(error).__name__}: {reason}). It may be damaged or cut "
            "off, or be something else; save the model again with model.save(...)."
        ) from error


def version(path: Path, stored: Any) -> File:
    """Return the file's description by the stored Keras version, ``"2.2.4-tf"`` for example."""
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored
    parts = text.split(".") if isinstance(text, str) else []
    numbers = [int(part) for part in parts[:2] if part.isascii() and part.isdigit() and len(part) < 4]
    if len(numbers) < 2:
        raise InputError(
            f"{path}: the Keras version is stored as {str(text)[:40]!r}; one such as '2.14.0' was expected. Only "
            "models saved whole by Keras 2 or 3 can be read."
        )
    if numbers[0] not in (2, 3):
        raise InputError(f"{path}: written by Keras {text[:40]}; only Keras 2 and 3 are known. Save it again with one.")
    return File(str(path), (numbers[0], numbers[1]), text, max(_TIGHT * path.stat().st_size, _LITTLE))


def legacy(path: Path) -> tuple[File, dict[str, Any], dict[str, list[Stored]]]:
    """Return description, configuration and the weights of each top-level layer of a ``.h5`` or ``.hdf5`` file.

    Raises:
        InputError: It is damaged, holds weights alone, or is of another version.
    """
    with opened(str(path), path) as file:
        if "model_config" not in file.attrs:
            raise InputError(
                f"{path}: holds no configuration of a model (the attribute model_config), perhaps weights alone. Build "
                "the model in Keras, load the weights and save it whole with model.save(...)."
            )
        about = version(path, _text(get_attribute(str(path), file, "keras_version")))
        backend = _text(get_attribute(str(path), file, "backend")) or "tensorflow"
        if backend not in _BACKENDS:
            about.fail(
                f"written with the backend {str(backend)[:40]!r}, whose kernels are stored otherwise. Save it with "
                "TensorFlow as the backend."
            )
        try:
            config = plain(parse(_text(get_attribute(str(path), file, "model_config")) or ""))
        except ValueError as error:
            about.fail(f"its configuration (model_config) is damaged: {error}.", error)
        weights = child(about, file, "model_weights")
        if not isinstance(weights, h5py.Group):
            about.fail("holds a configuration but no weights (the group model_weights).")
        return about, config, {name: _layer(about, weights, name) for name in _names(about, weights, "layer_names")}


def _layer(file: File, weights: h5py.Group, name: str) -> list[Stored]:
    group = child(file, weights, name)
    if not isinstance(group, h5py.Group):
        file.fail(f"layer {name!r}: its weights are not in the file; it may have been cut off or written by hand.")
    found = []
    for key in _names(file, group, "weight_names"):
        found.append(Stored(key, array(file, f"layer {name!r}, weight {key!r}", child(file, group, key))))
    return found


def get_attribute(path: str, group: h5py.Group, name: str) -> Any:
    """Return an attribute, or None; its declared size is compared with the file's before it is read."""
    if name not in group.attrs:
        return None
    stored = group.attrs.get_id(name)
    if math.prod(stored.shape or ()) * stored.get_type().get_size() > group.file.id.get_filesize():
        raise InputError(f"{path}: is damaged: the attribute {name} says to be larger than the file.")
    return group.attrs[name]


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else None


def _names(file: File, group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras cuts one that is too long for HDF5 into ``weight_names0``, ``weight_names1`` ..."""
    if attribute in group.attrs:
        parts = [get_attribute(file.path, group, attribute)]
    else:
        numbered = (f"{attribute}{index}" for index in range(_MOST_ATTRIBUTES))
        parts = []
        for name in numbered:
            if name not in group.attrs:
                break
            parts.append(get_attribute(file.path, group, name))
    if not parts:
        file.fail(
            f"the list {attribute} of {group.name!r} is missing; the file was not written by Keras or is damaged."
        )
    found = [_text(value) for part in parts for value in np.atleast_1d(part).tolist()]
    names = [name for name in found if name]
    if len(names) != len(found) or len(set(names)) != len(names):
        file.fail(f"the list {attribute} of {group.name!r} is damaged: it holds what is no name, or one name twice.")
    return names


def child(file: File, group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return what lies at a path below ``group``, or None; links to elsewhere are refused."""
    here: Any = group
    for part in filter(None, path.split("/")):
        if not isinstance(here, h5py.Group) or part not in here:
            return None
        link = here.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            file.fail(f"{path!r} is a link to another place, which Keras never writes; it is not followed.")
        here = here[part]
    return here


def array(file: File, what: str, found: Any) -> Array:
    """Return an array as float32.

    Args:
        file: For messages.
        what: The same.
        found: What lies there in the file.
    """
    if not isinstance(found, h5py.Dataset):
        file.fail(f"{what}: is missing in the file.")
    _check_storage(file, what, found)
    value = np.asarray(found[()])
    if value.dtype.kind not in "fiu" or value.dtype.itemsize > 8:
        file.fail(f"{what}: is stored as {value.dtype}, not as numbers.")
    with np.errstate(over="ignore"):
        result = np.array(value, dtype=np.float32, order="C")
    if not np.isfinite(result).all():
        file.fail(f"{what}: holds NaN or infinite values, so the network can predict nothing.")
    return result


def _check_storage(file: File, what: str, found: h5py.Dataset) -> None:
    plan = found.id.get_create_plist()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if found.is_virtual or found.external:
        file.fail(f"{what}: its values lie in another file, which Keras never writes; they are not read.")
    if unknown := [code for code in filters if code not in _FILTERS]:
        file.fail(f"{what}: is packed by the HDF5 filter {unknown[0]}; only {', '.join(_FILTERS.values())} are read.")
    if found.dtype.kind not in "fiu":
        file.fail(f"{what}: is stored as {found.dtype}, not as numbers.")
    declared = math.prod(found.shape or (1,)) * found.dtype.itemsize
    stored = found.id.get_storage_size() * (_TIGHTEST if filters else 1)
    if found.shape is None or declared == 0:
        file.fail(f"{what}: is empty.")
    if declared > stored:
        file.fail(f"{what}: says to hold {declared} bytes (shape {found.shape}), but the file stores {stored} at most.")
    file.claim(what, declared)
