"""What the explainers promise, tested by other means: finite differences, double precision, sums."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_core.engine.requests import explaining, unwrapped
from xai_core.engine.seeding import seeded

from ._noise import intensity_range
from ._starts import Start, starting_values

if TYPE_CHECKING:
    from .plugin_gradients import Gradient, InputXGradient, Saliency, SmoothGrad

__all__ = [
    "CLOSE", "assert_close", "check_gradient_map", "check_input_x_gradient", "check_smoothgrad", "double_copy",
    "generic", "outputs_one_by_one", "with_parameters",
]  # fmt: skip

CLOSE = 0.01
_DIRECTIONS = 3
# Of finite differences, as shares of the range of intensities: a short one meets no kink, a long one no rounding.
_STEPS = (1e-8, 1e-6, 1e-4)


def check_gradient_map(explainer: Gradient | Saliency, model: nn.Module, volumes: Tensor) -> str:
    """Compare the gradient with finite differences; see ``Explainer.self_check``."""
    at = generic(volumes)
    if getattr(explainer, "absolute", False):
        signed = with_parameters(explainer, absolute=False).explain(model, at, None)
        own = explainer.explain(model, at, signed.target).relevance
        assert torch.equal(own, signed.relevance.abs()), "the magnitude of the gradient is not that of the gradient"
    else:
        signed = explainer.explain(model, at, None)
    return _compare_slopes(model, at, signed.target, signed.relevance, torch.ones_like(at), explainer.start)


def check_input_x_gradient(explainer: InputXGradient, model: nn.Module, volumes: Tensor) -> str:
    """Compare intensity x gradient with finite differences; see ``Explainer.self_check``."""
    at = generic(volumes)
    found = explainer.explain(model, at, None)
    return _compare_slopes(model, at, found.target, found.relevance, at, explainer.start)


def check_smoothgrad(explainer: SmoothGrad, model: nn.Module, volumes: Tensor) -> str:
    """Compare with the gradient as the noise vanishes, and the statistics with each other."""
    at = generic(volumes)
    with seeded(0):
        still = with_parameters(explainer, statistic="mean", samples=2, noise=1e-7).explain(model, at, None)
        gradient = _gradient(double_copy(model), at.double(), still.target)
        expected = {"saliency": gradient.abs(), "gradient": gradient, "input-x-gradient": gradient * at.double()}
        text = assert_close(still.relevance, expected[explainer.of], "the gradient in double precision")
    samples = max(2, min(explainer.samples, 4))
    maps = []
    for statistic in ("mean", "mean-square", "variance"):
        with seeded(0):
            found = with_parameters(explainer, statistic=statistic, samples=samples).explain(
                model, volumes, still.target
            )
        maps.append(found.relevance.double())
    mean, square, variance = maps
    scale = float(square.max())
    difference = float((square - mean**2 - variance).abs().max())
    assert difference <= 1e-4 * scale, f"mean of squares - square of mean differs from the variance by {difference:.3g}"
    return f"without noise {text}"


def assert_close(found: Tensor, expected: Tensor, what: str) -> str:
    """Assert that maps [N, ...] agree with what was computed by other means, and say by how much.

    Raises:
        AssertionError: The norm of a map's difference exceeds 1 % of the norm of what is expected.
    """
    difference = (found.double() - expected).flatten(1).norm(dim=1)
    norm = expected.flatten(1).norm(dim=1)
    worst = float((difference / norm.clamp(min=torch.finfo(torch.float64).tiny)).max())
    assert worst <= CLOSE, f"the map differs from {what} by {100 * worst:.3g} %"
    return f"equals {what}: off by {worst:.1e}"


def double_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the network in double precision and evaluation mode.

    Raises:
        InputError: It cannot be copied.
    """
    try:
        return deepcopy(unwrapped(model)).double().eval().requires_grad_(False)
    except Exception as error:  # whatever the user's classes raise
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"The check needs a copy of the network, and copying fails ({reason}).") from error


def generic(volumes: Tensor) -> Tensor:
    """Return the volumes with 1 % noise: at a point without ties, where the network has one derivative."""
    noise = torch.randn(volumes.shape, generator=torch.Generator().manual_seed(0)).to(volumes)
    width = intensity_range(volumes)
    return volumes + 0.01 * torch.where(width > 0, width, torch.ones_like(width)) * noise


def with_parameters(explainer: Any, **values: Any) -> Any:
    """Return the explainer with other parameters."""
    twin = copy(explainer)
    for name, value in values.items():
        setattr(twin, name, value)
    return twin


def outputs_one_by_one(model: nn.Module, volumes: Tensor, target: Tensor) -> Tensor:
    """Return the explained outputs [N] of a network in double precision, one volume at a time."""
    return _all_outputs(model, volumes).gather(1, target[:, None])[:, 0]


def _all_outputs(model: nn.Module, volumes: Tensor) -> Tensor:
    with torch.no_grad():
        rows: Sequence[Tensor] = [model(one.double().clone()) for one in volumes.split(1)]
    return torch.cat(list(rows))


def _gradient(model: nn.Module, volumes: Tensor, target: Tensor) -> Tensor:
    with explaining(model, volumes, target) as explained:
        (gradient,) = torch.autograd.grad(
            explained.forward(explained.volumes).gather(1, explained.target[:, None]).sum(), explained.volumes
        )
    return gradient


def _compare_slopes(
    model: nn.Module, at: Tensor, target: Tensor, relevance: Tensor, factor: Tensor, start: Start
) -> str:
    """Compare sum(relevance * d) with the slope of the output in the direction factor * d, for random d [N, ...].

    The slope is multiplied by the value that the map begins with.
    """
    exact = double_copy(model)
    begun = starting_values(_all_outputs(exact, at), target, start)
    width = intensity_range(at).amax().double().clamp(min=1e-6)
    norm = relevance.double().flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for _ in range(_DIRECTIONS):
        direction = torch.randn(at.shape, generator=generator, dtype=torch.float64).to(at.device)
        # The projection of a wrong map on a random direction is off by about the norm of what is wrong.
        projected = (relevance.double() * direction).flatten(1).sum(1)
        off = []
        for step in (share * width for share in _STEPS):
            move = step * factor.double() * direction
            ahead, behind = (outputs_one_by_one(exact, at + sign * move, target) for sign in (1, -1))
            slope = begun * (ahead - behind) / (2 * step)
            off.append((slope - projected).abs() / norm)
        worst = max(worst, float(torch.stack(off).amin(0).max()))
    assert worst <= CLOSE, f"the map differs from finite differences by {100 * worst:.3g} % of its norm"
    return f"equals finite differences: off by {worst:.1e}"
