"""Lets a helper process read a file of Keras first, since a damaged one can make the HDF5 library run for ever.

The library is C: no handler and no signal of Python's ends its loop, or keeps its crash from taking the process with
it. The helper does exactly what this process does afterwards, with limits on time and memory. It serves any number of
files and ends by itself when it is no longer used. Where no second process can be had, files are read without.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from xai_core import InputError

__all__ = ["check", "start"]

# The helper limits its own processor time; this is for where it cannot, or is stopped.
_SECONDS = 120.0
_BYTES_PER_SECOND = 5_000_000


class _Helper:
    """The other process."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        self.owner = os.getpid()
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "xai_models_keras._guard_helper"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip

    def runs(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    def ask(self, question: bytes, seconds: float) -> bytes | None:
        """Return the answer, empty where the helper has ended, None where it takes longer than ``seconds``."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(question)
            self.process.stdin.flush()
        except OSError:
            return b""
        return self.line(seconds)

    def line(self, seconds: float) -> bytes | None:
        """Return the next line that the helper writes, as ``ask`` does."""
        lines: list[bytes] = []
        assert self.process.stdout is not None
        stream = self.process.stdout
        reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        return lines[0] if lines else None

    def stop(self) -> int:
        self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        return code


_lock = threading.Lock()
_helper: _Helper | None = None


def start(path: str | Path) -> None:
    """Start the helper for a file, so that it is there when torch is imported."""
    if Path(path).is_file():
        with _lock:
            _running()


def check(path: Path) -> None:
    """Have the helper read a file.

    Raises:
        InputError: The helper did not come to an end, crashed or took too much memory.
    """
    question = (json.dumps({"path": os.fspath(path.absolute())}) + "\n").encode()
    with _lock:
        for _ in range(2):
            helper = _running()
            if helper is None:
                return
            if not _is_ready(helper):
                helper.stop()
                return
            if helper.ask(question, _SECONDS + path.stat().st_size / _BYTES_PER_SECOND) == b"done\n":
                return
            if helper.stop() != 0:
                break  # otherwise it had ended at this moment, being idle, and is started again
    raise InputError(
        f"{path}: is damaged so that the HDF5 library crashes on it, comes to no end or takes all memory. Save the "
        "model again with model.save(...), or copy the file again."
    )


def _running() -> _Helper | None:
    global _helper
    if _helper is None or not _helper.runs():
        try:
            _helper = _Helper()
        except (OSError, ValueError):
            _helper = None
    return _helper


def _is_ready(helper: _Helper) -> bool:
    """Whether the helper could be started at all, which a first line says."""
    helper.ready = helper.ready or helper.line(_SECONDS) == b"ready\n"
    return helper.ready


@atexit.register
def _stop() -> None:
    if _helper is not None and _helper.owner == os.getpid():
        _helper.stop()
