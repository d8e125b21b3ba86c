"""The rules of layer-wise relevance propagation for layers with weights, in float64, as sums of contributions.

A layer computes ``z_j = sum_i z_ij + b_j`` from the contributions ``z_ij = w_ij x_i``. The relevance of its inputs is
``R_i = sum_j share_ij R_j`` (Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2017, 2019):

========== =======================================================================================================
epsilon    ``z_ij / (z_j + eps sign z_j)``
plus       ``max(z_ij, 0) / (sum_i max(z_ij, 0) + max(b_j, 0))``
alpha-beta ``alpha`` times the same, less ``beta`` times its mirror image for negative contributions
gamma      ``(z_ij + gamma max(z_ij, 0)) / (the sum of that, with the bias)`` where ``z_j > 0``, else with ``min``
box        ``(z_ij - low max(w_ij, 0) - high min(w_ij, 0)) / (the sum of that)``
flat       the same share for each connection
========== =======================================================================================================

Contributions of a sign come from two layers with clamped weights: ``max(z_ij, 0) = max(w_ij, 0) max(x_i, 0) +
min(w_ij, 0) min(x_i, 0)``. Their sums over i are outputs of those layers, and sums over j of ``w_ij s_j`` are their
vector-Jacobian products, so that no matrix needs to be written out. ``test_zoo_reference.py`` compares this with dense
Jacobian matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STABILIZER = 1e-9


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        linear: From inputs and weights to outputs without bias; linear in either.
        weight: Its weights.
        bias: Broadcasts against its outputs; None: none.
    """

    linear: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Rules:
    """Which rule convolutions have, and its settings; dense layers have epsilon."""

    composite: str
    epsilon: float = 1e-9
    gamma: float = 0.25
    low: float = 0.0
    high: float = 0.0
    ignore_bias: bool = False

    def convolution(self, layer: Layer, x: Tensor, relevance: Tensor, first: bool) -> Tensor:
        """Return the relevance of a convolution's input."""
        name = self.composite.removeprefix("epsilon-")
        if self.ignore_bias:
            layer = Layer(layer.linear, layer.weight, None)
        if name == "epsilon":
            return epsilon(layer, x, relevance, self.epsilon)
        if first and name.endswith("-flat"):
            return flat(layer, x, relevance)
        if first and name.endswith("-box"):
            return box(layer, x, relevance, self.low, self.high)
        name = name.removesuffix("-flat").removesuffix("-box")
        if name == "gamma":
            return gamma(layer, x, relevance, self.gamma)
        alpha, beta = {"plus": (1, 0), "alpha1-beta0": (1, 0), "alpha2-beta1": (2, 1)}[name]
        return alpha_beta(layer, x, relevance, alpha, beta)


def stabilised(z: Tensor, by: float = STABILIZER) -> Tensor:
    """Return values moved away from zero."""
    return z + by * torch.where(z >= 0, 1.0, -1.0)


def vector_jacobian(function: Callable[[Tensor], Tensor], x: Tensor, vector: Tensor) -> Tensor:
    """Return ``sum_j vector_j d function_j / d x_i``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (product,) = torch.autograd.grad(function(x), x, vector)
    return product


def contributed(layer: Layer, x: Tensor, weight: Tensor, shares: Tensor) -> Tensor:
    """Return ``sum_j z_ij s_j`` for the contributions of given weights."""
    return x * vector_jacobian(lambda v: layer.linear(v, weight), x, shares)


def epsilon(layer: Layer, x: Tensor, relevance: Tensor, by: float) -> Tensor:
    """Return the input's relevance by the epsilon rule."""
    z = layer.linear(x, layer.weight)
    z = z if layer.bias is None else z + layer.bias
    return contributed(layer, x, layer.weight, relevance / stabilised(z, by))


def alpha_beta(layer: Layer, x: Tensor, relevance: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the input's relevance by the alpha-beta rule; 1 and 0 is z+."""
    result = alpha * _one_sign(layer, x, relevance, 1)
    return result - beta * _one_sign(layer, x, relevance, -1) if beta else result


def gamma(layer: Layer, x: Tensor, relevance: Tensor, factor: float) -> Tensor:
    """Return the input's relevance by the gamma rule for inputs of either sign."""
    z = layer.linear(x, layer.weight)
    z = z if layer.bias is None else z + layer.bias
    result = torch.zeros_like(x)
    for sign in (1, -1):
        pairs, bias = _of_sign(layer, x, sign)
        total = z + factor * (sum(layer.linear(v, w) for v, w in pairs) + bias)
        shares = torch.where((z > 0) == (sign > 0), relevance / stabilised(total), 0.0)
        result += contributed(layer, x, layer.weight, shares)
        result += factor * sum(contributed(layer, v, w, shares) for v, w in pairs)
    return result


def box(layer: Layer, x: Tensor, relevance: Tensor, low: float, high: float) -> Tensor:
    """Return the input's relevance by the box rule (z^B)."""
    parts = [
        (x, layer.weight),
        (torch.full_like(x, -low), layer.weight.clamp(min=0)),
        (torch.full_like(x, -high), layer.weight.clamp(max=0)),
    ]
    shares = relevance / stabilised(sum(layer.linear(v, w) for v, w in parts))
    return sum(contributed(layer, v, w, shares) for v, w in parts)


def flat(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
    """Return the input's relevance, shared equally among the inputs that are connected."""
    ones, connected = torch.ones_like(x), torch.ones_like(layer.weight)
    return contributed(layer, ones, connected, relevance / stabilised(layer.linear(ones, connected)))


def _of_sign(layer: Layer, x: Tensor, sign: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Return inputs and weights whose contributions together are those of one sign, and the bias of that sign."""

    def clamped(values: Tensor, to: int) -> Tensor:
        return values.clamp(min=0) if to > 0 else values.clamp(max=0)

    bias = torch.zeros(()).to(x) if layer.bias is None else clamped(layer.bias, sign)
    pairs = [(clamped(x, 1), clamped(layer.weight, sign)), (clamped(x, -1), clamped(layer.weight, -sign))]
    return pairs, bias


def _one_sign(layer: Layer, x: Tensor, relevance: Tensor, sign: int) -> Tensor:
    pairs, bias = _of_sign(layer, x, sign)
    shares = relevance / stabilised(sum(layer.linear(v, w) for v, w in pairs) + bias)
    return sum(contributed(layer, v, w, shares) for v, w in pairs)
