"""Random numbers that depend on the caller's seed only, not on the batch, its cutting or the device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["intensity_range", "normal", "sample_seeds"]


def sample_seeds(samples: int) -> list[int]:
    """Return one seed for each sample, drawn from torch's generator, which moves on by one number.

    Every volume of a batch gets the same samples, so that its map is the same alone and in a batch.
    """
    first = int(torch.randint(2**62, ()))
    drawn = torch.randint(2**62, (samples,), generator=torch.Generator().manual_seed(first))
    return [int(seed) for seed in drawn]


def normal(seeds: list[int], like: Tensor) -> Tensor:
    """Return standard normal noise [len(seeds), C, D, H, W] for a volume ``like`` [1, C, D, H, W]."""
    draws = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws).to(like)


def intensity_range(volumes: Tensor) -> Tensor:
    """Return largest minus least intensity of each channel of volumes [N, C, D, H, W], as [N, C, 1, 1, 1]."""
    axes = (2, 3, 4)
    return volumes.amax(axes, keepdim=True) - volumes.amin(axes, keepdim=True)
