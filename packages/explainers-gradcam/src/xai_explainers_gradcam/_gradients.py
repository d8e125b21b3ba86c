"""The gradient and input x gradient on Captum."""

from __future__ import annotations

import captum.attr
from torch import Tensor, nn

from xai_core import Attribution
from xai_core.engine.requests import Explained, as_attribution, differentiating, explaining

from ._batches import each_volume
from ._starts import Start, start_details, starts_of

__all__ = ["INPUT", "gradient", "input_x_gradient"]

INPUT = "the volumes"


def gradient(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, absolute: bool, start: Start, max_batch: int
) -> Attribution:
    """Return the gradient, or its magnitude; see ``plugin_gradients.Gradient`` and ``Saliency``."""
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        method = captum.attr.Saliency(explained.forward)

        def explain(given: Tensor, index: Tensor) -> Tensor:
            found: Tensor = method.attribute(given.requires_grad_(), target=index, abs=False)
            return found

        relevance = each_volume(explained, explain, max_batch)
        return _started(explained, relevance, start, max_batch, absolute)


def input_x_gradient(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, start: Start, max_batch: int
) -> Attribution:
    """Return intensity x gradient; see ``plugin_gradients.InputXGradient``."""
    with explaining(model, volumes, target) as explained, differentiating(INPUT):
        method = captum.attr.InputXGradient(explained.forward)

        def explain(given: Tensor, index: Tensor) -> Tensor:
            found: Tensor = method.attribute(given.requires_grad_(), target=index)
            return found

        return _started(explained, each_volume(explained, explain, max_batch), start, max_batch)


def _started(
    explained: Explained, relevance: Tensor, start: Start, max_batch: int, absolute: bool = False
) -> Attribution:
    """Return the Attribution of a map that is linear in the value which the way back begins with."""
    if start == "one":
        return as_attribution(explained, relevance.abs() if absolute else relevance)
    starts = starts_of(explained, start, max_batch)
    relevance = relevance * starts.reshape(-1, 1, 1, 1, 1)
    return as_attribution(explained, relevance.abs() if absolute else relevance, start_details(starts, start))
