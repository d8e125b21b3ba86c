"""Batches that several devices share: each takes a piece of every batch, so that batches are those of one device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

if TYPE_CHECKING:
    from ._data import Loader

__all__ = ["Share", "shared"]

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which of how many devices this process works for."""

    rank: int = 0
    ranks: int = 1

    def piece(self, batch: list[T]) -> list[T]:
        """Return this device's part of a batch; parts differ by one scan at most, the first ones are larger."""
        size, larger = divmod(len(batch), self.ranks)
        start = self.rank * size + min(self.rank, larger)
        return batch[start : start + size + (self.rank < larger)]

    def gathered(self, seen: list[T]) -> list[T]:
        """Return what all devices saw of each batch, in the order of one device; every device must call it."""
        if self.ranks == 1:
            return seen
        lists: list[list[T]] = [[] for _ in range(self.ranks)]
        torch.distributed.all_gather_object(lists, seen)
        return [item for item in chain.from_iterable(zip_longest(*lists)) if item is not None]


class _Pieces(Sampler[list[Any]]):
    """This device's pieces of the batches of another sampler; batches too small for a piece each are left out."""

    def __init__(self, batches: Sampler[list[Any]], share: Share, batch_count: int, *, training: bool) -> None:
        self.batches, self.share, self.count, self.training = batches, share, batch_count, training

    @property
    def sampler(self) -> Any:
        """The sampler below, whose epoch Lightning sets."""
        return self.batches.sampler  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.batches:
            piece = self.share.piece(batch)
            if piece and not (self.training and len(batch) < self.share.ranks):
                yield piece


def shared(loader: Loader, share: Share, *, training: bool) -> Loader:
    """Return a loader of this device's pieces of the batches of a loader."""
    if share.ranks == 1:
        return loader
    batches: Any = loader.batch_sampler
    scans, size = len(batches.sampler), batches.batch_size
    last = scans % size
    # The last batch has no piece for every device: nobody trains on it; some have it to validate.
    without = bool(last) and (last < share.ranks if training else last <= share.rank)
    without = without and not (training and batches.drop_last)
    pieces = _Pieces(batches, share, len(batches) - without, training=training)
    return DataLoader(
        loader.dataset,
        batch_sampler=pieces,
        num_workers=loader.num_workers,
        persistent_workers=loader.persistent_workers,
        pin_memory=loader.pin_memory,
        generator=loader.generator,
        worker_init_fn=loader.worker_init_fn,
        collate_fn=loader.collate_fn,
        prefetch_factor=loader.prefetch_factor,
        multiprocessing_context=loader.multiprocessing_context,
    )
