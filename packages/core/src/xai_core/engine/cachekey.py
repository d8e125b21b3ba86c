"""What decides a preprocessed scan: the content of its images, the transforms, and the values that these read."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
import torchio as tio
from torchio.data.io import read_image

from .. import registry
from .scans import content_hash, paths_of, stamp_of
from .units import content_key
from .versions import slot_identity

__all__ = ["Contents", "NoKeyError", "below_versions", "digest_of", "step_identity", "unchanged"]

_BELOW = ("xai-core", "torch", "torchio", "nibabel", "numpy", "SimpleITK", "scipy")
_THIS_PROCESS = "(this process)"


class NoKeyError(Exception):
    """Something decides a result that cannot be written down; it must be computed anew each time."""


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value made of tensors, arrays, numbers, texts, dates, paths, sequences and mappings.

    Raises:
        NoKeyError: It holds something else.
    """
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(len(part).to_bytes(8, "little"))  # so that no two values run together into the same bytes
        found.update(part)
    return found.hexdigest()


def _parts(value: object) -> Iterable[bytes]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcUS":
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key in sorted(value, key=repr):
            yield from _parts(key)
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from _parts(item)
    elif value is None or isinstance(value, str | bytes | bool | int | float | complex | date | PurePath):
        yield f"{type(value).__name__} {value!r}".encode(errors="surrogateescape")
    else:
        raise NoKeyError(f"a {type(value).__name__}")


class Contents:
    """The content of images, and whether their files are still the same.

    Args:
        memory: The file in which a run remembers the hashes of its scans, or None; see ``ScanChecks``.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, tuple[str, str]] | None = None  # stamp and hash by path

    def of(self, image: tio.Image) -> tuple[str, dict[Path, str]]:
        """Return what tells an image's content (not its place), and the stamps of its files.

        Raises:
            NoKeyError: It is read by a function of somebody else's, or not there.
        """
        more = {name: item for name, item in image.items() if name not in ("data", "affine", "path", "stem")}
        if image._loaded:  # as it is in memory, which need not be what its file holds
            return digest_of([more, image.data, np.asarray(image.affine)]), {}
        if image.reader is not read_image:
            raise NoKeyError("an image with a reader of its own")
        hashes, stamps = [], {}
        for path in paths_of(image):
            try:
                stamps[path] = stamp_of(path)  # before it is read: what changes meanwhile is not kept
                # The name's end decides how the content is read.
                hashes.append([path.suffixes[-2:], self._hash(path, stamps[path])])
            except OSError as error:
                raise NoKeyError(str(error)) from error
        return digest_of([more, hashes]), stamps

    def _hash(self, path: Path, stamp: str) -> str:
        if self._known is None:
            self._known = _remembered(self._memory)
        known = self._known.get(str(path))
        if known is None or known[0] != stamp:
            known = self._known[str(path)] = stamp, content_hash(path)
        return known[1]


def unchanged(stamps: Mapping[Path, str]) -> bool:
    """Whether files still have the stamps that they had before they were read."""
    with suppress(OSError):
        return all(stamp_of(path) == stamp for path, stamp in stamps.items())
    return False


def _remembered(memory: Path | None) -> dict[str, tuple[str, str]]:
    """Return what ``ScanChecks`` remembers of files, by path; the hash is empty where a file cannot be used."""
    found: dict[str, tuple[str, str]] = {}
    with suppress(OSError, ValueError, AttributeError):
        rows = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        for path, row in rows.items():
            if isinstance(row, list) and len(row) >= 2 and isinstance(row[0], str) and isinstance(row[1], str):
                found[path] = row[0], row[1]
    return {path: row for path, row in found.items() if row[1]}


def step_identity(slot: Mapping[str, Any]) -> str:
    """Return the digest of what decides what a transform computes: parameters, files, versions and source code.

    Raises:
        NoKeyError: Its class was registered in this process, so its code can be another one the next time.
    """
    info = registry.info("transform", slot["name"])
    if info.package == _THIS_PROCESS:
        raise NoKeyError(f"the transform {slot['name']} is a class of this process")
    return content_key(
        slot=slot_identity("transform", slot),
        # A package that is worked on changes without its version.
        source=_source(registry.get("transform", slot["name"]).__module__.partition(".")[0]),
        libraries=_with_extras(info.package),
    )


@cache
def _source(package: str) -> str:
    """Return the SHA-256 of a package's Python files as they are when it is first asked for.

    Raises:
        NoKeyError: It has none.
    """
    module = sys.modules[package]
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    alone = getattr(module, "__file__", None)
    files = [(file.relative_to(folder), file) for folder in folders for file in folder.rglob("*.py")]
    if not files and alone and Path(alone).is_file():
        files = [(Path(Path(alone).name), Path(alone))]
    if not files:
        raise NoKeyError(f"the code of {package} is in no file")
    return digest_of([[name, file.read_bytes()] for name, file in sorted(files)])


@cache
def _with_extras(distribution: str) -> dict[str, str | None]:
    """Return the versions of all that a distribution can use: also what only an extra of it asks for."""
    try:
        needed: Sequence[str] = requires(distribution) or []
    except PackageNotFoundError:
        needed = []
    names = {found[0] for text in needed if (found := re.match(r"[\w.-]+", text))}
    return {name: _version(name) for name in sorted(names)}


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def below_versions() -> dict[str, str | None]:
    """Return the versions of what reads images and computes with them below every transform."""
    return {**{name: _version(name) for name in _BELOW}, "engine": _engine()}


@cache
def _engine() -> str:
    """Return the digest of the modules that apply transforms; they, too, are worked on without a new version."""
    folder = Path(__file__).parent
    return digest_of([(folder / name).read_bytes() for name in ("applying.py", "preprocessing.py", "spatial.py")])
