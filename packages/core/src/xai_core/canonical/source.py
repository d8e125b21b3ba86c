"""The line of the user's code that is being run, for messages."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

__all__ = ["user_line"]

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


def user_line() -> str:
    """Return ``file:line`` of the innermost frame of a forward that is not PyTorch's; empty where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(_HERE) and function in ("trace", "record"):
            return ""
        if not file.startswith((_TORCH, _HERE, "<")):
            return f"{file}:{frame.f_lineno}"
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return ""
