"""Draws the maps of many scans in several processes: the same pictures as in one.

Programs of their own rather than ``multiprocessing``, whose processes would run the script of a user again that calls
the report without a guard. They end with the pipe from which they read, and so with whoever started them.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, cast

from xai_core import RunError

from ._files import Shelf
from ._pictures import Drawn, draw_maps

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

    from .plugin import HtmlReport

__all__ = ["Request", "cores", "drawn"]

_WORTH = 12  # scans for each process: it takes a second or two to start
_MOST = 32  # processes
_AHEAD = 2  # requests for each process that wait or are done, but not fetched


@dataclass(frozen=True)
class Request:
    """What ``draw_maps`` is given."""

    records: list[MapRecord]
    name: str
    shelf: Shelf
    folder: Path | None
    options: HtmlReport

    def draw(self) -> Drawn | None:
        """Draw; None where there is no map."""
        if not self.records:
            return None
        return draw_maps(self.records, self.name, self.shelf, self.folder, self.options)


def cores() -> int:
    """Return how many processors this process may use: those of its SLURM task, or of its affinity."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(granted), allowed)) if granted.isdecimal() else allowed


def drawn(requests: Iterable[Request], count: int) -> Iterator[Drawn | None]:
    """Yield what was drawn for each request, in their order.

    Args:
        requests: They are taken when a process is nearly free: not all are in memory at once.
        count: About how many they are.

    Raises:
        InputError: A scan or a map cannot be drawn; see ``draw_maps``.
        RunError: A process ended in the middle.
    """
    processes = min(cores(), count // _WORTH, _MOST)
    if processes < 2 or not sys.executable:
        yield from (request.draw() for request in requests)
        return
    with ExitStack() as stack:
        artists: SimpleQueue[_Artist] = SimpleQueue()
        threads = stack.enter_context(ThreadPoolExecutor(processes))
        for _ in range(processes):
            artists.put(stack.enter_context(_artist()))
        # The stack unwinds: no more is begun, the processes end, and with them what the threads wait for.
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        waiting: deque[Future[Drawn | None]] = deque()
        for request in requests:
            waiting.append(threads.submit(_hand_out, artists, request))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_Artist = subprocess.Popen[bytes]


@contextmanager
def _artist() -> Iterator[_Artist]:
    # -P: a file in the folder where somebody works is no library.
    command = [sys.executable, "-P", "-c", "from xai_reports_html._artists import serve; serve()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was never read
                cast(IO[bytes], pipe).close()


def _hand_out(artists: SimpleQueue[_Artist], request: Request) -> Drawn | None:
    artist = artists.get()
    try:
        asks, answers = cast(IO[bytes], artist.stdin), cast(IO[bytes], artist.stdout)
        try:
            pickle.dump(request, asks)
            asks.flush()
            answer: Any = pickle.load(answers)  # of our own process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(
                f"The report: a process that draws pictures ended in the middle (exit code {artist.wait()}); most "
                "often memory ran out. SLURM_CPUS_PER_TASK=1 draws in one process."
            ) from error
    finally:
        artists.put(artist)
    if isinstance(answer, Exception):
        raise answer
    return answer  # type: ignore[no-any-return]


def serve() -> None:
    """Draw what is asked for on stdin and answer on stdout, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for whoever started this
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            request: Request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_answer(request), answers)
        answers.flush()


def _answer(request: Request) -> Any:
    try:
        return request.draw()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception of a library that cannot be sent
            return RunError(f"{request.name}: {type(error).__name__}: {error}")
        return error
