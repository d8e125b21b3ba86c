"""What a network's output does when regions of a volume are replaced in the order of their relevance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_core import Attribution, InputError
from xai_core.engine.background import background_value
from xai_core.engine.mixing import apart

from ._checks import Row, check_relevance

__all__ = ["Settings", "evaluate"]

_SAME = 1e-9  # of rounding


@dataclass(frozen=True)
class Settings:
    """See ``plugin.RegionPerturbation``."""

    window: int
    steps: int
    share: float
    replacement: Literal["mean", "local-mean", "background"]
    sign: Literal["signed", "absolute"]
    output: Literal["logit", "probability"]
    random_orders: int
    batch_size: int


@dataclass(frozen=True)
class _Case:
    """One volume, and what its regions are.

    Attributes:
        volume: [C, D, H, W].
        replaced: [C, D, H, W], with every region replaced.
        region: int64 [D, H, W], the number of each voxel's region; that of a voxel outside of the brain is unused.
        brain: bool [D, H, W].
        sizes: int64 [R], voxels of the brain in each region.
        target: Index of the output.
    """

    volume: Tensor
    replaced: Tensor
    region: Tensor
    brain: Tensor
    sizes: Tensor
    target: int


def evaluate(model: nn.Module, volumes: Tensor, attributions: Attribution, settings: Settings) -> list[Row]:
    """Return one row for each volume; see ``plugin.RegionPerturbation``.

    Args:
        model: Takes [N, C, D, H, W], gives [N, K]; in evaluation mode.
        volumes: [N, C, D, H, W].
        attributions: Of these volumes.
        settings: How.

    Raises:
        InputError: Shapes do not fit together, the relevance is not finite, or an output of the network is not.
    """
    check_relevance(volumes, attributions.relevance)
    relevance = attributions.relevance.detach().to(volumes.device).double().sum(1)
    strength = relevance.abs() if settings.sign == "absolute" else relevance
    return [
        _row(model, _case(volume, int(target), settings), one, settings)
        for volume, target, one in zip(volumes, attributions.target, strength, strict=True)
    ]


def _case(volume: Tensor, target: int, settings: Settings) -> _Case:
    brain = (volume != background_value(volume[None])[0]).any(0)
    window = settings.window
    numbers = torch.zeros(brain.shape, dtype=torch.int64, device=volume.device)
    for axis, length in enumerate(brain.shape):
        place = torch.arange(length, device=volume.device) // window
        shape = [1, 1, 1]
        shape[axis] = length
        numbers = numbers * -(-length // window) + place.reshape(shape)
    small, sizes = numbers[brain].unique(return_inverse=True, return_counts=True)[1:]
    region = torch.zeros_like(numbers)
    region[brain] = small
    replaced = torch.where(brain, _replacement(volume, brain, settings), volume)
    return _Case(volume, replaced, region, brain, sizes, target)


def _replacement(volume: Tensor, brain: Tensor, settings: Settings) -> Tensor:
    """Return what stands in the place of a replaced voxel; [C, D, H, W], or what can be broadcast to it."""
    if settings.replacement == "background":
        return background_value(volume[None])[0]
    inside = brain.to(volume.dtype)
    if settings.replacement == "mean":
        return (volume * inside).sum((1, 2, 3), keepdim=True) / inside.sum().clamp(min=1)
    size, pad = 2 * settings.window + 1, settings.window
    sums = functional.avg_pool3d((volume * inside)[None], size, 1, pad)[0]
    return sums / functional.avg_pool3d(inside[None, None], size, 1, pad)[0].clamp(min=torch.finfo(inside.dtype).tiny)


def _row(model: nn.Module, case: _Case, strength: Tensor, settings: Settings) -> Row:
    names = ("output", "output_replaced", "aopc_morf", "aopc_lerf", "aopc_random", "area", "relative_area", "gain")
    count = len(case.sizes)
    row: Row = {**dict.fromkeys(names), "regions": float(count)}
    if count == 0:
        return row
    sums = torch.zeros(count, dtype=torch.float64, device=strength.device)
    density = sums.index_add(0, case.region[case.brain], strength[case.brain]) / case.sizes
    shuffled = [_shuffled(count, strength.device) for _ in range(settings.random_orders + 1)]
    # Among equals the order is random; the least relevant come first in the reverse of the same order.
    most = shuffled[0][density[shuffled[0]].argsort(descending=True, stable=True)]
    drops, ends = {}, []
    for name, orders in {"morf": [most], "lerf": [most.flip(0)], "random": shuffled[1:]}.items():
        curves = [_curve(model, case, order, settings) for order in orders]
        drops[name] = [float((curve[0] - curve).mean()) for curve in curves]
        ends += curves
    whole = torch.stack(ends)
    row |= {
        "output": float(whole[0, 0]),
        "output_replaced": float(_outputs(model, case.replaced[None], case, settings)[0]),
        "aopc_random": sum(drops["random"]) / len(drops["random"]),
    }
    if float(density.max() - density.min()) <= _SAME * float(density.abs().max()):  # no order
        return row
    area, spread = drops["morf"][0] - drops["lerf"][0], float(whole.max() - whole.min())
    return row | {
        "aopc_morf": drops["morf"][0],
        "aopc_lerf": drops["lerf"][0],
        "area": area,
        "relative_area": area / spread if spread > 0 else None,
        "gain": drops["morf"][0] - (row["aopc_random"] or 0.0),
    }


def _shuffled(count: int, device: torch.device) -> Tensor:
    return torch.randperm(count).to(device)  # on the CPU: the same order on every device


def _curve(model: nn.Module, case: _Case, order: Tensor, settings: Settings) -> Tensor:
    """Return the outputs, float64 [steps + 1], after 0, 1 ... ``steps`` steps of replacing regions in an order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    turn = torch.where(case.brain, rank[case.region], len(order))
    reached = case.sizes[order].cumsum(0).double().cpu()
    wanted = torch.arange(settings.steps + 1, dtype=torch.float64) / settings.steps * settings.share * reached[-1]
    counts = torch.searchsorted(reached, wanted * (1 + _SAME), right=True).tolist()
    found = []
    for some in _batched(counts, settings.batch_size):
        batch = torch.stack([torch.where(turn < count, case.replaced, case.volume) for count in some])
        found.append(_outputs(model, batch, case, settings))
    return torch.cat(found)


def _batched(counts: list[int], size: int) -> Iterator[list[int]]:
    rest = iter(counts)
    while some := list(itertools.islice(rest, size)):
        yield some


def _outputs(model: nn.Module, batch: Tensor, case: _Case, settings: Settings) -> Tensor:
    """Return the outputs of the target, float64 [N] on the CPU.

    Raises:
        InputError: One is not finite.
    """
    with torch.no_grad():
        logits = torch.cat([model(part) for part in apart(model, batch)]).double()
    if settings.output == "probability" and logits.shape[1] > 1:
        logits = logits.softmax(1)
    found: Tensor = logits[:, case.target].cpu()
    if not bool(torch.isfinite(found).all()):
        raise InputError("The network's output is not finite after regions were replaced: there is no curve.")
    return found
