"""How far long work is: told by whoever does it, heard by whoever shows it.

An explainer that runs a network many times says so after each pass::

    from xai_core import progress

    for done in range(passes):
        ...
        progress.report(done + 1, passes, "noisy copies")

``xai run`` and ``xai explain`` show it beside their bar, ``xai serve`` in its page. Where nobody listens a report is
one look-up, and an explainer that never reports only shows less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Listener", "Step", "is_heard", "listening", "report", "share", "stepping"]

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One level of the work.

    Attributes:
        what: Name of the work.
        done: How much of it is done, in any unit.
        total: All of it, in the same unit.
    """

    what: str
    done: float
    total: float

    @property
    def share(self) -> float:
        """What share is done, from 0 to 1; 0 where the numbers make no sense."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 and self.done == self.done else 0.0


Listener = Callable[[tuple[Step, ...]], None]
"""Told all levels, the outermost first."""


@dataclass(frozen=True)
class _Heard:
    listener: Listener
    outer: tuple[Step, ...] = ()


# Of this thread (or task): two explanations side by side do not hear each other.
_heard: ContextVar[_Heard | None] = ContextVar("xai_progress", default=None)


def report(done: float, total: float, what: str = "") -> None:
    """Tell how far the work is.

    Args:
        done: How much is done.
        total: All there is to do, in the same unit.
        what: Name of the work, in a word or two.
    """
    heard = _heard.get()
    if heard is not None:
        # Plain numbers and texts: whoever listens may be in another process.
        heard.listener((*heard.outer, Step(str(what), float(done), float(total))))


def is_heard() -> bool:
    """Whether anybody listens."""
    return _heard.get() is not None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener what is reported within the block, in this thread.

    It is called often and within the work: it must be quick, and what it raises ends the work.
    """
    before = _heard.get()
    _heard.set(_Heard(listener))
    try:
        yield
    finally:
        _heard.set(before)


def stepping(items: Iterable[T], total: int, what: str | Callable[[T], str]) -> Iterator[T]:
    """Yield items and report each; what is reported while one is worked on is a part of it.

    Args:
        items: The work.
        total: Their number.
        what: Name of the work, or what gives each item's.
    """
    outer = _heard.get()
    if outer is None:
        yield from items
        return
    name = ""
    try:
        for done, item in enumerate(items):
            name = what if isinstance(what, str) else what(item)
            inside = _Heard(outer.listener, (*outer.outer, Step(name, done, total)))
            _heard.set(inside)
            inside.listener(inside.outer)
            yield item
        outer.listener((*outer.outer, Step(name, total, total)))
    finally:
        _heard.set(outer)


def share(steps: tuple[Step, ...]) -> float:
    """Return what share of the outermost step is done, from 0 to 1, counting what is done of the steps within it."""
    found = 0.0
    for step in reversed(steps):
        within = found / step.total if step.total > 0 else 0.0
        found = min(step.share + within, 1.0)
    return found
