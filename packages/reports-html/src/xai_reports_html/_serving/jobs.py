"""The queue of computations: one at a time, the others wait, any of them can be cancelled."""

from __future__ import annotations

import logging
import math
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xai_core.progress import share

from .worker import Compute, DiedError, FailedError, Request, Steps, Worker

__all__ = ["BusyError", "Job", "Jobs"]

log = logging.getLogger("xai")
_MOST_WAITING = 20
_KEPT = 20  # that ended; the oldest goes
_DIED = (
    "The computation ended in the middle ({}); most often memory ran out. The server goes on. Try one explainer or one "
    "fold, or a machine with more memory."
)

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class BusyError(Exception):
    """The queue is full."""


@dataclass
class Job:
    """One computation.

    Attributes:
        request: For ``Compute``; its ``folder`` is the job's own.
        title: What the page calls it.
        uploads: Files that are removed when it has ended.
        step: What is being done.
        far: How far that is; empty where it is not known.
        result: Where it is done.
        error: Why it failed, and ``code``, what the page has its own words for.
    """

    id: str
    number: int
    title: str
    request: Request
    uploads: list[Path]
    state: State = "waiting"
    step: str = ""
    far: Steps = ()
    result: dict[str, Any] | None = None
    error: str = ""
    code: str = ""
    since: float = field(default_factory=time.monotonic)
    took: float | None = None

    @property
    def folder(self) -> Path:
        """Where its results lie."""
        return Path(self.request["folder"])

    def as_json(self) -> dict[str, Any]:
        """Return what the page is told of it."""
        took = time.monotonic() - self.since if self.took is None else self.took
        return {
            "id": self.id, "number": self.number, "title": self.title, "state": self.state, "step": self.step,
            "seconds": round(took, 1), "error": self.error, "code": self.code, "result": self.result,
            "share": round(share(self.far), 4),
            "far": [{"what": one.what, "done": _finite(one.done), "total": _finite(one.total)} for one in self.far],
        }  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None  # a stranger's explainer may report anything


class Jobs:
    """Carries out jobs in a thread of its own, which leaves the work to a process.

    Args:
        folder: Where results go, a folder for each job.
        compute: See ``Worker``.
        used: Called with the uploads of a job that has ended in any way.
    """

    def __init__(self, folder: Path, compute: Compute, used: Callable[[list[Path]], None]) -> None:
        self._folder, self._compute, self._used = folder, compute, used
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()  # its lock may be taken twice by one thread
        self._current: Job | None = None
        self._worker: Worker | None = None
        self._closing = False
        self._count = 0
        self._thread = threading.Thread(target=self._serve, name="xai-serve-jobs", daemon=True)
        self._thread.start()

    def submit(self, request: Request, title: str, uploads: list[Path]) -> Job:
        """Put a computation into the queue.

        Raises:
            BusyError: The queue is full.
        """
        with self._changed:
            if sum(job.state == "waiting" for job in self._jobs.values()) >= _MOST_WAITING or self._closing:
                raise BusyError(f"{_MOST_WAITING} computations wait already. Try again when some are done.")
            key = secrets.token_hex(16)
            folder = self._folder / f"job-{key}"
            folder.mkdir(mode=0o700)
            self._count += 1
            job = Job(key, self._count, title, {**request, "folder": str(folder), "key": f"r{key}"}, uploads)
            self._jobs[key] = job
            self._changed.notify_all()
        return job

    def get(self, key: str) -> Job | None:
        """Return a job, or None."""
        with self._changed:
            return self._jobs.get(key)

    def all(self) -> list[dict[str, Any]]:
        """Return what the page is told, the oldest first; ``ahead`` is how many come before one that waits."""
        with self._changed:
            found, ahead = [], int(self._current is not None)
            for job in self._jobs.values():
                told = job.as_json()
                if job.state == "waiting":
                    told["ahead"] = ahead
                    ahead += 1
                found.append(told)
            return found

    def drop(self, key: str) -> bool:
        """Cancel a job, or remove what it has found; return whether there was one."""
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                return False
            worker = None
            if job.state == "running":
                self._ended(job, "cancelled")
                worker, self._worker = self._worker, None
            else:
                if job.state == "waiting":
                    self._ended(job, "cancelled")
                self._forget(key)
        if worker is not None:
            worker.stop()
        return True

    def close(self) -> None:
        """End everything."""
        with self._changed:
            self._closing = True
            worker, self._worker = self._worker, None
            if self._current is not None:
                self._ended(self._current, "cancelled")
            self._changed.notify_all()
        if worker is not None:
            worker.stop()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._make_ready()
                job = self._next()
                while job is None and not self._closing:
                    self._changed.wait()
                    job = self._next()
                if self._closing or job is None:
                    return
                self._current = job
                job.state, job.step, job.since = "running", "starting", time.monotonic()
            self._carry_out(job)

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _make_ready(self) -> None:
        """Start the process ahead of need, since it takes seconds to load; a failure shows when it is needed."""
        with suppress(OSError, DiedError):
            self._process()

    def _process(self) -> Worker:
        with self._changed:
            if self._closing:
                raise DiedError("the server ends")
            if self._worker is None or not self._worker.is_alive:
                self._worker = Worker(self._compute)
            return self._worker

    def _carry_out(self, job: Job) -> None:
        def tell(step: str, far: Steps = ()) -> None:
            job.step, job.far = step, far

        found, error, code = None, "", ""
        try:
            worker = self._process()
            if job.state == "running":  # else it was cancelled before anybody could be stopped
                found = worker.run(job.request, tell)
        except FailedError as failure:
            error, code = str(failure), failure.code
        except DiedError as failure:
            error = _DIED.format(failure)
        except Exception as failure:  # the queue must go on whatever happens
            log.exception("a computation could not be carried out")
            error = f"{type(failure).__name__}: {failure}"
        with self._changed:
            self._current = None
            if job.state == "running":
                job.result, job.error, job.code = found, error, code
                self._ended(job, "failed" if found is None else "done")
            else:
                shutil.rmtree(job.folder, ignore_errors=True)  # cancelled; now nobody writes there
            self._keep_few()

    def _ended(self, job: Job, state: State) -> None:
        job.took = time.monotonic() - job.since
        job.state = state
        self._used(job.uploads)
        if state != "done":
            shutil.rmtree(job.folder, ignore_errors=True)

    def _keep_few(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.state not in ("waiting", "running")]
        for key in ended[:-_KEPT]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        shutil.rmtree(self._jobs.pop(key).folder, ignore_errors=True)
