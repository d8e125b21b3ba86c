"""Work in pieces that fit into memory, with its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from xai_core.engine.batching import run_batched
from xai_core.engine.progress import track
from xai_core.engine.requests import Explained

__all__ = ["each_volume", "ticking"]


def each_volume(explained: Explained, function: Callable[[Tensor, Tensor], Tensor], max_batch: int) -> Tensor:
    """Return ``function(volumes, target)`` of all volumes, of at most ``max_batch`` at once.

    Args:
        function: Maps volumes [n, C, D, H, W] (no leaf, without gradients) and targets [n] to a tensor [n, ...].
    """
    volumes = explained.volumes.detach()
    pieces = run_batched(
        lambda at: function(volumes[at], explained.target[at]).detach(),
        torch.arange(len(volumes), device=volumes.device),
        max_batch,
    )
    return torch.cat(pieces)


@contextmanager
def ticking(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of work that is not a loop: what is yielded is called with how many more are done."""
    items = iter(track(range(total), what))
    next(items, None)  # an item counts as done when the next one is asked for

    def tick(done: int) -> None:
        for _ in range(done):
            next(items, None)

    yield tick
