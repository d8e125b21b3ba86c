"""SmoothGrad and its variants: statistics of the gradient of noisy copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import captum.attr
import torch
from torch import Tensor, nn

from xai_core import Attribution, ConfigError
from xai_core.engine.batching import run_batched
from xai_core.engine.requests import Explained, as_attribution, differentiating, explaining

from ._batches import ticking
from ._gradients import INPUT
from ._noise import intensity_range, normal, sample_seeds

__all__ = ["smoothgrad"]

Of = Literal["saliency", "gradient", "input-x-gradient"]
Statistic = Literal["mean", "variance", "mean-square"]


def smoothgrad(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    of: Of,
    statistic: Statistic,
    samples: int,
    noise: float,
    max_batch: int,
) -> Attribution:
    """Return a statistic of the maps of noisy copies; see ``plugin_gradients.SmoothGrad``."""
    if statistic == "variance" and samples < 2:
        raise ConfigError("statistic: variance needs at least 2 samples, and samples is 1.")
    seeds = sample_seeds(samples)
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        spread = noise * intensity_range(explained.volumes.detach())
        explain = _method(explained, of)
        with ticking(len(volumes) * samples, "smoothgrad") as tick:
            maps = [
                _statistic(explained, index, spread[index], seeds, explain, statistic, max_batch, tick)
                for index in range(len(volumes))
            ]
        relevance = torch.stack(maps)
        details = [{"samples": samples, "noise_std": spread[i].flatten().tolist()} for i in range(len(volumes))]
        return as_attribution(explained, relevance.abs() if of == "saliency" else relevance, details)


def _method(explained: Explained, of: Of) -> Callable[[Tensor, int], Tensor]:
    """Return what maps copies [n, C, D, H, W] and the output to explain to relevance [n, C, D, H, W]."""
    if of == "input-x-gradient":
        times_input = captum.attr.InputXGradient(explained.forward)
        return lambda copies, index: times_input.attribute(copies.requires_grad_(), target=index)
    gradient = captum.attr.Saliency(explained.forward)
    # The sign is kept until the statistic is taken: noise must cancel.
    return lambda copies, index: gradient.attribute(copies.requires_grad_(), target=index, abs=False)


def _statistic(
    explained: Explained,
    index: int,
    spread: Tensor,
    seeds: list[int],
    explain: Callable[[Tensor, int], Tensor],
    statistic: Statistic,
    max_batch: int,
    tick: Callable[[int], None],
) -> Tensor:
    """Return the statistic for one volume, [C, D, H, W]."""
    volume = explained.volumes.detach()[index : index + 1]
    target = int(explained.target[index])
    total = torch.zeros_like(volume[0], dtype=torch.float64)
    squares = torch.zeros_like(total) if statistic != "mean" else None

    def add(at: Tensor) -> None:
        found = explain(volume + spread * normal([seeds[i] for i in at.tolist()], volume), target).double()
        # All that needs memory comes before the first sum: a piece that fails is given again in parts.
        part, square = found.sum(0), (found**2).sum(0) if squares is not None else None
        total.add_(part)
        if squares is not None and square is not None:
            squares.add_(square)
        tick(len(at))

    run_batched(add, torch.arange(len(seeds)), max_batch)
    mean = total / len(seeds)
    if squares is None:
        return mean
    mean_square = squares / len(seeds)
    # Rounding can leave a constant gradient with a variance just below 0.
    return mean_square if statistic == "mean-square" else (mean_square - mean**2).clamp(min=0)
