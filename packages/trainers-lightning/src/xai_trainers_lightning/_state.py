"""The whole state of a training after an epoch, on disk, so that a killed one can go on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xai_core.engine.tensorfile import save_tensors

if TYPE_CHECKING:
    from xai_core import RunContext

__all__ = ["load_state", "save_state"]


def _file(context: RunContext) -> Path | None:
    return None if context.scratch is None else context.scratch / "state.pt"


def load_state(context: RunContext) -> dict[str, Any] | None:
    """Return what ``save_state`` wrote last for this fold; None where there is nothing, or nothing readable."""
    path = _file(context)
    if path is None or not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # such as a file system that lost its content in a crash
        context.log(f"fold {context.fold}: {path} cannot be read ({type(error).__name__}); training starts anew")
        return None
    return state


def save_state(context: RunContext, state: dict[str, Any]) -> None:
    """Write the state; a process killed at any moment leaves the old one or the new one, whole."""
    path = _file(context)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_tensors(state, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
