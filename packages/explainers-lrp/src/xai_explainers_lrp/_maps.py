"""Layers as linear maps: applied to any input with any weights, and their transposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core.canonical import Part
from xai_core.canonical.operations import Affine, Biased

__all__ = ["LinearMap", "map_of"]


class LinearMap(ABC):
    """A layer ``f(x) = A(w) x + b``.

    Attributes:
        weight: w; None for a layer without.
        bias: b, of a shape that broadcasts to the output, or None.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None

    @abstractmethod
    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return A(weight) x, a new tensor."""

    @abstractmethod
    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        """Return A(weight)^T s, a new tensor of the shape of ``x``."""


class _Convolution(LinearMap):
    def __init__(self, layer: nn.Module) -> None:
        inner = cast(Any, layer.layer if isinstance(layer, Biased) else layer)
        self.weight = inner.weight.detach()
        if isinstance(layer, Biased):
            self.bias = layer.bias
        elif inner.bias is not None:
            self.bias = inner.bias.detach().reshape(1, -1, *(1,) * len(inner.kernel_size))
        transposed = inner.transposed
        self._settings = (inner.stride, inner.padding, inner.dilation, transposed, inner.output_padding, inner.groups)

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        result: Tensor = torch.ops.aten.convolution(x, weight, None, *self._settings)
        return result

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        only_input = [True, False, False]
        result: Tensor = torch.ops.aten.convolution_backward(s, x, weight, None, *self._settings, only_input)[0]
        return result


class _Dense(LinearMap):
    def __init__(self, layer: nn.Module) -> None:
        inner = cast(nn.Linear, layer.layer if isinstance(layer, Biased) else layer)
        self.weight = inner.weight.detach()
        bias = layer.bias if isinstance(layer, Biased) else inner.bias
        self.bias = None if bias is None else bias.detach()

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return F.linear(x, cast(Tensor, weight))

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        return s @ cast(Tensor, weight)


class _Elementwise(LinearMap):
    """Batch normalisation, or a constant that is added."""

    def __init__(self, layer: nn.Module, dimensions: int) -> None:
        if isinstance(layer, Affine):
            self.weight = torch.as_tensor(layer.factor, dtype=layer.constant.dtype, device=layer.constant.device)
            self.bias = layer.constant
            return
        norm = cast(nn.BatchNorm3d, layer)
        mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = (var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        shift = (0 if norm.bias is None else norm.bias) - mean * scale
        shape = (1, -1, *(1,) * (dimensions - 2))
        self.weight, self.bias = scale.detach().reshape(shape), shift.detach().reshape(shape)

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x * cast(Tensor, weight)

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        return (s * cast(Tensor, weight)).sum_to_size(x.shape)


class _Fixed(LinearMap):
    """A layer without parameters: pooling, means, interpolation."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        result: Tensor = self._layer(x)
        return result

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (result,) = torch.autograd.grad(self._layer(leaf), leaf, s)
        return result


def map_of(layer: nn.Module, part: Part, dimensions: int) -> LinearMap:
    """Return a layer as a linear map.

    Args:
        layer: Of a canonical network.
        part: Convolution, dense, affine or average.
        dimensions: Of its input, with batch and channels.
    """
    if part is Part.CONVOLUTION:
        return _Convolution(layer)
    if part is Part.DENSE:
        return _Dense(layer)
    return _Elementwise(layer, dimensions) if part is Part.AFFINE else _Fixed(layer)
