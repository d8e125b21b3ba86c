"""Saliency, input x gradient and integrated gradients on Captum."""

from __future__ import annotations

from typing import Literal

import captum.attr
import torch
from torch import Tensor, nn

from xai_core import Attribution, ConfigError
from xai_core.engine.background import background_value

from ._forward import as_attribution, differentiating, explaining

Baseline = Literal["background", "minimum", "zero"] | float

__all__ = ["input_x_gradient", "integrated_gradients", "saliency"]

_INPUT = "the volumes"


def saliency(model: nn.Module, volumes: Tensor, target: Tensor | None, *, absolute: bool) -> Attribution:
    """Return the gradient, or its magnitude; see ``plugin.Saliency``."""
    with explaining(model, volumes, target) as explained, differentiating(_INPUT):
        method = captum.attr.Saliency(explained.forward)
        return as_attribution(explained, method.attribute(explained.volumes, target=explained.target, abs=absolute))


def input_x_gradient(model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    """Return intensity x gradient; see ``plugin.InputXGradient``."""
    with explaining(model, volumes, target) as explained, differentiating(_INPUT):
        method = captum.attr.InputXGradient(explained.forward)
        return as_attribution(explained, method.attribute(explained.volumes, target=explained.target))


def integrated_gradients(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    steps: int,
    baseline: Baseline,
    internal_batch_size: int,
) -> Attribution:
    """Return the integrated gradients from ``baseline``; see ``plugin.IntegratedGradients``."""
    with explaining(model, volumes, target) as explained, differentiating(_INPUT):
        inputs = explained.volumes.detach()
        start = _baseline(inputs, baseline)
        with torch.no_grad():
            # One at a time, so that the bound on memory holds for large batches too.
            outputs = torch.cat([explained.forward(one) for one in torch.split(start, 1)])
        start_output = outputs.gather(1, explained.target[:, None])[:, 0]
        method = captum.attr.IntegratedGradients(explained.forward)
        relevance = torch.cat(
            [
                method.attribute(
                    inputs[i : i + 1],
                    baselines=start[i : i + 1],
                    target=int(explained.target[i]),
                    n_steps=steps,
                    method="gausslegendre",
                    internal_batch_size=internal_batch_size,
                )
                for i in range(len(inputs))
            ]
        )
        difference = explained.output.double() - start_output.double()
        delta = relevance.double().flatten(1).sum(1) - difference
        details = [
            {"baseline_output": float(start_output[i]), "convergence_delta": float(delta[i])}
            for i in range(len(inputs))
        ]
        return as_attribution(explained, relevance, details)


def _baseline(volumes: Tensor, baseline: Baseline) -> Tensor:
    """Return the start of the path, [N, C, D, H, W]."""
    if baseline == "background":
        return background_value(volumes).expand_as(volumes)
    if baseline == "minimum":
        return volumes.amin(dim=(2, 3, 4), keepdim=True).expand_as(volumes)
    if isinstance(baseline, str) and baseline != "zero":
        raise ConfigError(f"baseline: {baseline!r} is not one of background, minimum, zero or a number.")
    return torch.full_like(volumes, 0.0 if baseline == "zero" else float(baseline))
