"""Layers as linear maps: applied to any input with any weights, and their transposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core.canonical import Part
from xai_core.canonical.operations import Affine, Biased

from ._phases import transpose_by_phases

__all__ = ["Half", "LinearMap", "Terms", "in_slabs", "map_of", "whole"]
_SLAB = 16  # slices


def in_slabs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same few slices of each tensor [N, C, D, ...]: what is made of them stays in the processor's cache."""
    axis = 2 if tensors[0].ndim > 2 else 0
    return zip(*(tensor.split(_SLAB, axis) for tensor in tensors), strict=True)


@dataclass(frozen=True)
class Half:
    """What of a tensor is positive, or negative, made when it is needed: it is as large as the tensor."""

    x: Tensor
    positive: bool

    def tensor(self) -> Tensor:
        """Return it, zero elsewhere."""
        return self._of(self.x)

    def weigh(self, values: Tensor) -> Tensor:
        """Multiply values of its shape by it, in place."""
        for part, x in in_slabs(values, self.x):
            part.mul_(self._of(x))
        return values

    def _of(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) if self.positive else x.clamp(max=0)


Terms = list[tuple[Tensor | Half, Tensor | None]]


def whole(part: Tensor | Half) -> Tensor:
    """Return a term's input as a tensor."""
    return part.tensor() if isinstance(part, Half) else part


# Convolutions of fewer channels leave the vector units idle: several are done at once, side by side.
_FEW_CHANNELS = 2
# To the input of a convolution without stride and at most so many output channels, one with the turned kernel is two to
# three times faster than PyTorch's transpose.
_NARROW = 8


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

    def apply_all(self, terms: Terms) -> Tensor:
        """Return the sum of ``apply`` over (x, weight)."""
        part, weight = terms[0]
        result = self.apply(whole(part), weight)
        for part, weight in terms[1:]:
            result.add_(self.apply(whole(part), weight))
        return result

    def weigh_all(self, s: Tensor, terms: Terms) -> Tensor:
        """Return the sum of ``x * transpose(s)`` over (x, weight)."""
        shares = (self._weighed(s, part, weight) for part, weight in terms)
        result = next(shares)
        for share in shares:
            result.add_(share)
        return result

    def _weighed(self, s: Tensor, part: Tensor | Half, weight: Tensor | None) -> Tensor:
        if isinstance(part, Half):
            return part.weigh(self.transpose(s, part.x, weight))
        return self.transpose(s, part, weight).mul_(part)


class _Convolution(LinearMap):
    def __init__(self, layer: nn.Module, dimensions: int) -> None:
        inner = cast(Any, layer.layer if isinstance(layer, Biased) else layer)
        self.weight = inner.weight.detach()
        if isinstance(layer, Biased):
            self.bias = layer.bias
        elif inner.bias is not None:
            self.bias = inner.bias.detach().reshape(-1, *(1,) * len(inner.kernel_size))
        # PyTorch's layers take a tensor without the axis of the batch too.
        self._batched = dimensions == len(inner.kernel_size) + 2
        transposed = inner.transposed
        self._settings = (inner.stride, inner.padding, inner.dilation, transposed, inner.output_padding, inner.groups)
        plain = not transposed and inner.groups == 1
        self._few = plain and self._batched and inner.in_channels <= _FEW_CHANNELS
        self._by_phases = self._few and set(inner.dilation) == {1} and min(inner.stride) > 1
        reach = [d * (k - 1) for d, k in zip(inner.dilation, inner.kernel_size, strict=True)]
        self._rest = [r - p for r, p in zip(reach, inner.padding, strict=True)]  # padding of the convolution back
        narrow = plain and self._batched and inner.out_channels <= _NARROW and set(inner.stride) == {1}
        self._turned = narrow and min(self._rest) >= 0
        self._channels_last = self.weight.ndim == 5 and self.weight.stride(1) == 1

    def _laid_out(self, weight: Tensor | None) -> Tensor | None:
        """Return weights in the layer's own order in memory, which decides that of the result."""
        if not self._channels_last or weight is None or weight.stride(1) == 1:
            return weight
        return weight.clone(memory_format=torch.channels_last_3d)

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        given = x if self._batched else x[None]
        result: Tensor = torch.ops.aten.convolution(given, self._laid_out(weight), None, *self._settings)
        return result if self._batched else result[0]

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        if self._by_phases and weight is not None:
            return transpose_by_phases(s, weight, x.shape[2:], self._settings[0], self._settings[1])
        if self._turned and weight is not None:
            turned = self._laid_out(weight.flip(list(range(2, weight.ndim))).transpose(0, 1).contiguous())
            ones, zeros = [1] * len(self._rest), [0] * len(self._rest)
            back: Tensor = torch.ops.aten.convolution(
                s, turned, None, ones, self._rest, self._settings[2], False, zeros, 1
            )
            return back
        only_input = [True, False, False]
        given = (s, x) if self._batched else (s[None], x[None])
        result: Tensor = torch.ops.aten.convolution_backward(*given, weight, None, *self._settings, only_input)[0]
        return result if self._batched else result[0]

    def apply_all(self, terms: Terms) -> Tensor:
        return self.apply(*_side_by_side(terms)) if self._few and len(terms) > 1 else super().apply_all(terms)

    def weigh_all(self, s: Tensor, terms: Terms) -> Tensor:
        if not self._few or len(terms) == 1:
            return super().weigh_all(s, terms)
        x, weight = _side_by_side(terms)
        weighed: Tensor = self.transpose(s, x, weight).mul_(x)
        return weighed.reshape(len(x), len(terms), -1, *x.shape[2:]).sum(1)


def _side_by_side(terms: Terms) -> tuple[Tensor, Tensor]:
    """Return all inputs and all weights along the axis of input channels: one convolution then adds them up."""
    return torch.cat([whole(part) for part, _ in terms], 1), torch.cat([cast(Tensor, weight) for _, weight in terms], 1)


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
            (result,) = torch.autograd.grad((self._layer(leaf) * s).sum(), leaf)
        return result.contiguous()  # that of a sum is one number, shown at every place


def map_of(layer: nn.Module, part: Part, dimensions: int) -> LinearMap:
    """Return a layer as a linear map.

    Args:
        layer: Of a canonical network.
        part: Convolution, dense, affine or average.
        dimensions: Of its input, with batch and channels.
    """
    if part is Part.CONVOLUTION:
        return _Convolution(layer, dimensions)
    if part is Part.DENSE:
        return _Dense(layer)
    return _Elementwise(layer, dimensions) if part is Part.AFFINE else _Fixed(layer)
