"""Gradients along straight lines from a baseline to the volume: integrated gradients and gradient SHAP.

Captum's own IntegratedGradients and GradientShap are right in 3D, but the one goes on with a failed piece of memory,
and the other's noise and points depend on who else is in the batch. The tests hold these to Captum's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_core import Attribution, ConfigError
from xai_core.engine.batching import run_batched
from xai_core.engine.requests import Explained, as_attribution, differentiating, explaining

from ._baselines import baseline_volumes
from ._batches import ticking
from ._gradients import INPUT
from ._noise import intensity_range, normal, sample_seeds

__all__ = ["Source", "gradient_shap", "integrated_gradients", "outputs_at"]


@dataclass(frozen=True)
class Source:
    """Where baselines come from; see ``baseline_volumes``.

    Attributes:
        names: At least one of its baselines; not used where there is a ``file``.
        file: A file, or None.
        sigma: Of the baseline ``"blurred"``.
        controls: Mean of the controls, or None.
    """

    names: Sequence[str | float]
    file: str | None
    sigma: float
    controls: Tensor | None

    def volumes(self, volumes: Tensor) -> list[Tensor]:
        """Return the baselines of volumes [N, C, D, H, W], each of the same shape."""
        names = self.names if self.file is None else self.names[:1]
        return [
            baseline_volumes(volumes, name, controls=self.controls, file=self.file, sigma=self.sigma) for name in names
        ]


def integrated_gradients(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, source: Source, steps: int, max_batch: int
) -> Attribution:
    """Return the integrated gradients from a baseline; see ``plugin_paths.IntegratedGradients``."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    line = _Line(torch.as_tensor((1 + points) / 2), torch.as_tensor(weights / 2))
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        inputs = explained.volumes.detach()
        (start,) = source.volumes(inputs)
        with ticking(len(inputs) * steps, "integrated gradients") as tick:
            maps = [
                _integrate(explained, i, line, lambda _at, i: (start[i : i + 1], inputs[i : i + 1]), max_batch, tick)
                for i in range(len(inputs))
            ]
        return _finished(explained, torch.stack(maps), [start], max_batch)


def gradient_shap(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    source: Source,
    samples: int,
    noise: float,
    max_batch: int,
) -> Attribution:
    """Return the expected gradients; see ``plugin_paths.GradientSHAP``."""
    seeds = sample_seeds(samples)
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        inputs = explained.volumes.detach()
        starts = source.volumes(inputs)
        line = _stratified(seeds, len(starts))
        spread = noise * intensity_range(inputs)

        def ends(at: Tensor, i: int) -> tuple[Tensor, Tensor]:
            chosen = torch.stack([starts[k % len(starts)][i] for k in at.tolist()])
            volume = inputs[i : i + 1]
            if not noise:
                return chosen, volume
            return chosen, volume + spread[i] * normal([seeds[k] for k in at.tolist()], volume)

        with ticking(len(inputs) * samples, "gradient SHAP") as tick:
            maps = [_integrate(explained, i, line, ends, max_batch, tick) for i in range(len(inputs))]
        return _finished(explained, torch.stack(maps), starts, max_batch)


@dataclass(frozen=True)
class _Line:
    """Points of a quadrature on [0, 1] and their weights, float64 [points]."""

    points: Tensor
    weights: Tensor


def _stratified(seeds: Sequence[int], baselines: int) -> _Line:
    """Return one random point for each sample; sample k belongs to the baseline k modulo their number.

    The samples of one baseline share the line: each has a point in a section of its own. That is still an
    unbiased estimate of the mean over the line, with far less scatter than points drawn from the whole.
    """
    if len(seeds) < baselines:
        raise ConfigError(f"samples: {len(seeds)} samples are too few for {baselines} baselines; give one for each.")
    points, weights = torch.empty(len(seeds), dtype=torch.float64), torch.empty(len(seeds), dtype=torch.float64)
    for k, seed in enumerate(seeds):
        own = len(range(k % baselines, len(seeds), baselines))
        drawn = torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(seed ^ 1))
        points[k] = (k // baselines + drawn) / own
        weights[k] = 1 / (own * baselines)
    return _Line(points, weights)


def _integrate(
    explained: Explained,
    index: int,
    line: _Line,
    ends: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    max_batch: int,
    tick: Callable[[int], None],
) -> Tensor:
    """Return the weighted sum of gradient x (end - start) over the points of the line for one volume.

    Args:
        index: Of the volume.
        ends: Gives start and end, [n or 1, C, D, H, W], for the indices [n] of points and that of the volume.

    Returns:
        float64 [C, D, H, W].
    """
    target = explained.target[index]
    total = torch.zeros_like(explained.volumes[index], dtype=torch.float64)

    def add(at: Tensor) -> None:
        start, end = ends(at, index)
        share = line.points[at].to(start).reshape(-1, 1, 1, 1, 1)
        points = torch.lerp(start, end, share).requires_grad_()
        (gradient,) = torch.autograd.grad(explained.forward(points)[:, target].sum(), points)
        weights = line.weights[at].to(start.device).reshape(-1, 1, 1, 1, 1)
        total.add_((weights * (gradient * (end - start))).sum(0))
        tick(len(at))

    run_batched(add, torch.arange(len(line.points)), max_batch)
    return total


def outputs_at(explained: Explained, starts: Sequence[Tensor], max_batch: int) -> Tensor:
    """Return the explained output at the baselines [N, C, D, H, W], as float64 [number of baselines, N]."""
    found = []
    with torch.no_grad():
        for start in starts:
            outputs = torch.cat(run_batched(explained.forward, start, max_batch))
            found.append(outputs.gather(1, explained.target[:, None])[:, 0].double())
    return torch.stack(found)


def _finished(explained: Explained, relevance: Tensor, starts: Sequence[Tensor], max_batch: int) -> Attribution:
    """Return the Attribution with what the sum of relevance [N, C, D, H, W] misses."""
    baseline = outputs_at(explained, starts, max_batch).mean(0)
    delta = relevance.flatten(1).sum(1) - (explained.output.double() - baseline)
    details: list[dict[str, Any]] = [
        {"baseline_output": float(baseline[i]), "convergence_delta": float(delta[i])} for i in range(len(relevance))
    ]
    return as_attribution(explained, relevance, details)
