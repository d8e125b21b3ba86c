"""Which operations of a network can be computed again for a part of their output, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from xai_core.canonical import Part
from xai_core.canonical.functions import operation
from xai_core.canonical.operations import Affine, Biased, Gated, Scale, Sum, known_part

from ._occlusion_geometry import Boxes, Grid, Stencil, as_grid
from ._occlusion_kinds import Convolution, GlobalMean, Pointwise, Rule, ShiftedConvolution, Sliding

__all__ = ["rule_of"]


def rule_of(node: fx.Node, network: fx.GraphModule, values: Mapping[fx.Node, Any]) -> Rule | None:
    """Return the rule of an operation, or None for one that depends on more than a neighbourhood, or may do so.

    Args:
        node: Of the graph of a canonical form.
        network: The canonical form.
        values: What the node and its inputs are without a change; a map is a tensor [1, C, d, h, w].
    """
    maps = [values[each] for each in (*node.all_input_nodes, node)]
    if (
        len(maps) < 2
        or _takes_one_twice(node)
        or not all(isinstance(value, Tensor) and value.ndim == 5 for value in maps)
    ):
        return None
    output, before = maps[-1], maps[0]
    same_grid = all(value.shape[2:] == output.shape[2:] for value in maps)
    if node.op == "call_module":
        module = network.get_submodule(cast(str, node.target))
        if same_grid and _is_pointwise(module):
            return Pointwise(module, len(maps) - 1)
        return _module_rule(module, before, output)
    name = operation(node)
    if name in ("cat", "concat", "concatenate"):
        return _joining(node) if same_grid else None
    return _padding(node) if name == "pad" else None


def _takes_one_twice(node: fx.Node) -> bool:
    """Whether an operation takes the same tensor twice, as ``x + x`` does; a node has it among its inputs once."""
    taken: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), taken.append)
    return len(taken) != len(node.all_input_nodes)


def _is_pointwise(module: nn.Module) -> bool:
    if isinstance(module, Sum | Gated | nn.Sigmoid | nn.Hardsigmoid):
        return True
    if isinstance(module, Scale | Affine):
        constant = module.factor if isinstance(module, Scale) else module.constant
        return all(size == 1 for size in constant.shape[-3:])  # the same at every voxel
    return known_part(module) is Part.ACTIVATION or (
        isinstance(module, nn.BatchNorm3d | nn.SyncBatchNorm) and not module.training and module.running_var is not None
    )


def _module_rule(module: nn.Module, before: Tensor, output: Tensor) -> Rule | None:
    if isinstance(module, Biased):
        return _shifted(module, before, output)
    if known_part(module) is None:
        return None
    if isinstance(module, nn.Conv3d):
        return _convolution(module, before, output) if module.padding_mode == "zeros" else None
    if isinstance(module, nn.MaxPool3d):
        return _max_pooling(module)
    if isinstance(module, nn.AvgPool3d):
        return _average_pooling(module, before, output)
    if isinstance(module, nn.ConstantPad3d):  # ZeroPad3d too
        return _padded(list(module.padding), float(module.value))
    if isinstance(module, nn.AdaptiveAvgPool3d) and output.shape[2:].numel() == 1:
        return GlobalMean(output, before.shape[2:].numel())
    return None


def _convolution(module: nn.Conv3d, before: Tensor, output: Tensor) -> Convolution:
    reach = _reach(as_grid(module.kernel_size), as_grid(module.dilation))
    stencil = Stencil(reach, as_grid(module.stride), _padding_before(module))
    return Convolution(module, stencil, as_grid(before.shape[2:]), as_grid(output.shape[2:]))


def _shifted(module: Biased, before: Tensor, output: Tensor) -> Rule | None:
    layer = module.layer
    if not isinstance(layer, nn.Conv3d) or layer.padding_mode != "zeros":
        return None
    plain = _convolution(layer, before, output)
    bias = module.bias.expand(1, *output.shape[1:])
    return ShiftedConvolution(plain.module, plain.stencil, plain.before, plain.after, bias)


def _padding_before(module: nn.Conv3d) -> Grid:
    padding: str | tuple[int, ...] = module.padding
    if padding == "valid":
        return 0, 0, 0
    if padding == "same":  # of an odd number of voxels the larger half comes behind
        return as_grid(d * (k - 1) // 2 for k, d in zip(module.kernel_size, module.dilation, strict=True))
    return as_grid(padding)


def _max_pooling(module: nn.MaxPool3d) -> Rule:
    kernel, stride, dilation = _three(module.kernel_size), _three(module.stride), _three(module.dilation)

    def function(x: Tensor, _boxes: Boxes) -> Tensor:
        return F.max_pool3d(x, kernel, stride, 0, dilation)

    return Sliding(Stencil(_reach(kernel, dilation), stride, _three(module.padding)), function, -torch.inf)


def _average_pooling(module: nn.AvgPool3d, before: Tensor, output: Tensor) -> Rule:
    kernel, stride, padding = _three(module.kernel_size), _three(module.stride), _three(module.padding)
    grids = as_grid(before.shape[2:]), as_grid(output.shape[2:])
    sizes = _pool_sizes(Stencil(kernel, stride, padding), *grids, module.count_include_pad)
    if module.divisor_override:
        sizes = sizes.new_full(sizes.shape, module.divisor_override)
    sizes = sizes.to(output)
    uniform = bool((sizes == sizes.flatten()[0]).all())

    def function(x: Tensor, boxes: Boxes) -> Tensor:
        total = F.avg_pool3d(x, kernel, stride, 0, divisor_override=1)
        if uniform:
            return total / sizes.flatten()[0]
        parts = [sizes[tuple(map(slice, start, start + boxes.size))] for start in boxes.start]
        return total / torch.stack(parts)[:, None]

    return Sliding(Stencil(kernel, stride, padding), function)


def _pool_sizes(stencil: Stencil, before: Grid, after: Grid, with_padding: bool) -> Tensor:
    """Return by how much PyTorch divides the sum in each pool, float64 on the grid after the pooling."""
    lengths = []
    for axis in range(3):
        first = torch.arange(after[axis], dtype=torch.float64) * stencil.stride[axis] - stencil.padding[axis]
        last = (first + stencil.reach[axis]).clamp(max=before[axis] + stencil.padding[axis])
        lengths.append(last - first if with_padding else last.clamp(max=before[axis]) - first.clamp(min=0))
    return lengths[0][:, None, None] * lengths[1][:, None] * lengths[2]


def _joining(node: fx.Node) -> Rule | None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if axis not in (1, -4):
        return None
    return Pointwise(lambda *parts: torch.cat(parts, dim=1), len(node.all_input_nodes))


def _padding(node: fx.Node) -> Rule | None:
    given = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
    amounts = list(cast(Sequence[int], given["pad"]))
    if given.get("mode", "constant") != "constant" or any(amounts[8:]):
        return None
    return _padded(amounts[:8], float(cast(float, given.get("value") or 0.0)))


def _padded(amounts: list[int], value: float) -> Rule:
    amounts = amounts + [0] * (8 - len(amounts))
    channels = [0] * 6 + amounts[6:]

    def function(x: Tensor, _boxes: Boxes) -> Tensor:
        return F.pad(x, channels, value=value) if any(channels) else x

    return Sliding(Stencil((1, 1, 1), (1, 1, 1), (amounts[4], amounts[2], amounts[0])), function, value)


def _reach(kernel: Grid, dilation: Grid) -> Grid:
    return as_grid(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def _three(value: Any) -> Grid:
    return (value, value, value) if isinstance(value, int) else as_grid(value)
