"""Brings a network into the form that rules for single layers are right for.

A hook keeps one input of a module and replaces the gradient at it. That is right where every operation with a
rule is a module that is called once, nothing works in place, batch normalisation is part of the layer before
it where there is one, and between the modules the gradient itself hands the relevance to where the value came
from. This package rewrites the traced graph of a copy of the network until it has that form, and refuses by
name what it cannot rewrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, fx, nn

from .graph import replace_constants, replace_examples, separate_repeated, undo_in_place
from .norms import merge_batch_norms
from .operations import Part
from .parts import assign_parts
from .tracing import observe, trace

__all__ = ["Canonical", "canonize"]

_WEIGHTED = (Part.CONVOLUTION, Part.DENSE)
# Their rules divide by what they compute, which is right only for relevance in proportion to it.
_MIXING = (Part.SUM, Part.AVERAGE, Part.AFFINE)


@dataclass(frozen=True)
class Canonical:
    """A network in canonical form.

    Attributes:
        network: Computes what the original does.
        parts: What each of its modules is that takes relevance, by name.
        names: The user's name of each of them; of a function, its name behind that of the module around it.
        first: Names of the layers with weights that no other such layer precedes.
        fed_by_input: Whether each of ``first`` takes the volume itself.
        fed_by_voxels: Whether each input of ``first`` is a voxel or made of one voxel, not of several.
        depends_on_data: Whether it holds for the volumes that it was made with only.
    """

    network: fx.GraphModule
    parts: dict[str, Part]
    names: dict[str, str]
    first: frozenset[str]
    fed_by_input: bool
    fed_by_voxels: bool
    depends_on_data: bool = False


def canonize(model: nn.Module, volumes: Tensor, passed: Sequence[str] = (), merge_norms: bool = True) -> Canonical:
    """Return the canonical form of a network in evaluation mode.

    Args:
        model: A copy that belongs to the caller: its modules become part of the result and are changed.
        volumes: [N, C, D, H, W], an input for which it runs.
        passed: Patterns of names of modules without a rule that relevance is to pass unchanged.
        merge_norms: Whether batch normalisation becomes part of the layer beside it where it can.

    Raises:
        InputError: It cannot be traced, or parts of it have no rule; the message names them.
    """
    graph, recorded = trace(model, volumes, passed)
    seen, reads_data = observe(graph, volumes)
    replace_constants(graph)
    replace_examples(graph, seen)
    undo_in_place(graph)
    graph.graph.eliminate_dead_code()
    separate_repeated(graph)
    assignment = assign_parts(graph, seen, passed)
    parts = assignment.parts
    _separate_padding(graph, seen, parts)
    if merge_norms:
        merge_batch_norms(graph, seen, parts)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
    names = {name: assignment.names.get(name.removesuffix("_shifted"), name) for name in parts}
    return Canonical(graph, parts, names, *_first_layers(graph, parts), recorded or reads_data)


def _separate_padding(graph: fx.GraphModule, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    """Let convolutions that pad by words (``same``) or with the tensor's own values take a padded tensor."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or parts.get(node.target) is not Part.CONVOLUTION:
            continue
        layer = cast(Any, graph.get_submodule(node.target))
        mode = layer.padding_mode
        if mode == "zeros" and not isinstance(layer.padding, str):
            continue
        amounts = list(layer._reversed_padding_repeated_twice)
        layer.padding, layer.padding_mode = (0,) * len(layer.kernel_size), "zeros"
        with graph.graph.inserting_before(node):
            padded = graph.graph.call_function(
                F.pad, (node.args[0], amounts), {"mode": "constant" if mode == "zeros" else mode}
            )
        node.args = (padded,)
        shape = list(seen[padded.all_input_nodes[0]])
        for axis in range(len(amounts) // 2):
            shape[-1 - axis] += amounts[2 * axis] + amounts[2 * axis + 1]
        seen[padded] = tuple(shape)


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
