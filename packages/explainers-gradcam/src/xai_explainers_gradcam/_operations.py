"""What an operation of a canonical network is to rules that look at one operation at a time."""

from __future__ import annotations

from enum import Enum
from typing import cast

import torch
from torch import Tensor, fx, nn

from xai_core.canonical import Canonical, Part, canonical_form

__all__ = ["Sort", "canonical_copy", "named", "sort_of"]


class Sort(Enum):
    """Sorts of operations."""

    # Outputs are weighted sums of the inputs and constants; also what moves, copies or drops values.
    AFFINE = "affine"
    RELU = "ReLU"
    # Any other function of each element alone.
    ELEMENTWISE = "elementwise function"
    MAX_POOL = "max pooling"
    # Of two tensors that both depend on the volume.
    PRODUCT = "product"
    # Mixes elements in a way that is not affine, without an activation: normalisation by statistics, a maximum.
    MIXING = "normalisation or maximum"


_AFFINE_PARTS = (Part.CONVOLUTION, Part.DENSE, Part.SUM, Part.AVERAGE, Part.AFFINE, Part.SCALE)
# The way to a gate keeps the network's own modules, which have no part.
_AFFINE_MODULES = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.Identity, nn.Flatten, nn.Unflatten,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Upsample,
)  # fmt: skip
_MAX_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_MIXING_MODULES = (
    nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm,
    nn.Softmax, nn.Softmax2d,
)  # fmt: skip
_ELEMENTWISE_MODULES = (
    nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus, nn.Tanh, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.ELU,
    nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish, nn.Hardtanh, nn.Softsign,
)  # fmt: skip

_AFFINE_NAMES = frozenset([
    "add", "sub", "neg", "rsub", "mean", "sum", "linear", "dropout", "conv1d", "conv2d", "conv3d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "flatten", "ravel", "reshape", "reshape_as", "view", "view_as", "permute",
    "transpose", "swapaxes", "swapdims", "movedim", "squeeze", "unsqueeze", "t", "contiguous", "clone",
    "expand", "expand_as", "repeat", "broadcast_to", "tile", "narrow", "select", "flip", "roll",
    "unflatten", "index_select", "cat", "concat", "concatenate", "stack", "chunk", "split", "tensor_split",
    "unbind", "getitem", "pad", "channel_shuffle", "pixel_shuffle", "to", "float", "double", "type_as",
    "getattr", "size",
])  # fmt: skip
_ELEMENTWISE_NAMES = frozenset([
    "sigmoid", "hardsigmoid", "logsigmoid", "softplus", "tanh", "leaky_relu", "relu6", "elu", "selu",
    "celu", "silu", "gelu", "mish", "hardswish", "hardtanh", "softsign", "exp", "clamp", "clip", "clamp_max",
])  # fmt: skip
_MIXING_NAMES = frozenset(["amax", "max", "softmax", "group_norm", "layer_norm", "instance_norm"])


def canonical_copy(model: nn.Module, volumes: Tensor) -> Canonical:
    """Return the canonical form of a network, also with layers that have no rule for relevance.

    Whether a layer can be used is for the explainer to say, by its sort. It is kept and shared: not to be changed.

    Raises:
        InputError: There is none, or operations have no rule.
    """
    return canonical_form(model, volumes, passed=("*",))


def named(canonical: Canonical, node: fx.Node) -> str:
    """Return an operation in the user's names: the module and its class, or the function."""
    if node.op != "call_module":
        return _function_name(node)
    name = cast(str, node.target)
    kind = type(canonical.network.get_submodule(name)).__name__
    own = canonical.names.get(name, name.removeprefix("network.").split("_repeated_")[0])
    return f"{own} ({kind})"


def sort_of(canonical: Canonical, node: fx.Node) -> Sort | None:
    """Return what an operation of a canonical network is; None where it is of no known sort."""
    if node.op == "call_module":
        name = cast(str, node.target)
        module, part = canonical.network.get_submodule(name), canonical.parts.get(name)
        # On the way to a gate modules have no part: one of the user's own is what others of its class are.
        return _sort_of_module(module, part or _part_of_class(canonical, type(module)))
    if node.op in ("placeholder", "output", "get_attr"):
        return Sort.AFFINE
    return _sort_of_function(node)


def _part_of_class(canonical: Canonical, kind: type[nn.Module]) -> Part | None:
    if kind.__module__.startswith("torch.nn."):
        return None
    alike = [part for name, part in canonical.parts.items() if type(canonical.network.get_submodule(name)) is kind]
    return Part.ACTIVATION if Part.ACTIVATION in alike and len(set(alike)) == 1 else None


def _sort_of_module(module: nn.Module, part: Part | None) -> Sort | None:
    if isinstance(module, nn.ReLU) or (part is Part.ACTIVATION and _is_relu(module)):
        return Sort.RELU
    if isinstance(module, _MAX_POOLS):
        return Sort.MAX_POOL
    if part is Part.GATED:
        return Sort.PRODUCT
    if part is Part.ACTIVATION or isinstance(module, _ELEMENTWISE_MODULES):
        return Sort.ELEMENTWISE
    if isinstance(module, _MIXING_MODULES):
        return Sort.MIXING
    if part in _AFFINE_PARTS or isinstance(module, _AFFINE_MODULES) or _moves(module, part):
        return Sort.AFFINE
    return None


def _is_relu(module: nn.Module) -> bool:
    """Whether an activation of any class gives what a ReLU gives: a function as a module, a leak of zero."""
    x = torch.linspace(-9, 9, 2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    try:
        with torch.no_grad():
            return torch.equal(module.forward(x.clone()), x.clamp(min=0))
    except Exception:  # whatever a module raises that wants another input
        return False


def _moves(module: nn.Module, part: Part | None) -> bool:
    """Whether each output is a fixed one of the inputs: a selection by place, not by value."""
    return part is Part.SELECTION and type(module).__module__.startswith("torch.nn.")


def _sort_of_function(node: fx.Node) -> Sort | None:
    name = _function_name(node)
    if name in ("relu", "clamp_min") and all(bound == 0 for bound in (*node.args[1:], *node.kwargs.values())):
        return Sort.RELU
    if name in _AFFINE_NAMES:
        return Sort.AFFINE
    if name in _ELEMENTWISE_NAMES:
        return Sort.ELEMENTWISE
    if name in _MIXING_NAMES:
        return Sort.MIXING
    if name == "mul":
        return Sort.PRODUCT if len(node.all_input_nodes) > 1 else Sort.AFFINE
    if name in ("div", "truediv") and len(node.all_input_nodes) == 1 and isinstance(node.args[0], fx.Node):
        return Sort.AFFINE
    return None


def _function_name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
