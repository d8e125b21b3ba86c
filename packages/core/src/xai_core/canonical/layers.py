"""Layers that a network calls as functions with its own weights, such as ``F.conv3d(x, self.weight)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, fx, nn

from .functions import settings
from .operations import Part

__all__ = ["layer_of"]

_CONVOLUTION = ("weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_NORM = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")

Constant = Callable[[Any], Tensor | float | None]


def layer_of(constant: Constant, name: str | None, node: fx.Node) -> tuple[Part, nn.Module] | None:
    """Return what a function with weights is and the layer that computes it; None if it is no such function.

    Args:
        constant: Gives the value of an argument that does not depend on the volumes, else None.
        name: The function.
        node: Its call.
    """
    if name is None:
        return None
    dimensions = name[-2:-1]
    if name.startswith("conv_transpose"):
        return _convolution(constant, settings(node, _TRANSPOSED), getattr(nn, f"ConvTranspose{dimensions}d"), True)
    if name in ("conv1d", "conv2d", "conv3d"):
        return _convolution(constant, settings(node, _CONVOLUTION), getattr(nn, f"Conv{dimensions}d"), False)
    if name == "linear":
        return _linear(constant, settings(node, ("weight", "bias")))
    if name in ("matmul", "mm"):
        return _product(constant, node)
    if name == "batch_norm":
        return _norm(constant, settings(node, _NORM))
    if name == "prelu":
        return _prelu(constant, settings(node, ("weight",)))
    return None


def _tensor(constant: Constant, value: Any) -> Tensor | None:
    found = constant(value) if isinstance(value, fx.Node) else None
    return found if isinstance(found, Tensor) else None


def _with_weights(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    target = cast(nn.Linear, layer)
    target.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        target.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _convolution(
    constant: Constant, given: dict[str, Any], cls: type[nn.Module], transposed: bool
) -> tuple[Part, nn.Module] | None:
    weight, bias = _tensor(constant, given.pop("weight", None)), _tensor(constant, given.pop("bias", None))
    if weight is None:
        return None
    groups = given.get("groups", 1)
    own, others = weight.shape[0], weight.shape[1] * groups
    channels = (own, others) if transposed else (others, own)
    layer = cls(*channels, tuple(weight.shape[2:]), bias=bias is not None, device="meta", **given)
    return Part.CONVOLUTION, _with_weights(layer, weight, bias)


def _linear(constant: Constant, given: dict[str, Any]) -> tuple[Part, nn.Module] | None:
    weight, bias = _tensor(constant, given.get("weight")), _tensor(constant, given.get("bias"))
    if weight is None or weight.ndim != 2:
        return None
    return _dense(weight, bias)


def _dense(weight: Tensor, bias: Tensor | None) -> tuple[Part, nn.Module]:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return Part.DENSE, _with_weights(layer, weight, bias)


def _product(constant: Constant, node: fx.Node) -> tuple[Part, nn.Module] | None:
    """A product of a tensor's last axis with a matrix of weights."""
    weight = _tensor(constant, node.args[1]) if len(node.args) == 2 else None
    return None if weight is None or weight.ndim != 2 else _dense(weight.t().contiguous(), None)


class _Norm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of tensors of any number of axes, as the function is."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's signature
        pass


def _norm(constant: Constant, given: dict[str, Any]) -> tuple[Part, nn.Module] | None:
    mean, var = _tensor(constant, given.get("running_mean")), _tensor(constant, given.get("running_var"))
    if mean is None or var is None or given.get("training", False):
        return None
    weight, bias = _tensor(constant, given.get("weight")), _tensor(constant, given.get("bias"))
    norm = _Norm(len(mean), eps=given.get("eps", 1e-5), affine=False)
    norm.register_buffer("running_mean", mean.detach())
    norm.register_buffer("running_var", var.detach())
    norm.weight = None if weight is None else nn.Parameter(weight.detach(), requires_grad=False)  # type: ignore[assignment]
    norm.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)  # type: ignore[assignment]
    return Part.AFFINE, norm


def _prelu(constant: Constant, given: dict[str, Any]) -> tuple[Part, nn.Module] | None:
    weight = _tensor(constant, given.get("weight"))
    if weight is None:
        return None
    layer = nn.PReLU(weight.numel(), device="meta")
    return Part.ACTIVATION, _with_weights(layer, weight, None)
