"""Brings a network into the form that LRP's hooks are right for.

A hook keeps one input of a module and replaces the gradient at it. That is right where every operation with a
rule is a module that is called once, nothing works in place, batch normalisation is part of the layer before
it where there is one, and between the modules the gradient itself hands the relevance to where the value came
from. This package rewrites the traced graph of a copy of the network until it has that form, and refuses by
name what it cannot rewrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from ._graph import (
    place,
    refusal,
    replace_constants,
    separate_repeated,
    take_out,
    undo_in_place,
)
from ._operations import Part
from ._parts import assign_parts
from ._trace import observe, trace

__all__ = ["Canonical", "canonize"]

_WEIGHTED = (Part.CONVOLUTION, Part.DENSE)
# Their rules divide by what they compute, which is right only for relevance in proportion to it.
_MIXING = (Part.SUM, Part.AVERAGE, Part.BATCH_NORM)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Canonical:
    """A network in canonical form.

    Attributes:
        network: Computes what the original does.
        parts: What each of its modules is, by name.
        first: Names of the layers with weights that no other such layer precedes.
        fed_by_input: Whether each of ``first`` takes the volume itself.
        fed_by_voxels: Whether each input of ``first`` is a voxel or made of one voxel, not of several.
    """

    network: fx.GraphModule
    parts: dict[str, Part]
    first: frozenset[str]
    fed_by_input: bool
    fed_by_voxels: bool


def canonize(model: nn.Module, volumes: Tensor) -> Canonical:
    """Return the canonical form of a network in evaluation mode.

    Args:
        model: A copy that belongs to the caller: its modules become part of the result and are changed.
        volumes: [N, C, D, H, W], an input for which it runs.

    Raises:
        InputError: It cannot be traced, or parts of it have no rule; the message names them.
    """
    graph = trace(model, volumes)
    seen = observe(graph, volumes)
    replace_constants(graph, seen)
    undo_in_place(graph)
    graph.graph.eliminate_dead_code()
    separate_repeated(graph)
    parts = assign_parts(graph, seen)
    _merge_batch_norms(graph, seen, parts)
    graph.graph.lint()
    graph.recompile()
    return Canonical(graph, parts, *_first_layers(graph, parts))


def _merge_batch_norms(graph: fx.GraphModule, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    """Make each batch normalisation part of the layer that feeds it, by data flow, not by order.

    One that no such layer feeds, or not it alone, stays: in evaluation mode it is an affine layer, one weight
    and one bias for each channel (pre-activation networks, DenseNet).
    """
    refused: list[str] = []
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or parts.get(node.target) is not Part.BATCH_NORM:
            continue
        norm = cast(nn.BatchNorm3d, graph.get_submodule(node.target))
        if norm.running_mean is None or norm.running_var is None or norm.training:
            refused.append(f"{place(graph, node)}: it uses the statistics of the batch, not stored ones")
            continue
        before = cast(fx.Node, node.args[0])
        if _can_merge(graph, before, seen, parts):
            name = cast(str, before.target)
            _merge(cast(nn.Linear, graph.get_submodule(name)), norm, parts[name] is Part.DENSE)
            del parts[node.target]
            take_out(graph, node)
    if refused:
        raise refusal(refused)


def _can_merge(graph: fx.GraphModule, before: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> bool:
    part = parts.get(cast(str, before.target)) if before.op == "call_module" else None
    if part not in _WEIGHTED or len(before.users) != 1:
        return False
    if part is Part.DENSE:
        return len(seen[before]) == 2  # else it normalises another axis than the features
    layer = graph.get_submodule(cast(str, before.target))
    return not (isinstance(layer, _TRANSPOSED) and layer.groups != 1)  # PyTorch's merging cannot do these


def _merge(layer: nn.Linear, norm: nn.BatchNorm3d, dense: bool) -> None:
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    with torch.no_grad():
        if dense:
            merged = fuse_linear_bn_weights(layer.weight, layer.bias, mean, var, norm.eps, norm.weight, norm.bias)
        else:
            merged = fuse_conv_bn_weights(
                layer.weight, layer.bias, mean, var, norm.eps, norm.weight, norm.bias, isinstance(layer, _TRANSPOSED)
            )
    layer.weight, layer.bias = merged


def _first_layers(graph: fx.GraphModule, parts: dict[str, Part]) -> tuple[frozenset[str], bool, bool]:
    """Return the last three fields of ``Canonical``."""
    behind: set[fx.Node] = set()
    mixed: set[fx.Node] = set()
    first: set[str] = set()
    fed_by_input = fed_by_voxels = True
    for node in graph.graph.nodes:
        weighted = node.op == "call_module" and parts.get(node.target) in _WEIGHTED
        preceded = any(source in behind for source in node.all_input_nodes)
        if weighted and not preceded:
            first.add(node.target)
            fed_by_input = fed_by_input and node.args[0].op == "placeholder"
            fed_by_voxels = fed_by_voxels and node.args[0] not in mixed
        if weighted or preceded:
            behind.add(node)
        mixes = node.op == "call_module" and parts.get(node.target) in _MIXING
        if mixes or any(source in mixed for source in node.all_input_nodes):
            mixed.add(node)
    return frozenset(first), fed_by_input, fed_by_voxels
