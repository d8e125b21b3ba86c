"""Sees which files a piece of code reads: what a transform learns from must not be a test person's scan."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torchio as tio

__all__ = ["files_read"]

_open: list[set[str]] = []


@contextmanager
def files_read() -> Iterator[set[str]]:
    """Give a set that fills with the absolute paths of files opened by Python or TorchIO in this process meanwhile.

    Other libraries that open files by themselves are not seen; of a folder (DICOM) its own path is.
    """
    _install()
    found: set[str] = set()
    original = tio.Image.read_and_check

    def noted(self: tio.Image, path: str | Path) -> Any:
        found.add(os.path.abspath(path))  # noqa: PTH100 - as text, and links stay links
        return original(self, path)

    _open.append(found)
    # TorchIO reads through ITK, whose files Python does not know of.
    tio.Image.read_and_check = noted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        tio.Image.read_and_check = original  # type: ignore[method-assign]
        _open.remove(found)


@cache
def _install() -> None:
    """Hear of every file that Python opens; a hook of this kind stays as long as the process."""
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _open and isinstance(arguments[0], str | bytes):
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
        for found in _open:
            found.add(path)
