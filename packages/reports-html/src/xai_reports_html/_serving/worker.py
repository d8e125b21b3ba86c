"""The process that computes: the server answers meanwhile, and survives whatever ends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from xai_core import XaiError
from xai_core.progress import Step

__all__ = ["Compute", "DiedError", "FailedError", "Request", "Steps", "Tell", "Worker"]

Request = dict[str, Any]
Steps = tuple[Step, ...]
Tell = Callable[..., None]
"""Called with the step that begins, and with how far it is (``xai_core.progress``) where that is known."""
Compute = Callable[[Request, Tell], dict[str, Any]]
"""Carries out a request, tells the step that it begins, and returns what JSON can hold."""

_GRACE = 3.0  # seconds to end by itself
_NO_CODE = ""


class FailedError(Exception):
    """A computation failed and said why.

    Attributes:
        code: What the page has its own words for, or empty.
    """

    def __init__(self, message: str, code: str = _NO_CODE) -> None:
        super().__init__(message)
        self.code = code


class DiedError(Exception):
    """The process ended in the middle."""


class Worker:
    """One process that carries out one request after another.

    Args:
        compute: A function that a fresh interpreter can import.
    """

    def __init__(self, compute: Compute) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would take the server's sockets and threads along
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, compute), name="xai-serve-worker", daemon=True)
        self._process.start()
        self._busy = False
        theirs.close()

    def run(self, request: Request, tell: Tell) -> dict[str, Any]:
        """Carry out a request.

        Raises:
            FailedError: It failed.
            DiedError: The process ended.
        """
        self._busy = True
        try:
            self._pipe.send(request)
            while True:
                kind, content = self._pipe.recv()
                if kind == "step":
                    tell(*content)
                elif kind == "done":
                    return dict(content)
                else:
                    raise FailedError(*content)
        except (EOFError, OSError) as error:
            self._process.join(_GRACE)
            raise DiedError(f"exit code {self._process.exitcode}") from error
        finally:
            self._busy = False

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if not self._busy:
            self._pipe.close()  # it ends by itself then, and tidies up
            self._process.join(_GRACE)
        self._process.terminate()
        self._process.join(_GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_GRACE)


def _work(pipe: Connection, compute: Compute) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the server, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):
            return
        # What libraries write aside goes with the folder of the job, also when this process is ended in the middle.
        tempfile.tempdir = request["folder"]
        pipe.send(_outcome(compute, request, lambda step, far=(): pipe.send(("step", (step, far)))))


def _outcome(compute: Compute, request: Request, tell: Tell) -> tuple[str, Any]:
    try:
        return "done", compute(request, tell)
    except FailedError as error:
        return "failed", (str(error), error.code)
    except XaiError as error:
        return "failed", (str(error), _NO_CODE)
    except MemoryError:
        return "failed", ("There is not enough memory for this.", _NO_CODE)
    except Exception as error:
        traceback.print_exc()
        return "failed", (f"{type(error).__name__}: {error}", _NO_CODE)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
