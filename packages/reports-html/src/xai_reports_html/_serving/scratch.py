"""A private folder for what people upload, which does not outlive the server, even one that was killed."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xai_core import InputError

__all__ = ["scratch_folder"]

log = logging.getLogger("xai")
_PREFIX = "xai-serve-"
_LOCK = "lock"
_YOUNG = 60  # seconds: a folder that another server may be about to lock


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it in the end; those of servers that died go first.

    Raises:
        InputError: The folder for temporary files (``TMPDIR``) cannot be written.
    """
    parent = Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
        lock = _locked(folder)
    except OSError as error:
        raise InputError(
            f"{parent} cannot be written: {error.strerror or error}. Give another folder by TMPDIR."
        ) from error
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> IO[str]:
    """Return the open lock of a folder; it has its name only when it is held."""
    made = (folder / f"{_LOCK}.new").open("w", encoding="utf-8")
    with suppress(ImportError):  # Windows: an open file cannot be removed, which is as good
        import fcntl

        fcntl.flock(made, fcntl.LOCK_EX)
    (folder / f"{_LOCK}.new").rename(folder / _LOCK)
    return made


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if stat.S_ISDIR(about.st_mode) and mine and _is_left(folder, about.st_mtime):
                shutil.rmtree(folder)
                log.info("removed %s, which a server that was killed had left", folder)


def _is_left(folder: Path, changed: float) -> bool:
    try:
        lock = (folder / _LOCK).open("r+", encoding="utf-8")
    except FileNotFoundError:
        return time.time() - changed > _YOUNG
    with lock:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True
    (folder / _LOCK).unlink()  # Windows refuses that while its server runs
    return True
