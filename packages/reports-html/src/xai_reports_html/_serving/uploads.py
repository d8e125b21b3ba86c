"""Files that are sent to the server: limited while they arrive, checked, and kept until they were used."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from xai_core import InputError

from .niftifile import check_nifti

__all__ = ["RefusedError", "Upload", "Uploads"]

_UNPACKED = 2  # times the limit: brains are packed to a half or a third
_ALL = 4  # times the limit: of all that wait
_MOST = 16  # that wait
_IDLE = 900.0  # seconds that one waits for its explanation
_SILENCE = 30.0  # seconds between two pieces
_PIECE = 1 << 20


class RefusedError(Exception):
    """An upload is not taken.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A checked file.

    Attributes:
        id: By which the page names it.
        path: Where it lies; the name is ours.
        name: What its owner calls it; only shown.
        size: In bytes.
    """

    id: str
    path: Path
    name: str
    size: int
    since: float = field(default_factory=time.monotonic)


class Uploads:
    """The uploads of a server.

    Args:
        folder: Where they lie.
        limit: Largest file, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._kept: dict[str, Upload] = {}
        self._arriving: dict[str, int] = {}
        self._lent: dict[Path, int] = {}  # a job's thread takes out of it

    async def receive(self, pieces: AsyncIterator[bytes], announced: int | None, name: str) -> Upload:
        """Store and check a file.

        Args:
            pieces: Its content.
            announced: What the sender says it measures, in bytes.
            name: What its owner calls it.

        Raises:
            RefusedError: It is too large, too slow, or no room is left.
            InputError: It is no NIfTI volume.
        """
        self.sweep()
        if announced is not None and announced > self.limit:
            raise self._too_large()
        if len(self._kept) + len(self._arriving) >= _MOST:
            raise RefusedError(429, "Too many files wait to be explained. Try again in a minute.")
        key = secrets.token_hex(16)
        # The name goes into the sidecar and into the seed of explainers that draw numbers: the same for everybody.
        path = self.folder / f"upload-{key}" / "scan"
        self._arriving[key] = 0
        kept = False
        try:
            size = await self._store(pieces, path, key)
            suffix = await anyio.to_thread.run_sync(check_nifti, path, _UNPACKED * self.limit)
            found = Upload(key, path.with_suffix(suffix), name, size)
            path.rename(found.path)
            self._kept[key] = found
            kept = True
            return found
        finally:
            del self._arriving[key]
            if not kept:
                _remove(path)

    async def _store(self, pieces: AsyncIterator[bytes], path: Path, key: str) -> int:
        buffer = bytearray()
        iterator = aiter(pieces)
        try:
            path.parent.mkdir(mode=0o700)
            with path.open("xb") as file:
                while True:
                    try:
                        with anyio.fail_after(_SILENCE):
                            piece = await anext(iterator)
                    except StopAsyncIteration:
                        break
                    self._count(key, len(piece))
                    buffer += piece
                    if len(buffer) >= _PIECE:
                        await anyio.to_thread.run_sync(file.write, bytes(buffer))
                        buffer.clear()
                await anyio.to_thread.run_sync(file.write, bytes(buffer))
        except TimeoutError as error:
            raise RefusedError(408, f"Nothing arrived for {_SILENCE:.0f} s. Send the file again.") from error
        except OSError as error:
            raise RefusedError(507, f"The file cannot be stored: {error.strerror or error}.") from error
        return self._arriving[key]

    def _count(self, key: str, more: int) -> None:
        self._arriving[key] += more
        if self._arriving[key] > self.limit:
            raise self._too_large()
        kept = sum(upload.size for upload in self._kept.values())
        if kept + sum(self._arriving.values()) + sum(list(self._lent.values())) > _ALL * self.limit:
            raise RefusedError(507, "Too many files wait to be explained. Try again when some are done.")

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"The file is larger than {self.limit / 1e6:.0f} MB (--max-upload).")

    def take(self, keys: list[str]) -> list[Upload]:
        """Hand uploads over; who takes them gives them back by ``remove``.

        Raises:
            InputError: One is not there (any more).
        """
        self.sweep()
        if len(set(keys)) != len(keys) or any(key not in self._kept for key in keys):
            raise InputError("The file is not on the server any more. Choose it again.")
        found = [self._kept.pop(key) for key in keys]
        self._lent |= {upload.path: upload.size for upload in found}
        return found

    def remove(self, paths: list[Path]) -> None:
        """Remove files that were taken."""
        for path in paths:
            _remove(path)
            self._lent.pop(path, None)

    def sweep(self) -> None:
        """Remove what nobody came back for."""
        now = time.monotonic()
        for key, upload in list(self._kept.items()):
            if now - upload.since > _IDLE:
                _remove(upload.path)
                self._kept.pop(key, None)


def _remove(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)
