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
from ._complete import check_path_sum, check_sampled_sum, misses_too_much, standard_error
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
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    source: Source,
    steps: int,
    max_steps: int,
    max_batch: int,
) -> Attribution:
    """Return the integrated gradients from a baseline; see ``plugin_paths.IntegratedGradients``."""
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        inputs = explained.volumes.detach()
        (start,) = source.volumes(inputs)

        def ends(_at: Tensor, i: int) -> tuple[Tensor, Tensor]:
            return start[i : i + 1], inputs[i : i + 1]

        request = _Request(explained, ends, [start], max_batch, "integrated gradients")
        found = _until_complete(request, _gauss_legendre, steps, max_steps)
        check_path_sum(found.relevance, explained.output, found.baseline, found.points)
        return _finished(explained, found, "steps")


def gradient_shap(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    source: Source,
    samples: int,
    max_samples: int,
    noise: float,
    max_batch: int,
) -> Attribution:
    """Return the expected gradients; see ``plugin_paths.GradientSHAP``."""
    seeds = sample_seeds(max(samples, max_samples))
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        inputs = explained.volumes.detach()
        starts = source.volumes(inputs)
        spread = noise * intensity_range(inputs)

        def ends(at: Tensor, i: int) -> tuple[Tensor, Tensor]:
            chosen = torch.stack([starts[k % len(starts)][i] for k in at.tolist()])
            volume = inputs[i : i + 1]
            if not noise:
                return chosen, volume
            return chosen, volume + spread[i] * normal([seeds[k] for k in at.tolist()], volume)

        # With noise the lines end at noisy volumes, and so does what they sum to.
        request = _Request(explained, ends, starts, max_batch, "gradient SHAP", with_ends=noise > 0)
        found = _until_complete(request, lambda count: _stratified(seeds[:count], len(starts)), samples, max_samples)
        errors = [standard_error(parts, len(starts)) for parts in found.parts]
        check_sampled_sum(found.relevance, found.reached, found.baseline, errors, found.points)
        return _finished(explained, found, "samples")


@dataclass(frozen=True)
class _Line:
    """Points of a quadrature on [0, 1] and their weights, float64 [points]."""

    points: Tensor
    weights: Tensor


def _gauss_legendre(points: int) -> _Line:
    at, weights = np.polynomial.legendre.leggauss(points)
    return _Line(torch.as_tensor((1 + at) / 2), torch.as_tensor(weights / 2))


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


@dataclass(frozen=True)
class _Request:
    """What is integrated.

    Attributes:
        explained: The checked request.
        ends: Gives start and end of lines, [n or 1, C, D, H, W], for the indices [n] of points and that of a volume.
        starts: The baselines, each [N, C, D, H, W].
        max_batch: Points at once.
        what: Name of the work for the progress.
        with_ends: Whether the lines end elsewhere than at the volume.
    """

    explained: Explained
    ends: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    starts: Sequence[Tensor]
    max_batch: int
    what: str
    with_ends: bool = False


@dataclass(frozen=True)
class _Integral:
    """The integral over the lines of one volume.

    Attributes:
        relevance: float64 [C, D, H, W].
        parts: float64 [points], what each point adds to the sum of relevance.
        reached: float64 [], the mean of the explained output at the ends of the lines.
    """

    relevance: Tensor
    parts: Tensor
    reached: Tensor


@dataclass(frozen=True)
class _Found:
    """The integrals of all volumes.

    Attributes:
        relevance: float64 [N, C, D, H, W].
        baseline: float64 [N], the mean output at the baselines.
        reached: float64 [N], the mean output at the ends of the lines.
        parts: For each volume float64 [points].
        points: For each volume how many were taken.
    """

    relevance: Tensor
    baseline: Tensor
    reached: Tensor
    parts: list[Tensor]
    points: list[int]


def _until_complete(request: _Request, line_of: Callable[[int], _Line], points: int, most: int) -> _Found:
    """Integrate with more and more points, four times as many each time, where the sum misses too much.

    Args:
        request: What is integrated.
        line_of: Gives the points for a number of them.
        points: Their first number.
        most: Their last number, if it is larger.
    """
    explained = request.explained
    baseline = outputs_at(explained, request.starts, request.max_batch).mean(0)
    todo, used = list(range(len(baseline))), [points] * len(baseline)
    found: dict[int, _Integral] = {}
    while True:
        line = line_of(points)
        with ticking(len(todo) * points, request.what) as tick:
            for index in todo:
                found[index], used[index] = _integrate(request, index, line, tick), points
        todo = [i for i in todo if misses_too_much(found[i].relevance, found[i].reached, baseline[i])]
        if not todo or points >= most:
            break
        points = min(4 * points, most)
    integrals = [found[index] for index in range(len(baseline))]
    relevance = torch.stack([each.relevance for each in integrals])
    reached = torch.stack([each.reached for each in integrals])
    return _Found(relevance, baseline, reached, [each.parts for each in integrals], used)


def _integrate(request: _Request, index: int, line: _Line, tick: Callable[[int], None]) -> _Integral:
    """Return the weighted sum of gradient x (end - start) over the points of the line for one volume."""
    explained, target = request.explained, request.explained.target[index]
    total = torch.zeros_like(explained.volumes[index], dtype=torch.float64)
    parts, reached = torch.zeros_like(line.points), torch.zeros_like(line.points)

    def add(at: Tensor) -> None:
        start, end = request.ends(at, index)
        share = line.points[at].to(start).reshape(-1, 1, 1, 1, 1)
        points = torch.lerp(start, end, share).requires_grad_()
        (gradient,) = torch.autograd.grad(explained.forward(points)[:, target].sum(), points)
        weights = line.weights[at].to(start.device).reshape(-1, 1, 1, 1, 1)
        weighted = weights * (gradient * (end - start))
        if request.with_ends:
            with torch.no_grad():
                reached[at] = explained.forward(end)[:, target].double().cpu()
        total.add_(weighted.sum(0))
        parts[at] = weighted.flatten(1).sum(1).cpu()
        tick(len(at))

    run_batched(add, torch.arange(len(line.points)), request.max_batch)
    mean = (line.weights * reached).sum().to(total.device) if request.with_ends else explained.output[index].double()
    return _Integral(total, parts, mean)


def outputs_at(explained: Explained, starts: Sequence[Tensor], max_batch: int) -> Tensor:
    """Return the explained output at the baselines [N, C, D, H, W], as float64 [number of baselines, N]."""
    found = []
    with torch.no_grad():
        for start in starts:
            outputs = torch.cat(run_batched(explained.forward, start, max_batch))
            found.append(outputs.gather(1, explained.target[:, None])[:, 0].double())
    return torch.stack(found)


def _finished(explained: Explained, found: _Found, unit: str) -> Attribution:
    """Return the Attribution with what the sums of relevance miss, and how many points (``unit``) were taken."""
    delta = found.relevance.flatten(1).sum(1) - (explained.output.double() - found.baseline)
    details: list[dict[str, Any]] = [
        {"baseline_output": float(found.baseline[i]), "convergence_delta": float(delta[i]), unit: found.points[i]}
        for i in range(len(delta))
    ]
    return as_attribution(explained, found.relevance, details)
