"""Saliency and input x gradient on Captum."""

from __future__ import annotations

import captum.attr
from torch import Tensor, nn

from xai_core import Attribution
from xai_core.engine.requests import as_attribution, differentiating, explaining

from ._batches import each_volume

__all__ = ["INPUT", "input_x_gradient", "saliency"]

INPUT = "the volumes"


def saliency(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, absolute: bool, max_batch: int
) -> Attribution:
    """Return the gradient, or its magnitude; see ``plugin_gradients.Saliency``."""
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        method = captum.attr.Saliency(explained.forward)

        def explain(given: Tensor, index: Tensor) -> Tensor:
            found: Tensor = method.attribute(given.requires_grad_(), target=index, abs=absolute)
            return found

        return as_attribution(explained, each_volume(explained, explain, max_batch))


def input_x_gradient(model: nn.Module, volumes: Tensor, target: Tensor | None, *, max_batch: int) -> Attribution:
    """Return intensity x gradient; see ``plugin_gradients.InputXGradient``."""
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        method = captum.attr.InputXGradient(explained.forward)

        def explain(given: Tensor, index: Tensor) -> Tensor:
            found: Tensor = method.attribute(given.requires_grad_(), target=index)
            return found

        return as_attribution(explained, each_volume(explained, explain, max_batch))
