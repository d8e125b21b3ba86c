"""Calls into components: what one raises unexpectedly is told with its name, its package and what it was doing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .. import registry
from ..errors import PluginError, RunError, XaiError

__all__ = ["at_work"]


@contextmanager
def at_work(kind: str, name: str, doing: str) -> Iterator[None]:
    """Run a component's code inside the block.

    Args:
        kind: Kind of the component in the singular.
        name: Its registry name.
        doing: What it is asked for, such as ``explaining sub-01``.

    Raises:
        PluginError: It raised something that is no ``XaiError``. Expected errors and those of the operating system
            (a full disk is no defect of a plugin) pass as they are.
        RunError: The memory of the machine or of its GPU did not suffice.
    """
    try:
        yield
    except (XaiError, OSError):
        raise
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise RunError(
            f"Memory did not suffice for the {kind} {name} ({doing}): {_one_line(error)}. Use smaller batches or "
            "volumes, a smaller model, or another device."
        ) from error
    except Exception as error:
        info = registry.info(kind, name)
        raise PluginError(
            f"The {kind} {info.name!r} of {info.package} {info.version} ({info.target}) failed {doing}: "
            f"{_one_line(error)}. -v shows where; report it to the package's authors."
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")
