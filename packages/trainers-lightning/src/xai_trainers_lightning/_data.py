"""Loaders whose batches depend on the seed only: not on the number of workers, not on what ran before."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

if TYPE_CHECKING:
    from torch import Tensor

    TensorData = Dataset[tuple[Tensor, Tensor]]
    Loader = DataLoader[tuple[Tensor, Tensor]]

__all__ = ["LoaderOptions", "loader", "seed_generators", "targets_of"]


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's generators from a sequence of non-negative integers."""
    torch.manual_seed(_seed_all_but_gpus(entropy))


def _seed_all_but_gpus(entropy: Sequence[int]) -> int:
    """Seed the generators that loading a scan can draw from, and return torch's seed.

    ``torch.manual_seed`` would also ask for the GPUs, which takes longer than reading a scan.
    """
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))
    return int(words[2])


@contextmanager
def _own_generators(*entropy: int) -> Iterator[None]:
    python, numpy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_all_but_gpus(entropy)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torchs)


class _SeededItems(Dataset[Any]):
    """Gives each scan of each epoch its own seed, so that augmentation does not depend on the process."""

    def __init__(self, items: TensorData, seed: int) -> None:
        self.items, self.seed = items, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        with _own_generators(self.seed, epoch, index):
            return self.items[index]


class _EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index). Lightning calls ``set_epoch`` before each epoch."""

    def __init__(self, size: int, seed: int, shuffle: bool) -> None:
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return iter([(self.epoch, int(index)) for index in order])


@dataclass(frozen=True)
class LoaderOptions:
    """Scans in a batch, loading processes, seed, and whether to use page-locked memory (for a GPU)."""

    batch_size: int
    workers: int
    seed: int
    pin: bool = False


def loader(items: TensorData, options: LoaderOptions, *, training: bool) -> Loader:
    """Return a loader of (volumes [N, C, D, H, W], targets [N]), shuffled where ``training``.

    A last training batch of one scan is left out: batch normalisation has no statistics of one.
    """
    batch_size, workers = options.batch_size, options.workers
    size = len(cast(Sized, items))
    return DataLoader(
        _SeededItems(items, options.seed),
        batch_size=batch_size,
        sampler=cast("Sampler[Any]", _EpochSampler(size, options.seed, shuffle=training)),
        drop_last=training and size > batch_size and size % batch_size == 1,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=options.pin,
        generator=torch.Generator().manual_seed(options.seed),
        worker_init_fn=_begin_worker,
    )


def _begin_worker(_worker: int) -> None:
    """Give a loading process one thread, and let it share the memory that it was forked with.

    Collecting garbage writes into every object there is, and a page that is written to is copied.
    """
    torch.set_num_threads(1)
    gc.freeze()


def targets_of(items: TensorData, seed: int) -> Tensor:
    """Return the targets [N]; scans are read for them only where the dataset has no ``targets``."""
    known = getattr(items, "targets", None)
    if known is not None:
        return torch.as_tensor(np.asarray(known))
    seeded = _SeededItems(items, seed)
    return torch.stack([seeded[0, index][1] for index in range(len(cast(Sized, items)))])
