"""SimpleITK on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk  # noqa: N813 - its usual name

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK work on one thread inside the block.

    Sums over threads depend on their number and on who ends first, and every result after them would. That filters and
    registrations can be told the number by themselves does not suffice: what they are made of cannot.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
