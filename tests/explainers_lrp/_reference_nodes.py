"""What each node of autograd's graph computes, from its own record of the forward pass.

A node is known by its name and its saved attributes. ``NODES`` gives for each name what the node is to LRP and the
function that computes its outputs from its inputs. Everything else is unknown and refused by ``_reference``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = Sequence[Tensor | None]
ATEN = torch.ops.aten


class Role(Enum):
    """What a node is to LRP."""

    CONVOLUTION = auto()
    DENSE = auto()
    NORM = auto()  # batch normalisation with stored statistics
    MIX = auto()  # linear, without weights: averages, sums over axes, interpolation
    SUM = auto()  # of two tensors
    PRODUCT = auto()  # of two tensors, one of them a gate
    GATE = auto()  # what makes a factor a gate
    ACTIVATION = auto()  # elementwise, of the sign of its input
    SELECT = auto()  # each output is one of the inputs, or zero
    VIEW = auto()  # the same, and each output is an input: what may stand between a gate and its product


@dataclass(frozen=True)
class Kind:
    """A kind of node.

    Attributes:
        role: What it is to LRP.
        compute: From the node and its inputs (None: absent) to its outputs.
    """

    role: Role
    compute: Callable[[Any, Inputs], Sequence[Tensor]]


class UnknownNodeError(Exception):
    """The reference does not know how relevance passes a node."""


def signed(number: int) -> int:
    """Autograd shows negative integers as unsigned ones of 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def shape_of(node: Any, output: int = 0) -> torch.Size:
    """Return the shape of an output of a node."""
    return torch.Size(node._input_metadata[output].shape)


def convolve(node: Any, x: Tensor, weight: Tensor) -> Tensor:
    """Return the convolution of a node without its bias; linear in either argument."""
    return ATEN.convolution(
        x, weight, None, node._saved_stride, node._saved_padding, node._saved_dilation, node._saved_transposed,
        node._saved_output_padding, node._saved_groups,
    )  # fmt: skip


def over_channels(values: Tensor, ndim: int) -> Tensor:
    """Return values [channels] so that they broadcast against [N, channels, ...]."""
    return values.reshape(1, -1, *[1] * (ndim - 2))


def norm_scale_and_shift(node: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return what a batch normalisation multiplies by and then adds, [channels] each."""
    _, weight, bias = inputs
    mean, var = node._saved_running_mean, node._saved_running_var
    if node._saved_training or mean is None or var is None:
        raise UnknownNodeError("batch normalisation with the statistics of the batch")
    scale = (var + node._saved_eps).rsqrt()
    scale = scale if weight is None else scale * weight
    return scale, (-mean * scale if bias is None else bias - mean * scale)


def _convolution(node: Any, inputs: Inputs) -> list[Tensor]:
    x, weight, bias = inputs
    z = convolve(node, x, weight)
    return [z if bias is None else z + over_channels(bias, z.ndim)]


def _addmm(node: Any, inputs: Inputs) -> list[Tensor]:
    if node._saved_alpha != 1 or node._saved_beta != 1:
        raise UnknownNodeError("addmm with factors")
    bias, x, weight = inputs
    return [bias + x @ weight]


def _norm(node: Any, inputs: Inputs) -> list[Tensor]:
    scale, shift = norm_scale_and_shift(node, inputs)
    x = inputs[0]
    return [x * over_channels(scale, x.ndim) + over_channels(shift, x.ndim)]


def _add(node: Any, inputs: Inputs) -> list[Tensor]:
    first, second = inputs
    if node._saved_alpha != 1 or first is None or second is None:
        raise UnknownNodeError("a sum with a constant or a factor")
    return [first + second]


def _product(node: Any, inputs: Inputs) -> list[Tensor]:
    first, second = inputs
    if first is None or second is None:
        raise UnknownNodeError("a product with a constant")
    return [first * second]


def _max_pool(node: Any, x: Tensor) -> Tensor:
    return F.max_pool3d(
        x, node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_dilation, node._saved_ceil_mode
    )


def _avg_pool(node: Any, x: Tensor) -> Tensor:
    return F.avg_pool3d(
        x, node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_ceil_mode,
        node._saved_count_include_pad, node._saved_divisor_override,
    )  # fmt: skip


def _upsample(node: Any, x: Tensor, function: Any, *settings: Any) -> Tensor:
    scales = (node._saved_scales_d, node._saved_scales_h, node._saved_scales_w)
    return function(x, node._saved_output_size, *settings, *scales)


def _elu(node: Any, x: Tensor) -> Tensor:
    negative = node._saved_alpha * torch.expm1(x * node._saved_input_scale)
    return node._saved_scale * torch.where(x > 0, x, negative)


def _hardtanh(node: Any, x: Tensor) -> Tensor:
    if not node._saved_min_val <= 0 <= node._saved_max_val:
        raise UnknownNodeError("hardtanh that changes signs")
    return x.clamp(node._saved_min_val, node._saved_max_val)


def _cat(node: Any, inputs: Inputs) -> list[Tensor]:
    if any(x is None for x in inputs):
        raise UnknownNodeError("a constant is concatenated")
    join = torch.stack if node.name() == "StackBackward0" else torch.cat
    return [join(list(inputs), signed(node._saved_dim))]


def _dims(node: Any) -> list[int]:
    return [signed(dim) for dim in node._saved_dim]


def _slice(node: Any, x: Tensor) -> Tensor:
    index = slice(signed(node._saved_start), signed(node._saved_end), node._saved_step)
    return x[(slice(None),) * (signed(node._saved_dim) % x.ndim) + (index,)]


def _one(function: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Inputs], list[Tensor]]:
    return lambda node, inputs: [function(node, inputs[0])]


def _reshape(node: Any, x: Tensor) -> Tensor:
    return x.reshape(shape_of(node))


_ONE_INPUT: dict[Role, dict[str, Callable[[Any, Tensor], Tensor]]] = {
    Role.MIX: {
        "MeanBackward1": lambda n, x: x.mean(_dims(n), n._saved_keepdim),
        "SumBackward1": lambda n, x: x.sum(_dims(n), n._saved_keepdim),
        "AvgPool3DBackward0": _avg_pool,
        "AdaptiveAvgPool3DBackward0": lambda n, x: F.adaptive_avg_pool3d(x, shape_of(n)[-3:]),
        "UpsampleTrilinear3DBackward0": lambda n, x: _upsample(
            n, x, ATEN.upsample_trilinear3d, n._saved_align_corners
        ),
        "UpsampleNearest3DBackward0": lambda n, x: _upsample(n, x, ATEN.upsample_nearest3d),
    },
    Role.GATE: {
        "SigmoidBackward0": lambda _, x: torch.sigmoid(x),
        "HardsigmoidBackward0": lambda _, x: ((x + 3) / 6).clamp(0, 1),
        "SoftmaxBackward0": lambda n, x: x.softmax(signed(n._saved_dim)),
    },
    Role.ACTIVATION: {
        "ReluBackward0": lambda _, x: x.clamp(min=0),
        "LeakyReluBackward0": lambda n, x: torch.where(x > 0, x, n._saved_negative_slope * x),
        "EluBackward0": _elu,
        "HardtanhBackward0": _hardtanh,
        "SiluBackward0": lambda _, x: x * torch.sigmoid(x),
        "HardswishBackward0": lambda _, x: x * ((x + 3) / 6).clamp(0, 1),
        "GeluBackward0": lambda n, x: F.gelu(x, approximate=n._saved_approximate),
        "MishBackward0": lambda _, x: x * torch.tanh(F.softplus(x)),
        "TanhBackward0": lambda _, x: torch.tanh(x),
    },
    Role.SELECT: {
        "MaxPool3DWithIndicesBackward0": _max_pool,
        "AdaptiveMaxPool3DBackward0": lambda n, x: F.adaptive_max_pool3d(x, shape_of(n)[-3:]),
        # The value is not recorded; if it is not zero, the replayed output differs from the network's.
        "ConstantPadNdBackward0": lambda n, x: F.pad(x, [signed(size) for size in n._saved_pad]),
        "SliceBackward0": _slice,
        "SelectBackward0": lambda n, x: x.select(signed(n._saved_dim), signed(n._saved_index)),
    },
    Role.VIEW: {
        **dict.fromkeys(
            (
                "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0",
                "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2",
            ),
            _reshape,
        ),
        "ExpandBackward0": lambda n, x: x.expand(shape_of(n)),
        "PermuteBackward0": lambda n, x: x.permute([signed(dim) for dim in n._saved_dims]),
        "TransposeBackward0": lambda n, x: x.transpose(signed(n._saved_dim0), signed(n._saved_dim1)),
        "TBackward0": lambda _, x: x.t(),
        "CloneBackward0": lambda _, x: x,
        "AliasBackward0": lambda _, x: x,
    },
}  # fmt: skip

NODES: dict[str, Kind] = {
    **{name: Kind(role, _one(f)) for role, functions in _ONE_INPUT.items() for name, f in functions.items()},
    "ConvolutionBackward0": Kind(Role.CONVOLUTION, _convolution),
    "AddmmBackward0": Kind(Role.DENSE, _addmm),
    "MmBackward0": Kind(Role.DENSE, lambda _, inputs: [inputs[0] @ inputs[1]]),
    "NativeBatchNormBackward0": Kind(Role.NORM, _norm),
    "AddBackward0": Kind(Role.SUM, _add),
    "MulBackward0": Kind(Role.PRODUCT, _product),
    "PreluKernelBackward0": Kind(Role.ACTIVATION, lambda _, i: [torch.where(i[0] > 0, i[0], i[1] * i[0])]),
    "CatBackward0": Kind(Role.SELECT, _cat),
    "StackBackward0": Kind(Role.SELECT, _cat),
    "SplitBackward0": Kind(Role.SELECT, lambda n, i: i[0].split(n._saved_split_size, signed(n._saved_dim))),
    "SplitWithSizesBackward0": Kind(Role.SELECT, lambda n, i: i[0].split(n._saved_split_sizes, signed(n._saved_dim))),
    "UnbindBackward0": Kind(Role.SELECT, lambda n, inputs: inputs[0].unbind(signed(n._saved_dim))),
}
