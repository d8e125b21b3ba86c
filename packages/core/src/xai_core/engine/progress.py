"""The run's log and the progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["is_terminal", "log", "log_to", "track"]

T = TypeVar("T")

log = logging.getLogger("xai")


def is_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr is not None and sys.stderr.isatty()  # None: closed by whoever started this process


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append the run's messages, with times, to a file."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Yield ``items`` and show how far it is: a bar on a terminal, a line every ten seconds in a log.

    Inside another ``track`` on a terminal, the outer bar's label tells it: two bars would overwrite each other.
    """
    if not items:
        return
    if not is_terminal():
        yield from _logged(items, what)
    elif _bars:
        yield from _in_label(items, what, _bars[-1])
    else:
        import click

        with click.progressbar(items, label=what, file=sys.stderr) as bar:
            _bars.append(bar)
            try:
                yield from bar
            finally:
                _bars.pop()


_bars: list[Any] = []


def _in_label(items: Sequence[T], what: str, bar: Any) -> Iterator[T]:
    label = bar.label
    try:
        for done, item in enumerate(items):
            bar.label = f"{label} ({what} {done} of {len(items)})"
            bar.render_progress()
            yield item
    finally:
        bar.label = label


_depth = 0


def _logged(items: Sequence[T], what: str) -> Iterator[T]:
    """A line every ten seconds, and one at the end: of work within other work only where it took so long."""
    global _depth
    _depth += 1
    last, told = time.monotonic(), False
    try:
        for done, item in enumerate(items, 1):
            yield item
            if time.monotonic() - last > 10 and done < len(items):
                last, told = time.monotonic(), True
                log.info("%s: %d of %d", what, done, len(items))
    finally:
        _depth -= 1
    if told or not _depth:
        log.info("%s: %d of %d, done", what, len(items), len(items))
