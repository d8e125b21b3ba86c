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


def each_volume(explained: Explained, function: Callable[..., Tensor], max_batch: int, *others: Tensor) -> Tensor:
    """Return ``function(volumes, target, *others)`` of all volumes, of at most ``max_batch`` at once.

    Args:
        function: Maps volumes [n, C, D, H, W] (no leaf, without gradients), targets [n] and parts [n, ...] of the
            others to a tensor [n, ...].
        others: Tensors [N, ...] with a row for each volume.
    """
    volumes = explained.volumes.detach()
    rows = (volumes, explained.target, *others)
    pieces = run_batched(
        lambda at: function(*(each[at] for each in rows)).detach(),
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
