"""Where preprocessed scans are kept between runs: a folder of bounded size that several processes may use at once.

``XAI_CACHE`` names it (``off``: there is none); otherwise it is ``xai`` below ``XDG_CACHE_HOME`` or ``~/.cache``.
Everything of this module lies in its subfolder ``volumes``, one file for each entry, so that clearing the cache never
touches anything else that somebody keeps in that folder.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

__all__ = ["CacheFolder", "Entry", "cache_folder", "parse_size", "size_text"]

DEFAULT_LIMIT = 20 * 10**9
# Of the space that is free or taken by the cache itself: what the default limit takes at the most.
_SHARE = 0.25
# A file that a killed process left half written; nobody writes one scan for an hour.
_ABANDONED = 3600.0
_ENTRY = re.compile(r"[0-9a-f]{64}\.vol")
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.vol\..*\.tmp")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Preprocessed scans, made again where they are missing ('xai cache'). See https://bford.info/cachedir/\n"
)


def cache_folder() -> CacheFolder | None:
    """Return the cache that the environment names; None where it says ``off``, or there is no home."""
    named = os.environ.get("XAI_CACHE", "").strip()
    if named.lower() == "off":
        return None
    if named:
        return CacheFolder(Path(named).expanduser().absolute())
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    if Path(home).is_absolute():
        return CacheFolder(Path(home) / "xai")
    try:
        return CacheFolder(Path.home() / ".cache" / "xai")
    except RuntimeError:  # a user of a container may have no home
        return None


def parse_size(text: str) -> int:
    """Return the bytes that ``20GB``, ``1.5 TB`` or ``500000`` means (powers of 1000).

    Raises:
        InputError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", text, re.IGNORECASE)
    if not found:
        raise InputError(f"{text!r} is no size. Write a number of bytes, or one with a unit, such as 500MB or 20GB.")
    return int(float(found[1]) * _UNITS[(found[2] or "B").upper()])


def size_text(size: int) -> str:
    """Return a number of bytes for people: ``1.5 GB``."""
    unit = next(name for name in ("TB", "GB", "MB", "KB", "B") if size >= _UNITS[name] or name == "B")
    return f"{size} B" if unit == "B" else f"{size / _UNITS[unit]:.1f} {unit}"


@dataclass(frozen=True)
class Entry:
    """One file of the cache: its size in bytes and when it was last used (seconds since the epoch)."""

    path: Path
    size: int
    used: float


class CacheFolder:
    """The files of a cache and what they may take together.

    A file's time of modification says when it was last used: many disks are mounted so that reading leaves no trace.

    Args:
        root: The folder; made when something is stored.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._since = time.time()
        self._default: int | None = None
        self._total: int | None = None  # bytes, as far as this process knows
        self._added = 0  # of them since it last looked
        self._full_until = 0.0

    @property
    def volumes(self) -> Path:
        """The subfolder that everything is in."""
        return self.root / "volumes"

    def path(self, key: str) -> Path:
        """Return where the entry with a key (64 hexadecimal digits) is, or would be."""
        return self.volumes / key[:2] / f"{key}.vol"

    def entries(self) -> list[Entry]:
        """Return what is there."""
        return [entry for entry in self._files() if _ENTRY.fullmatch(entry.path.name)]

    def _files(self) -> Iterator[Entry]:
        """Yield entries and what is being written; a file that vanishes meanwhile was removed by somebody else."""
        with suppress(OSError):
            for folder in sorted(self.volumes.iterdir()):
                with suppress(OSError), os.scandir(folder) as found:
                    for file in found:
                        if _ENTRY.fullmatch(file.name) or _TEMPORARY.fullmatch(file.name):
                            with suppress(OSError):
                                about = file.stat(follow_symlinks=False)
                                yield Entry(Path(file.path), about.st_size, about.st_mtime)

    @property
    def limit(self) -> int:
        """Bytes that the entries may take together: as set, or else 20 GB, or a quarter of the disk if that is less."""
        with suppress(OSError, ValueError):
            return max(0, int((self.root / "limit").read_text(encoding="ascii")))
        if self._default is None:
            self._default = self._default_limit()
        return self._default

    def _default_limit(self) -> int:
        with suppress(OSError, StopIteration):
            there = next(path for path in (self.root, *self.root.parents) if path.exists())
            usable = shutil.disk_usage(there).free + sum(entry.size for entry in self._files())
            return min(DEFAULT_LIMIT, int(_SHARE * usable))
        return DEFAULT_LIMIT

    def set_limit(self, limit: int | None) -> None:
        """Set the bytes that the entries may take, and remove the longest unused ones above it; None: the default.

        Raises:
            InputError: The folder cannot be written.
        """
        file = self.root / "limit"
        try:
            if limit is None:
                file.unlink(missing_ok=True)
            else:
                self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
                temporary = file.with_name(f".limit.{os.getpid()}.tmp")
                temporary.write_text(str(limit), encoding="ascii")
                temporary.replace(file)
        except OSError as error:
            raise InputError(f"The limit of the cache cannot be set: {file}: {error.strerror}.") from error
        self._evict(0, before=float("inf"))

    def prepare_for(self, path: Path) -> None:
        """Make the folder of an entry that is about to be written.

        Raises:
            OSError: It cannot be made.
        """
        if not path.parent.is_dir():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)  # scans of people: nobody else's business
            path.parent.mkdir(parents=True, exist_ok=True)
            tag = self.volumes / "CACHEDIR.TAG"
            if not tag.exists():  # backup programs leave such a folder out
                tag.write_text(_TAG, encoding="ascii")

    def make_room(self, size: int) -> bool:
        """Remove the longest unused entries until ``size`` bytes more fit; return whether they do.

        Entries used since this object was made stay. A study larger than the cache would otherwise, scan after scan
        and epoch after epoch, remove just what it needs next; so part of it is found in the cache each time.
        """
        limit, now = self.limit, time.monotonic()
        if now < self._full_until:
            return False
        if self._total is None or self._added > limit / 20 or self._total + size > limit:
            fits = self._evict(size, before=self._since)
            self._full_until = 0.0 if fits else now + 60
        else:
            fits = True
        return fits

    def _evict(self, size: int, before: float) -> bool:
        now, files = time.time(), []
        for entry in self._files():
            if _TEMPORARY.fullmatch(entry.path.name) and now - entry.used > _ABANDONED:
                with suppress(OSError):
                    entry.path.unlink()
            else:
                files.append(entry)
        total, limit = sum(entry.size for entry in files), self.limit
        for entry in sorted(files, key=lambda entry: entry.used):
            if total + size <= limit or entry.used >= before:
                break
            if _ENTRY.fullmatch(entry.path.name):
                with suppress(OSError):
                    entry.path.unlink(missing_ok=True)
                    total -= entry.size
        self._total, self._added = total, 0
        return total + size <= limit

    def note_stored(self, size: int) -> None:
        """Count an entry that was written."""
        self._total = (self._total or 0) + size
        self._added += size

    def note_used(self, path: Path, used: float) -> None:
        """Note that an entry, last used at ``used``, is in use: at most once a minute."""
        now = time.time()
        if used < self._since or now - used > 60:
            with suppress(OSError):
                os.utime(path, (now, now))

    def clear(self) -> tuple[int, int]:
        """Remove every entry; return how many there were, and their bytes.

        Raises:
            InputError: Some cannot be removed.
        """
        count, size, failed = 0, 0, []
        for entry in list(self._files()):
            try:
                entry.path.unlink(missing_ok=True)
            except OSError as error:
                failed.append(f"{entry.path}: {error.strerror}")
                continue
            count, size = count + 1, size + entry.size
        if failed:
            raise InputError(f"{len(failed)} files of the cache cannot be removed, such as {failed[0]}.")
        with suppress(OSError):
            for folder in self.volumes.iterdir():
                if folder.is_dir():
                    with suppress(OSError):
                        folder.rmdir()
        self._total, self._added, self._full_until = None, 0, 0.0
        return count, size
