"""Runs a function on a long batch piece by piece, in smaller pieces where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from .progress import log, track

__all__ = ["is_out_of_memory", "run_batched"]

T = TypeVar("T")

# PyTorch has no class of its own for an allocation that the CPU refuses.
_CPU_MESSAGES = ("can't allocate memory", "not enough memory")


def run_batched(function: Callable[[Tensor], T], inputs: Tensor, max_batch: int, what: str | None = None) -> list[T]:
    """Return ``function`` of consecutive slices of ``inputs``, each of at most ``max_batch`` along the first axis.

    Where memory runs out, the slice that failed and all that follow are halved, and the log says so once. A result
    must not depend on how the batch is cut, and must be small: all of them are kept. Whoever has several tensors to
    cut gives their indices (``torch.arange(n)``).

    Args:
        function: Called with each slice in order; a slice that ran out of memory is given again in parts.
        inputs: [N, ...]; empty: the function is not called.
        max_batch: At least 1.
        what: Name of the work, where its progress is to be shown.

    Raises:
        RuntimeError, MemoryError: What the function raised for a slice of one, when memory runs out even then.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, not {max_batch}.")
    results: list[T] = []
    size, start, told = max_batch, 0, False
    progress = iter(track(range(len(inputs)), what)) if what is not None else iter(())
    while start < len(inputs):
        piece = inputs[start : start + size]
        halved = False
        try:
            results.append(function(piece))
        except (RuntimeError, MemoryError) as error:
            if len(piece) == 1 or not is_out_of_memory(error):
                raise
            halved = True
        # Outside of the handler, whose traceback would keep the failed slice's tensors alive.
        if halved:
            size = len(piece) // 2
            _free()
            if not told:
                log.warning("Memory ran out with a batch of %d; going on with smaller ones.", len(piece))
            told = True
        else:
            start += len(piece)
            for _ in range(len(piece)):
                next(progress, None)
    next(progress, None)  # the end is shown
    return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the GPU or the CPU has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_MESSAGES)


def _free() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
