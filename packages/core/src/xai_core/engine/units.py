"""Units of work: written aside, published whole, marked with a key over everything that decides their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import RunError

__all__ = ["Units", "content_key", "file_hash", "write_text"]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def content_key(**parts: Any) -> str:
    """Return the SHA-256 of JSON-serialisable parts; equal parts give an equal key."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; leave it alone where it holds this text already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


class Units:
    """The units of one run folder.

    A unit is done when its marker in ``.xai/units`` holds its key and its files are there with the sizes noted in it.
    The marker is written last, so a process killed anywhere leaves either the whole unit or one to be made again.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._private = folder / ".xai"

    def _marker(self, name: str) -> Path:
        return self._private / "units" / f"{name}.json"

    def is_done(self, name: str, key: str) -> bool:
        """Whether the unit was published under this key and its files are still whole."""
        marker = self._read_marker(name)
        if marker is None or marker.get("key") != key:
            return False
        files: Mapping[str, int] = marker["files"]
        return all(_size(self.folder / file) == size for file, size in files.items())

    def _read_marker(self, name: str) -> dict[str, Any] | None:
        try:
            marker = json.loads(self._marker(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) and isinstance(marker.get("files"), dict) else None

    @contextmanager
    def make(self, name: str, key: str, target: str) -> Iterator[Path]:
        """Give an empty folder to write into; what is in it afterwards is published below ``target``.

        Files of an earlier version of the unit that the new one does not have are removed. Nothing is published
        when the block raises.

        Args:
            name: Name of the unit, such as ``fold-0/training``.
            key: From ``content_key``.
            target: Folder below the run folder, such as ``fold-0``; ``.`` for the run folder itself.

        Raises:
            RunError: The run folder cannot be written, or the disk is full.
        """
        temporary: Path | None = None
        try:
            scratch = self._private / "tmp"
            scratch.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=name.replace("/", "-") + "-", dir=scratch))
            yield temporary
            self._publish(name, key, temporary, target)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise RunError(f"No space is left for {self.folder} ({name}). Make room and run again.") from error
            if error.filename is not None and str(self.folder) in str(error.filename):
                raise RunError(f"{error.filename} cannot be written: {error.strerror}.") from error
            raise
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, name: str, key: str, temporary: Path, target: str) -> None:
        old = self._read_marker(name) or {"files": {}}
        sources = sorted(path for path in temporary.rglob("*") if path.is_file())
        destinations = [self.folder / target / source.relative_to(temporary) for source in sources]
        files = {
            destination.relative_to(self.folder).as_posix(): source.stat().st_size
            for source, destination in zip(sources, destinations, strict=True)
        }
        # Noted first, with a key that nothing has: whoever goes on after a kill knows every file that may be there.
        self._write_marker(name, "", {**old["files"], **files})
        for source, destination in zip(sources, destinations, strict=True):
            destination.parent.mkdir(parents=True, exist_ok=True)
            source.replace(destination)
        stale = set(old["files"]) - set(files)
        for file in stale - self._of_others(name) if stale else ():
            (self.folder / file).unlink(missing_ok=True)
        self._write_marker(name, key, files)

    def _of_others(self, name: str) -> set[str]:
        """Return the files of the units beside one: the second report may have become the first since."""
        others = [path for path in self._marker(name).parent.glob("*.json") if path != self._marker(name)]
        markers = [
            self._read_marker(path.relative_to(self._private / "units").with_suffix("").as_posix()) for path in others
        ]
        return {file for marker in markers if marker is not None for file in marker["files"]}

    def _write_marker(self, name: str, key: str, files: Mapping[str, int]) -> None:
        write_text(self._marker(name), json.dumps({"key": key, "files": files}, indent=1))

    def keep_only(self, group: str, wanted: Collection[tuple[str, str]]) -> list[str]:
        """Remove the units of a group that belong to nothing any more, with their files, and return their names.

        Args:
            group: First part of the units' names, such as ``maps``.
            wanted: Name and key of every unit that may stay.
        """
        markers = self._private / "units"
        removed = []
        for path in sorted((markers / group).rglob("*.json")):
            name = path.relative_to(markers).with_suffix("").as_posix()
            marker = self._read_marker(name) or {}
            if (name, marker.get("key")) in wanted:
                continue
            for file in marker.get("files", {}):
                (self.folder / file).unlink(missing_ok=True)
                _remove_empty((self.folder / file).parent, self.folder)
            path.unlink(missing_ok=True)  # last: killed before it, the next process knows what is left to remove
            _remove_empty(path.parent, markers)
            removed.append(name)
        return removed

    def scratch(self, name: str, key: str) -> Path:
        """Return a folder (it may not exist yet) for what an interrupted unit goes on with under the same key.

        What an earlier version of the unit left under another key is removed.
        """
        own = self._scratch_of(name) / key[:32]
        for other in self._scratch_of(name).glob("*"):
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
        return own

    def forget_scratch(self, name: str) -> None:
        """Remove what ``scratch`` gave for a unit, once it is done."""
        shutil.rmtree(self._scratch_of(name), ignore_errors=True)
        _remove_empty(self._scratch_of(name).parent, self._private)

    def _scratch_of(self, name: str) -> Path:
        return self._private / "scratch" / name.replace("/", "-")

    def any_done(self) -> bool:
        """Whether any unit of the study has been published; the pictures of its scans (``quality``) decide nothing."""
        return any(path.name != "quality.json" for path in (self._private / "units").rglob("*.json"))

    def has_files(self, group: str, wanted: Callable[[str], bool]) -> bool:
        """Whether anything published is still there.

        Args:
            group: Folder of the units' names, such as ``analysis``, or a pattern of it.
            wanted: Asked about the last part of a unit's name.
        """
        markers = self._private / "units"
        for path in markers.glob(f"{group}/*.json"):
            if wanted(path.stem):
                marker = self._read_marker(path.relative_to(markers).with_suffix("").as_posix())
                if marker is not None and any((self.folder / file).exists() for file in marker["files"]):
                    return True
        return False

    def clear_scratch(self) -> None:
        """Remove what a killed process left half-written. Only for the process that holds the run's lock."""
        shutil.rmtree(self._private / "tmp", ignore_errors=True)
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)


def _remove_empty(folder: Path, stop: Path) -> None:
    with suppress(OSError):
        while folder != stop:
            folder.rmdir()
            folder = folder.parent


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
