"""Keeps preprocessed scans: in the cache on disk, or, where that is off or cannot hold one, in this process."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torchio as tio
from torch.utils.data import get_worker_info

from .applying import values_of
from .cachefile import DamagedEntryError, NotStorableError, read_entry, write_entry
from .cachefolder import CacheFolder, cache_folder, size_text
from .cachekey import NoKeyError, digest_of, unchanged
from .cacheprefix import ScanKey
from .progress import log
from .units import content_key

__all__ = ["ScanCache"]

# What one process keeps where there is no cache on disk; loading processes divide it among them.
MEMORY_BYTES = 2 << 30

_HEADER = 1024  # bytes of an entry besides its voxels, about

# Messages that this process has given already: one for each folder and cause.
_told: set[tuple[Path, str]] = set()


class ScanCache:
    """Preprocessed scans by key.

    Args:
        folder: Where they are on disk; default: as the environment says.
    """

    def __init__(self, folder: CacheFolder | None = None) -> None:
        self._folder = folder or cache_folder()
        self._looked_at: set[str] = set()  # entries whose every voxel was found as it was written
        self._memory: dict[tuple[Any, ...], tio.Subject] = {}
        self._in_memory = 0
        self._notes: set[tuple[tuple[Any, ...] | None, str]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is in memory: each of many loading processes would hold a copy."""
        return {**self.__dict__, "_memory": {}, "_in_memory": 0}

    def forget(self) -> None:
        """Forget what is in memory, as when a transform has learnt something else."""
        self._memory.clear()
        self._notes.clear()
        self._in_memory = 0

    def load(self, key: ScanKey, source: tio.Subject) -> tio.Subject | None:
        """Return a scan as it was stored under ``key``, or None.

        Args:
            key: As it was stored.
            source: The scan before the transforms; paths of images and values that no transform changed are its.
        """
        if key.own in self._memory:
            return self._memory[key.own]
        found = None if key.shared is None else self._read(key.shared)
        return None if found is None else _joined(source, *found)

    def _read(self, key: str) -> tuple[dict[str, tio.Image], dict[str, Any]] | None:
        if self._folder is None:
            return None
        path = self._folder.path(key)
        try:
            images, values, used = read_entry(path, key, whole=key not in self._looked_at)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except (DamagedEntryError, OSError, ValueError, KeyError, TypeError) as error:
            log.info("the cache entry %s is damaged (%s) and is made anew", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        self._looked_at.add(key)
        self._folder.note_used(path, used)
        return images, values

    def has_note(self, key: ScanKey, what: str) -> bool:
        """Whether something was found out about a scan under ``key`` before."""
        if (key.own, what) in self._notes:
            return True
        return key.shared is not None and self._read(_key_of_note(key.shared, what)) is not None

    def note(self, key: ScanKey, what: str) -> None:
        """Keep that something was found out about a scan: an entry without images, or in memory."""
        note = None if key.shared is None or not unchanged(key.stamps) else _key_of_note(key.shared, what)
        if note is None or not self._on_disk(note, {}, {}):
            self._notes.add((key.own, what))

    def store(self, key: ScanKey, source: tio.Subject, prepared: tio.Subject) -> None:
        """Keep a preprocessed scan, on disk where that is possible, otherwise in memory while there is room."""
        if not self._stored(key, source, prepared):
            self._keep(key, prepared)

    def _stored(self, key: ScanKey, source: tio.Subject, prepared: tio.Subject) -> bool:
        if self._folder is None or key.shared is None or not unchanged(key.stamps):
            return False
        try:
            values = _changed_values(source, prepared)
        except NoKeyError:
            return False
        return self._on_disk(key.shared, prepared.get_images_dict(intensity_only=False), values)

    def _on_disk(self, key: str, images: Mapping[str, tio.Image], values: Mapping[str, Any]) -> bool:
        folder = self._folder
        if folder is None or _was_told(folder, "failed"):
            return False
        if not folder.make_room(
            _HEADER + sum(image.data.numel() * image.data.element_size() for image in images.values())
        ):
            _tell_full(folder)
            return False
        path = folder.path(key)
        try:
            folder.prepare_for(path)
        except OSError as error:
            _tell_failed(folder, error)
            return False
        try:
            folder.note_stored(write_entry(path, key, images, values))
        except (NotStorableError, FileNotFoundError):  # the latter: 'xai cache clear' took it away half written
            return False
        except OSError as error:
            _tell_failed(folder, error)
            return False
        self._looked_at.add(key)
        return True

    def _keep(self, key: ScanKey, prepared: tio.Subject) -> None:
        images = prepared.get_images(intensity_only=False)
        size = sum(image.data.numel() * image.data.element_size() for image in images)
        worker = get_worker_info()
        if key.own is not None and self._in_memory + size <= MEMORY_BYTES // (worker.num_workers if worker else 1):
            self._memory[key.own] = prepared
            self._in_memory += size


def _key_of_note(key: str, what: str) -> str:
    return content_key(note=what, of=key)


def _was_told(folder: CacheFolder, what: str) -> bool:
    return (folder.root, what) in _told


def _tell_full(folder: CacheFolder) -> None:
    """Say once that not everything finds room."""
    if not _was_told(folder, "full"):
        _told.add((folder.root, "full"))
        log.warning(
            "The cache of preprocessed scans is full (%s in %s), so some are preprocessed again each time they are "
            "read. Make room with 'xai cache limit 50GB', say, or 'xai cache clear'.",
            size_text(folder.limit), folder.root,
        )  # fmt: skip


def _tell_failed(folder: CacheFolder, error: OSError) -> None:
    """Say once that nothing can be stored."""
    _told.add((folder.root, "failed"))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = "its disk is full" if full else f"it cannot be written: {error.strerror or error}"
    log.warning(
        "Preprocessed scans are not kept in the cache %s: %s. Each is preprocessed again when it is read and no memory "
        "is left for it, which is slower. XAI_CACHE names another folder, or off.",
        folder.root, cause,
    )  # fmt: skip


def _joined(source: tio.Subject, found: Mapping[str, tio.Image], values: Mapping[str, Any]) -> tio.Subject:
    """Return stored images with the values of a scan, and those that the transforms changed or took away."""
    for name, image in found.items():
        own = source.get(name)
        if isinstance(own, tio.Image):
            image.path = own.path
            image.update({item: own[item] for item in ("path", "stem")})
    kept = {name: value for name, value in values_of(source).items() if name not in values["absent"]}
    return tio.Subject({**found, **kept, **values["changed"]})


def _changed_values(source: tio.Subject, prepared: tio.Subject) -> dict[str, Any]:
    """Return the values that the transforms changed or added, and the names of those that they took away.

    Raises:
        NoKeyError: One of them is nothing that a digest is made of.
    """
    before, after = values_of(source), values_of(prepared)
    changed = {
        name: value
        for name, value in after.items()
        if name not in before or (value is not before[name] and digest_of(value) != digest_of(before[name]))
    }
    return {"changed": changed, "absent": sorted(set(before) - set(after))}
