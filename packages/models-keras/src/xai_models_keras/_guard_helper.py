"""The process that ``_guard`` starts: reads the files that it is told of, one a line, and answers each."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from ._archive import archive
from ._config import model_of
from ._hdf5 import legacy, opened
from ._weights import from_archive, from_legacy

_IDLE_SECONDS = 30.0
# Keras' own files take a fraction of a second; a loop takes for ever.
_SECONDS = 3
_BYTES_PER_SECOND = 20_000_000
_MEMORY = 4 * 2**30
_MEMORY_PER_BYTE = 64


def _limit(size: int) -> None:
    """Limit processor time and memory of what comes, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + _SECONDS + size // _BYTES_PER_SECOND
    memory = _used() + _MEMORY + _MEMORY_PER_BYTE * size
    for kind, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        highest = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if highest == resource.RLIM_INFINITY else min(value, highest), highest))


def _used() -> int:
    """Return the address space in use: libraries reserve much of it on machines with many cores."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 2**35  # not known: a limit that no library alone comes near


def _read(path: Path) -> None:
    """Read a file as ``_read.network`` does; what that will say of it is no matter here."""
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    if is_archive:
        file, config, content = archive(path)
        with opened(str(path), content) as weights:
            from_archive(model_of(file, config), weights)
    else:
        file, config, stored = legacy(path)
        from_legacy(model_of(file, config), stored)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer until the questions end, or none comes for a while."""
    _say(b"ready\n")
    while True:
        idle = threading.Timer(_IDLE_SECONDS, os._exit, [0])
        idle.daemon = True
        idle.start()
        line = sys.stdin.buffer.readline()
        idle.cancel()
        if not line:
            return
        path = Path(json.loads(line)["path"])
        try:
            _limit(path.stat().st_size)
            _read(path)
        except Exception as error:  # the process that asks meets the same, and reports it
            if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
                sys.exit(1)  # but it has no limit
        _say(b"done\n")


if __name__ == "__main__":
    main()
