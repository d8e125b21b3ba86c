"""Brings a network into the form that LRP's hooks are right for.

A hook keeps one input of a module and replaces the gradient at it. That is right where every operation with a
rule is a module that is called once, nothing works in place, batch normalisation is part of the layer before
it, and between the modules the gradient itself hands the relevance to where the value came from. This package
rewrites the traced graph of a copy of the network until it has that form, and refuses by name what it cannot
rewrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from ._graph import (
    NoRuleError,
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
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Canonical:
    """A network in canonical form.

    Attributes:
        network: Computes what the original does.
        parts: What each of its modules is, by name.
        first: Names of the layers with weights that no other such layer precedes.
        fed_by_input: Whether each of ``first`` takes the volume itself.
    """

    network: fx.GraphModule
    parts: dict[str, Part]
    first: frozenset[str]
    fed_by_input: bool


def canonize(model: nn.Module, volumes: Tensor) -> Canonical:
    """Return the canonical form of a network in evaluation mode.

    Args:
        model: A copy that belongs to the caller: its modules become part of the result and are changed.
        volumes: [N, C, D, H, W], an input for which it runs.

    Raises:
        InputError: It cannot be traced, or parts of it have no rule; the message names them.
    """
    graph = trace(model)
    seen = observe(graph, volumes)
    replace_constants(graph, seen)
    undo_in_place(graph)
    graph.graph.eliminate_dead_code()
    separate_repeated(graph)
    parts = assign_parts(graph, seen)
    _merge_batch_norms(graph, seen, parts)
    graph.graph.lint()
    graph.recompile()
    first, fed_by_input = _first_layers(graph, parts)
    return Canonical(graph, parts, first, fed_by_input)


def _merge_batch_norms(graph: fx.GraphModule, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    """Make each batch normalisation part of the layer that feeds it, by data flow, not by order."""
    refused: list[str] = []
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or parts.get(node.target) is not Part.BATCH_NORM:
            continue
        try:
            _merge_batch_norm(graph, node, seen, parts)
        except NoRuleError as reason:
            refused.append(f"{place(graph, node)}: {reason}")
    if refused:
        raise refusal(refused)


def _merge_batch_norm(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    norm = cast(nn.BatchNorm3d, graph.get_submodule(cast(str, node.target)))
    before = cast(fx.Node, node.args[0])
    part = parts.get(cast(str, before.target)) if before.op == "call_module" else None
    if part not in _WEIGHTED:
        what = "the input" if before.op == "placeholder" else place(graph, before)
        raise NoRuleError(f"it follows {what}, and can be merged only into a convolution or linear layer")
    if len(before.users) != 1:
        raise NoRuleError(f"{place(graph, before)} before it feeds something else too, so they cannot be merged")
    if norm.running_mean is None or norm.running_var is None:
        raise NoRuleError("it keeps no running statistics, so each output depends on the whole batch")
    if part is Part.DENSE and len(seen[before]) != 2:
        raise NoRuleError(f"it normalises an axis that is not the features of {place(graph, before)}")
    layer = graph.get_submodule(cast(str, before.target))
    if isinstance(layer, _TRANSPOSED) and layer.groups != 1:
        raise NoRuleError("it follows a transposed convolution with groups, into which it cannot be merged")
    _merge(cast(nn.Linear, layer), norm, part is Part.DENSE)
    del parts[cast(str, node.target)]
    take_out(graph, node)


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


def _first_layers(graph: fx.GraphModule, parts: dict[str, Part]) -> tuple[frozenset[str], bool]:
    behind: set[fx.Node] = set()
    first: set[str] = set()
    fed_by_input = True
    for node in graph.graph.nodes:
        weighted = node.op == "call_module" and parts.get(node.target) in _WEIGHTED
        preceded = any(source in behind for source in node.all_input_nodes)
        if weighted and not preceded:
            first.add(node.target)
            fed_by_input = fed_by_input and node.args[0].op == "placeholder"
        if weighted or preceded:
            behind.add(node)
    return frozenset(first), fed_by_input
