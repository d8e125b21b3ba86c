"""Which modules have a rule, and of what sort each is.

Everything that is not listed here is refused: a layer whose gradient is taken for its relevance by mistake
gives a map that looks right and is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from .elementwise import is_activation

__all__ = ["Affine", "Biased", "FunctionModule", "Gated", "Part", "Scale", "Sum", "is_gate_module", "known_part"]


class Part(Enum):
    """What a module is to rules for single layers."""

    CONVOLUTION = "convolution"
    DENSE = "dense layer"
    SUM = "sum"
    # Fixed weights, none negative: pooling, means, linear interpolation.
    AVERAGE = "average"
    # Elementwise, of the sign of its input and zero at zero: the relevance passes unchanged.
    ACTIVATION = "activation"
    # Each output is one of the inputs, or zero: the gradient hands the relevance to the right one.
    SELECTION = "selection"
    # A factor and a constant for each channel or element: batch normalisation in evaluation mode that could not be
    # merged into the layer before it, or a constant that is added.
    AFFINE = "affine layer"
    # A constant factor: the relevance passes unchanged.
    SCALE = "scaling"
    # A signal times a gate (squeeze and excitation): the signal takes the relevance.
    GATED = "gate"
    # No rule; the caller has said that relevance passes it unchanged.
    PASSED = "passed"
    # Does nothing in evaluation mode.
    IDENTITY = "identity"


_MODULES: Mapping[Part, tuple[type[nn.Module], ...]] = {
    Part.CONVOLUTION: (
        nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    ),
    Part.DENSE: (nn.Linear,),
    Part.AVERAGE: (
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
        nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    ),
    Part.ACTIVATION: (
        nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.Tanh, nn.Softsign, nn.SiLU,
        nn.GELU, nn.Mish, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink,
    ),
    Part.SELECTION: (
        nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
        nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
        nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d,
        nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
        nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
        nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d,
        nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, nn.ChannelShuffle,
    ),
    Part.AFFINE: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    Part.IDENTITY: (
        nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    ),
}  # fmt: skip

_GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softmax2d)
_NEAREST = ("nearest", "nearest-exact")


def known_part(module: nn.Module) -> Part | None:
    """Return what a module is, or None for one without a rule.

    A subclass counts only if it computes what its base does. A module of an unknown class without weights counts as
    an activation if it proves to be one.
    """
    if "forward" in vars(module):
        return None
    for part, types in _MODULES.items():
        for base in types:
            if isinstance(module, base) and _same_methods(type(module), base):
                return part
    if isinstance(module, nn.Upsample) and _same_methods(type(module), nn.Upsample):
        return _interpolation(module.mode)
    if isinstance(module, nn.Hardtanh) and _same_methods(type(module), nn.Hardtanh):
        return Part.ACTIVATION if module.min_val <= 0 <= module.max_val else None
    if type(module).__module__.startswith("torch.nn.") or _is_made_of_known(module):
        return None
    return Part.ACTIVATION if is_activation(module) else None


def _is_made_of_known(module: nn.Module) -> bool:
    """Whether a module holds others, all with a rule: it is better looked into, a ReLU is more than an activation."""
    inner = [each for each in module.modules() if each is not module and not any(True for _ in each.children())]
    return bool(inner) and all(known_part(each) is not None for each in inner)


def _interpolation(mode: str) -> Part | None:
    if mode in _NEAREST:
        return Part.SELECTION
    return Part.AVERAGE if mode in ("linear", "bilinear", "trilinear") else None


def is_gate_module(module: nn.Module) -> bool:
    """Whether a module's output lies between 0 and 1 and can gate a signal."""
    return isinstance(module, _GATES)


def _same_methods(cls: type[nn.Module], base: type[nn.Module]) -> bool:
    return all(getattr(cls, name, None) is getattr(base, name, None) for name in ("forward", "_conv_forward"))


class Sum(nn.Module):
    """Two tensors, each times a number, added; one may be broadcast.

    Args:
        factors: 1 and 1 for a sum, 1 and -1 for a difference.
    """

    def __init__(self, factors: tuple[float, float] = (1, 1)) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the sum."""
        a, b = self.factors
        return (first if a == 1 else a * first) + (second if b == 1 else b * second)


class Gated(nn.Module):
    """A signal times a gate."""

    def forward(self, signal: Tensor, gate: Tensor) -> Tensor:
        """Return the product."""
        return signal * gate


def _constant(value: Tensor | float) -> Tensor:
    """Return a constant as a tensor; a number keeps its digits and, having no axes, leaves others their data type."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


class Scale(nn.Module):
    """A tensor times a constant.

    Args:
        factor: A number, or a tensor that broadcasts.
    """

    factor: Tensor

    def __init__(self, factor: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("factor", _constant(factor))

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return x * self.factor


class Affine(nn.Module):
    """A tensor times a number, and a constant added.

    Args:
        factor: A number.
        constant: A number, or a tensor that broadcasts.
    """

    constant: Tensor

    def __init__(self, factor: float, constant: Tensor | float) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("constant", _constant(constant))

    def forward(self, x: Tensor) -> Tensor:
        """Return the value."""
        return (x if self.factor == 1 else self.factor * x) + self.constant


class FunctionModule(nn.Module):
    """A function with its settings as a module.

    Args:
        function: Called with the tensor and the settings.
        args: Further positional arguments.
        kwargs: Keyword arguments.
    """

    def __init__(self, function: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(x, *self.args, **self.kwargs)


class Biased(nn.Module):
    """A layer without bias, and a bias that may differ from place to place.

    Args:
        layer: A convolution or linear layer without bias.
        bias: [1, outputs, ...], of the shape of one output.
    """

    bias: Tensor

    def __init__(self, layer: nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output plus the bias."""
        output: Tensor = self.layer(x)
        return output + self.bias
