"""Tests LRP on a given network by the law that it must keep: relevance is conserved."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from ._attribute import attribute
from ._settings import Settings

__all__ = ["check"]

_TOLERANCE = 1e-3


def check(model: nn.Module, volumes: Tensor, settings: Settings) -> str:
    """Return how far the sum of relevance is from what it began with, on a copy of the network without biases.

    What z+ and alpha-beta lose at neurons without a contribution of the sign that they ask for is theirs to lose, and
    is told; anything else that is missing is a mistake.

    Raises:
        AssertionError: More than a thousandth is missing.
        InputError: The network is refused.
    """
    if settings.is_original:
        return f"{settings.composite} does not conserve relevance: nothing to test"
    settings = replace(settings, epsilon=min(settings.epsilon, 1e-9), layer_sums=True)
    worst = most_lost = 0.0
    for detail in attribute(without_biases(model), volumes, None, settings).details or ():
        found = detail["conservation"]
        start = max(abs(found["start"]), 1e-30)
        lost = sum(layer.get("lost", 0.0) for layer in found["layers"])
        absorbed = abs(found["absorbed_by_biases"]) + abs(found["absorbed_by_epsilon"])
        worst = max(worst, (abs(found["unexplained"] - lost) + absorbed) / start)
        most_lost = max(most_lost, abs(lost) / start)
    assert worst <= _TOLERANCE, f"without biases relevance misses {worst:.1%} of what it began with"
    but = f", but for {most_lost:.0e} lost by neurons without a positive contribution" if most_lost > _TOLERANCE else ""
    return f"without biases relevance sums to the output: off by {worst:.0e}{but}"


def without_biases(model: nn.Module) -> nn.Module:
    """Return a copy whose layers have no offsets: biases are 0, and batch normalisation maps 0 to 0."""
    copy = deepcopy(model).eval()
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            if name.rsplit(".", 1)[-1] == "bias":
                parameter.zero_()
        for module in copy.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.zero_()
    return copy
