"""Makes batch normalisation part of the layers around it, by data flow, not by order of modules."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from .graph import place, refusal, take_out
from .operations import Biased, Part

__all__ = ["merge_batch_norms"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (Part.CONVOLUTION, Part.DENSE)


def merge_batch_norms(graph: fx.GraphModule, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    """Merge each batch normalisation into the layer that feeds it alone, else into the one that it alone feeds.

    Where there is neither, it stays: in evaluation mode it is an affine layer, one weight and one bias for each
    channel (pre-activation networks, DenseNet).

    Raises:
        InputError: One uses the statistics of the batch.
    """
    norms = [node for node in graph.graph.nodes if _norm(graph, node, parts) is not None]
    refused = [
        f"{place(graph, node)}: it uses the statistics of the batch, not stored ones"
        for node in norms
        if (norm := _norm(graph, node, parts)) is None or norm.running_mean is None or norm.running_var is None
    ]
    if refused:
        raise refusal(refused)
    for merge in (_merge_into_layer_before, _merge_into_layer_behind):
        for node in norms:
            if node.target in parts and merge(graph, node, seen, parts):
                del parts[node.target]
                take_out(graph, node)


def _norm(graph: fx.GraphModule, node: fx.Node, parts: dict[str, Part]) -> nn.BatchNorm3d | None:
    if node.op != "call_module" or parts.get(cast(str, node.target)) is not Part.AFFINE:
        return None
    module = graph.get_submodule(cast(str, node.target))
    return cast(nn.BatchNorm3d, module) if isinstance(module, nn.modules.batchnorm._BatchNorm) else None


def _weighted(
    graph: fx.GraphModule, node: fx.Node, parts: dict[str, Part]
) -> tuple[nn.Linear, Part] | tuple[None, None]:
    part = parts.get(cast(str, node.target)) if node.op == "call_module" else None
    if part not in _WEIGHTED or part is None:
        return None, None
    layer = graph.get_submodule(cast(str, node.target))
    return (None, None) if isinstance(layer, Biased) else (cast(nn.Linear, layer), part)


def _merge_into_layer_before(
    graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]
) -> bool:
    before = cast(fx.Node, node.args[0])
    layer, part = _weighted(graph, before, parts)
    if layer is None or len(before.users) != 1:
        return False
    if part is Part.DENSE and len(seen[before]) != 2:
        return False  # it normalises another axis than the features
    norm = cast(nn.BatchNorm3d, graph.get_submodule(cast(str, node.target)))
    scale, shift = _affine(norm, layer.weight.dtype)
    with torch.no_grad():
        bias = shift if layer.bias is None else layer.bias * scale + shift
        layer.weight = nn.Parameter(_outputs_scaled(layer, scale), requires_grad=False)
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return True


def _merge_into_layer_behind(
    graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]
) -> bool:
    """Scale the weights of the layer behind; what it makes of the shift is a bias, another one at padded borders."""
    users = list(node.users)
    layer, part = _weighted(graph, users[0], parts) if len(users) == 1 else (None, None)
    if layer is None or isinstance(layer, _TRANSPOSED) or (part is Part.DENSE and len(seen[node]) != 2):
        return False
    norm = cast(nn.BatchNorm3d, graph.get_submodule(cast(str, node.target)))
    scale, shift = _affine(norm, layer.weight.dtype)
    shape = (1, -1, *(1,) * (len(seen[node]) - 2))
    with torch.no_grad():
        bias = layer(shift.reshape(shape).expand(1, *seen[node][1:]))
        layer.weight = nn.Parameter(_scaled(layer, scale), requires_grad=False)
    layer.bias = None  # type: ignore[assignment]
    graph.add_submodule(f"{users[0].target}_shifted", Biased(layer, bias))
    parts[f"{users[0].target}_shifted"] = parts.pop(cast(str, users[0].target))
    users[0].target = f"{users[0].target}_shifted"
    return True


def _affine(norm: nn.BatchNorm3d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    mean, var = cast(Tensor, norm.running_mean).to(dtype), cast(Tensor, norm.running_var).to(dtype)
    scale = (norm.weight if norm.weight is not None else torch.ones_like(mean)) / (var + norm.eps).sqrt()
    shift = (norm.bias if norm.bias is not None else torch.zeros_like(mean)) - mean * scale
    return scale.detach(), shift.detach()


def _outputs_scaled(layer: nn.Module, scale: Tensor) -> Tensor:
    """Return weights times the scale of each output channel: [out, ...], or [in, out / groups, ...] if transposed."""
    weight = cast(Tensor, layer.weight).detach()
    if not isinstance(layer, _TRANSPOSED):
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    groups = cast(nn.ConvTranspose3d, layer).groups
    of_group = scale.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1).reshape(weight.shape[:2])
    return weight * of_group.reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2))


def _scaled(layer: nn.Module, scale: Tensor) -> Tensor:
    """Return weights [out, in / groups, ...] times the scale of each input channel."""
    weight = cast(Tensor, layer.weight)
    groups = int(getattr(layer, "groups", 1))
    of_group = scale.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1).reshape(weight.shape[:2])
    return weight.detach() * of_group.reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2))
