"""Tensors on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["save_tensors"]


def save_tensors(content: Any, path: Path) -> None:
    """Write what ``torch.save`` can; where that fails, say why.

    PyTorch's own writer of files tells of a full disk as an internal error without the system's reason.

    Raises:
        OSError: The file cannot be written, such as on a full disk.
    """
    try:
        with path.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
