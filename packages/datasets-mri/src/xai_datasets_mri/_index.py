"""Lists folders fast: what was found is kept in the user's cache, and a folder that has changed is listed anew.

Why not pybids: it describes a BIDS dataset fully, in an SQL database, which takes it minutes for 10,000 people, and its
database does not notice a file that was added since (benchmarks/bids_index.py measures both). Finding the images of
people takes names of files only, so folders are listed, and what says whether one has changed is what the file system
says of it: adding, removing or renaming an entry changes a folder's times.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from xai_core.errors import InputError

__all__ = ["Folders", "Listing", "cache_folder"]

_log = logging.getLogger("xai")

# What is kept of a folder's files: images, and the tables of a person's sessions.
_KEPT = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".mha", "_sessions.tsv")
# A folder that changed less than this before it was listed may change again within the same tick of its clock (two
# seconds on FAT and some network drives); it is listed anew the next time.
_SETTLED_NS = 3_000_000_000
_VERSION = 1
_SMALL = 300  # folders; fewer are listed faster than the memory of them is read
_KEEP = 30  # studies in the cache


class Listing(NamedTuple):
    """The folders in a folder and its files that may matter, both sorted."""

    folders: list[str]
    files: list[str]


_EMPTY = Listing([], [])


def cache_folder() -> Path | None:
    """Return where a user's caches are: ``$XAI_CACHE``, ``$XDG_CACHE_HOME/xai`` or ``~/.cache/xai``.

    None where ``XAI_CACHE`` is ``off``, or there is no home.
    """
    named = os.environ.get("XAI_CACHE", "").strip()
    if named:
        return None if named.lower() == "off" else Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():  # the specification has others ignored
        return Path(base) / "xai"
    try:
        return Path.home() / ".cache" / "xai"
    except RuntimeError:
        return None


class Folders:
    """The folders below one root.

    Args:
        root: An existing folder.
        memory: JSON file to remember listings in; None: the root's own file in the user's cache. One that cannot be
            read or written is done without.
    """

    def __init__(self, root: Path, memory: Path | None = None) -> None:
        self.root = root
        self._memory = memory if memory is not None else _memory_of(root)
        self._known: dict[str, list[object]] = _read(self._memory)
        self._seen: dict[str, Listing] = {}
        self._identities: dict[str, tuple[int, int]] = {}
        self.listed = 0

    def listing(self, relative: str) -> Listing:
        """Return what is in a folder, given by its path below the root (``""``: the root); nothing if it is none.

        Raises:
            InputError: The folder may not be read.
        """
        if relative not in self._seen:
            self._seen[relative] = self._current(relative)
        return self._seen[relative]

    def is_inside_itself(self, relative: str) -> bool:
        """Return whether a folder that has been listed is one of those above it, by a link that leads upwards."""
        own = self._identities.get(relative)
        above = relative
        while above and own is not None:
            above = above.rpartition("/")[0]
            if self._identities.get(above) == own:
                return True
        return False

    def _current(self, relative: str) -> Listing:
        path = os.path.join(self.root, relative)  # noqa: PTH118 - for 50,000 folders pathlib takes seconds
        try:
            about = os.stat(path)  # noqa: PTH116
        except OSError:
            self._known.pop(relative, None)
            return _EMPTY
        self._identities[relative] = (about.st_dev, about.st_ino)
        known = self._known.get(relative)
        stamp = [about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        if known is not None and known[0] == stamp:
            return Listing(*known[1:])  # type: ignore[arg-type]
        # Settled or not is judged by the time before the listing: what is added while it runs is not in it.
        settled = time.time_ns() - max(stamp[:2]) > _SETTLED_NS
        found = _listed(path)
        self.listed += 1
        self._known[relative] = [stamp if settled else [], *found]
        return found

    def save(self) -> None:
        """Remember the listings for the next time, where anything is new and the user's cache can be written."""
        if self._memory is None or not self.listed or len(self._known) < _SMALL:
            return
        about = {"version": _VERSION, "root": os.path.realpath(self.root), "folders": self._known}
        temporary = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(about, separators=(",", ":")), encoding="utf-8")
            temporary.replace(self._memory)
            _prune(self._memory.parent)
        except (OSError, UnicodeEncodeError) as error:
            _log.debug("the index of %s is not kept: %s", self.root, error)
            with suppress(OSError):
                temporary.unlink()


def _memory_of(root: Path) -> Path | None:
    base = cache_folder()
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:20]
    return None if base is None else base / "folders" / f"{name}.json"


def _read(memory: Path | None) -> dict[str, list[object]]:
    if memory is None:
        return {}
    try:
        about = json.loads(memory.read_bytes())
        if about["version"] != _VERSION:
            return {}
        folders: dict[str, list[object]] = about["folders"]
        # A file that something else wrote, or half of one, must not decide what a study consists of.
        return folders if all(_is_entry(entry) for entry in folders.values()) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and all(isinstance(part, list) for part in entry)


def _listed(path: str) -> Listing:
    folders, files = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if name.endswith(_KEPT):
                    files.append(name)
                elif _is_folder(entry):
                    folders.append(name)
    except PermissionError as error:
        raise InputError(f"The folder {path} may not be read. Ask for the right to, or leave it out.") from error
    except NotADirectoryError:
        return _EMPTY
    return Listing(sorted(folders), sorted(files))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _prune(folder: Path) -> None:
    """Forget the studies that were read the longest ago."""
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_KEEP:]:
        path.unlink(missing_ok=True)
