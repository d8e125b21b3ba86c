"""The run's log and the progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..progress import Step, is_heard, listening, share, stepping

__all__ = ["is_terminal", "log", "log_to", "track", "whole"]

T = TypeVar("T")

log = logging.getLogger("xai")
_REDRAWN = 0.1  # seconds between two pictures of a bar
_PARTS = 1000  # of the bar of ``whole``


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

    Inside another ``track`` on a terminal, the outer bar's label tells it: two bars would overwrite each other. Whoever
    listens (``xai_core.progress``) is told too, and then shows it: there is no bar.
    """
    if not items:
        return
    if not is_terminal():
        yield from stepping(_logged(items, what), len(items), what)
    elif is_heard():
        yield from _within(items, what)
    else:
        yield from _barred(items, what)


_bars: list[Any] = []


def _barred(items: Sequence[T], what: str) -> Iterator[T]:
    import click

    with click.progressbar(items, label=what, file=sys.stderr) as bar, _labelled(bar, what):
        for item in bar:
            bar.label = what
            yield item


def _within(items: Sequence[T], what: str) -> Iterator[T]:
    label = _bars[-1].label if _bars else ""
    try:
        yield from stepping(items, len(items), what)
    finally:
        if _bars:
            _bars[-1].label = label


@contextmanager
def _labelled(bar: Any, what: str) -> Iterator[None]:
    """Tell in a bar's label what is reported meanwhile."""
    last = -math.inf

    def tell(steps: tuple[Step, ...]) -> None:
        nonlocal last
        bar.label = what + "".join(f" ({_named(step)})" for step in steps)
        if time.monotonic() - last > _REDRAWN:  # thousands of windows a second need not be drawn
            last = time.monotonic()
            bar.render_progress()

    _bars.append(bar)
    try:
        with listening(tell):
            yield
    finally:
        _bars.remove(bar)


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Show one bar for all that is reported within the block, on a terminal where nobody else shows it."""
    if not is_terminal() or is_heard():
        yield
        return
    import click

    with click.progressbar(length=_PARTS, label=what, file=sys.stderr) as bar:

        def tell(steps: tuple[Step, ...]) -> None:
            bar.label = f"{what} ({', '.join(map(_named, steps))})"
            bar.update(max(0, round(share(steps) * _PARTS) - bar.pos))  # never back: more may turn out to be needed

        with listening(tell):
            yield
        bar.label = what
        bar.update(_PARTS - bar.pos)


def _named(step: Step) -> str:
    return f"{step.what} {step.done:g} of {step.total:g}"


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
