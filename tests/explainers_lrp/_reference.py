"""A slow reference for layer-wise relevance propagation on any network, by walking autograd's graph.

The network runs as its author wrote it, in float64, with gradients on. Autograd's graph then says what it computed:
which operations, with which settings, on which tensors. ``_Graph`` replays it (autograd does not keep every value that
a rule needs, those of summands for instance) and compares the replayed output with the network's, so that a setting
that was read wrongly does not stay unnoticed. ``explain`` walks the graph back from the output and divides the
relevance at each node by the rule's textbook form (``_reference_rules``). Nothing is traced, rewritten or hooked, no
code is shared with the explainer, and an unknown node raises ``UnknownNodeError``.

Batch normalisation of what a convolution or dense layer computes for it alone is part of that layer; else, what it
computes for one such layer alone (no transposed one) makes it part of that one; any other is an affine layer with the
epsilon rule.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch
from lrp_reference_nodes import (
    NODES,
    Role,
    UnknownNodeError,
    convolve,
    norm_scale_and_shift,
    over_channels,
)
from lrp_reference_rules import STABILIZER, Layer, Rules, stabilised, vector_jacobian
from torch import Tensor, nn

WEIGHTED = (Role.CONVOLUTION, Role.DENSE)


def explain(network: nn.Module, volumes: Tensor, target: Tensor | None, rules: Rules) -> Tensor:
    """Return the relevance of every voxel, float64 [N, C, D, H, W].

    Args:
        network: Neither changed nor kept.
        volumes: [N, C, D, H, W].
        target: int64 [N]; None: the highest output of each volume.
        rules: The composite.

    Raises:
        UnknownNodeError: Relevance reaches a node that the reference has no rule for.
    """
    graph = _Graph(network, volumes.double())
    start = graph.outputs.argmax(1) if target is None else target
    relevance = torch.zeros_like(graph.outputs).scatter(1, start[:, None], graph.outputs.gather(1, start[:, None]))
    return _Walk(graph, rules).back(relevance)


class _Graph:
    """Autograd's graph of a network's outputs, replayed.

    Attributes:
        outputs: [N, outputs].
        order: Its nodes, sources before users.
        values: What each node computes.
        on_volume: The nodes that depend on the volumes.
        users: How many inputs of nodes each output of a node is.
    """

    def __init__(self, network: nn.Module, volumes: Tensor) -> None:
        exact = copy.deepcopy(network).double().eval().requires_grad_(True)
        leaf = volumes.detach().clone().requires_grad_()
        with torch.enable_grad():
            begin = leaf.clone()  # a network may change its input in place
            result = exact(begin)
        self.root, self.source = (result.grad_fn, result.output_nr), begin.grad_fn
        self.outputs = result.detach()
        self.order = _sorted(result.grad_fn)
        self.users: dict[tuple[Any, int], int] = defaultdict(int)
        self.values: dict[Any, list[Tensor]] = {}
        self.on_volume = {self.source}
        with torch.no_grad():
            for node in self.order:
                self._replay(node, leaf)
            torch.testing.assert_close(self.values[self.root[0]][self.root[1]], self.outputs, rtol=1e-9, atol=1e-12)

    def _replay(self, node: Any, leaf: Tensor) -> None:
        for edge in node.next_functions:
            self.users[edge] += 1
        if node is self.source:
            self.values[node] = [leaf.detach()]
        elif hasattr(node, "variable"):
            self.values[node] = [node.variable.detach()]
        elif node.name() not in NODES:
            raise UnknownNodeError(node.name())
        else:
            self.values[node] = list(NODES[node.name()].compute(node, self.inputs(node)))
            if any(source in self.on_volume for source, _ in node.next_functions):
                self.on_volume.add(node)

    def inputs(self, node: Any) -> list[Tensor | None]:
        """Return the values that go into a node; None for what autograd does not follow."""
        return [None if source is None else self.values[source][number] for source, number in node.next_functions]


def _sorted(root: Any) -> list[Any]:
    """Return the nodes that a node depends on, and itself, sources first."""
    order: list[Any] = []
    entered: set[Any] = set()
    stack = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node is not None and node not in entered:
            entered.add(node)
            stack.append((node, True))
            stack.extend((source, False) for source, _ in node.next_functions)
    return order


class _Walk:
    """Relevance on its way from the outputs to the volumes."""

    def __init__(self, graph: _Graph, rules: Rules) -> None:
        self.graph, self.rules = graph, rules
        self.relevance: dict[Any, dict[int, Tensor]] = defaultdict(dict)
        self.norms: dict[Any, Any] = {}  # by the layer that each is part of
        self.first = _first_layers(graph)

    def back(self, relevance: Tensor) -> Tensor:
        """Return the relevance of the volumes."""
        self._give(self.graph.root, relevance)
        for node in reversed(self.graph.order):
            if node in self.relevance and node is not self.graph.source:
                self._divide(node)
        return self.relevance[self.graph.source][0]

    def _give(self, edge: tuple[Any, int], relevance: Tensor) -> None:
        source, number = edge
        if source not in self.graph.on_volume:
            raise UnknownNodeError("relevance reaches a constant or a parameter")
        held = self.relevance[source]
        held[number] = held[number] + relevance if number in held else relevance

    def _divide(self, node: Any) -> None:
        """Hand the relevance of a node to its inputs."""
        role, edges = NODES[node.name()].role, node.next_functions
        if role in (Role.SELECT, Role.VIEW):
            self._select(node)
            return
        relevance = self.relevance[node][0]
        if role in WEIGHTED:
            self._layer(node, role, relevance)
        elif role is Role.NORM:
            self._norm(node, relevance)
        elif role is Role.MIX:
            self._give(edges[0], self._in_proportion(node, relevance))
        elif role is Role.SUM:
            shares = relevance / stabilised(self.graph.values[node][0])
            for edge, value in zip(edges, self.graph.inputs(node), strict=True):
                if value.shape != relevance.shape:
                    raise UnknownNodeError("a sum of different shapes")
                self._give(edge, value * shares)
        elif role is Role.PRODUCT:
            edge = self._signal(node)
            self._give(edge, relevance.sum_to_size(self.graph.values[edge[0]][edge[1]].shape))
        elif role is Role.ACTIVATION:
            self._give(edges[0], relevance)
        else:
            raise UnknownNodeError(f"{node.name()} outside a gate")

    def _select(self, node: Any) -> None:
        """Give each output's relevance to the input whose value it has."""
        compute, held = NODES[node.name()].compute, self.relevance[node]
        values = self.graph.inputs(node)
        with torch.enable_grad():
            inputs = [value.detach().requires_grad_() for value in values]
            outputs = compute(node, inputs)
            numbers = sorted(held)
            parts = torch.autograd.grad([outputs[n] for n in numbers], inputs, [held[n] for n in numbers])
        for edge, part in zip(node.next_functions, parts, strict=True):
            self._give(edge, part)

    def _in_proportion(self, node: Any, relevance: Tensor) -> Tensor:
        """Divide relevance in proportion to the contributions to a linear function without weights."""
        x = self.graph.inputs(node)[0]
        shares = relevance / stabilised(self.graph.values[node][0], STABILIZER)
        return x * vector_jacobian(lambda v: NODES[node.name()].compute(node, [v])[0], x, shares)

    def _norm(self, node: Any, relevance: Tensor) -> None:
        edge = node.next_functions[0]
        if self._belongs_to_layer(edge):
            self.norms[edge[0]] = node
            self._give(edge, relevance)
            return
        inputs = self.graph.inputs(node)
        scale, _ = norm_scale_and_shift(node, inputs)
        shares = relevance / stabilised(self.graph.values[node][0], self.rules.epsilon)
        self._give(edge, inputs[0] * over_channels(scale, relevance.ndim) * shares)

    def _belongs_to_layer(self, edge: tuple[Any, int]) -> bool:
        known = NODES.get(edge[0].name())
        return known is not None and known.role in WEIGHTED and self.graph.users[edge] == 1

    def _layer(self, node: Any, role: Role, relevance: Tensor) -> None:
        dense = role is Role.DENSE
        number = 1 if node.name() == "AddmmBackward0" else 0
        edge, layer = node.next_functions[number], self._plain(node, dense)
        if node in self.norms:
            layer = self._normalised_behind(layer, self.norms[node], node, dense)
        if self._takes_in(edge, node, dense):
            layer = self._normalised_before(layer, edge[0], node, dense)
            edge = edge[0].next_functions[0]
        x = self.graph.values[edge[0]][edge[1]]
        rules = Rules("epsilon", self.rules.epsilon) if dense else self.rules
        self._give(edge, rules.convolution(layer, x, relevance, node in self.first))

    def _plain(self, node: Any, dense: bool) -> Layer:
        """Return a layer as its node has it."""
        inputs = self.graph.inputs(node)
        if not dense:
            bias = None if inputs[2] is None else over_channels(inputs[2], inputs[0].ndim)
            return Layer(lambda v, w: convolve(node, v, w), inputs[1], bias)
        bias = inputs[0] if node.name() == "AddmmBackward0" else None
        return Layer(torch.matmul, inputs[-1], bias)

    def _normalised_behind(self, layer: Layer, norm: Any, node: Any, dense: bool) -> Layer:
        """Return a layer with the normalisation of its outputs."""
        scale, shift = norm_scale_and_shift(norm, self.graph.inputs(norm))
        ndim = self.graph.values[norm][0].ndim
        bias = 0 if layer.bias is None else layer.bias * over_channels(scale, ndim)
        weight = layer.weight * scale if dense else _scaled(layer.weight, scale, node, node._saved_transposed)
        return Layer(layer.linear, weight, bias + over_channels(shift, ndim))

    def _takes_in(self, edge: tuple[Any, int], node: Any, dense: bool) -> bool:
        """Whether a layer's input is normalised for it alone and not by part of another layer."""
        known = NODES.get(edge[0].name())
        if known is None or known.role is not Role.NORM or self.graph.users[edge] != 1:
            return False
        return (dense or not node._saved_transposed) and not self._belongs_to_layer(edge[0].next_functions[0])

    def _normalised_before(self, layer: Layer, norm: Any, node: Any, dense: bool) -> Layer:
        """Return a layer with the normalisation of its inputs; near a padded border, less of the shift arrives."""
        inputs = self.graph.inputs(norm)
        scale, shift = norm_scale_and_shift(norm, inputs)
        shifts = over_channels(shift, inputs[0].ndim).expand_as(inputs[0])
        bias = layer.linear(shifts, layer.weight) + (0 if layer.bias is None else layer.bias)
        weight = layer.weight * scale[:, None] if dense else _scaled(layer.weight, scale, node, True)
        return Layer(layer.linear, weight, bias)

    def _signal(self, node: Any) -> tuple[Any, int]:
        """Return where a product's signal comes from: the factor that is no gate."""
        gates = [_is_gate(edge[0]) for edge in node.next_functions]
        if sum(gates) != 1:
            raise UnknownNodeError("a product without one gate")
        return node.next_functions[gates.index(False)]


def _is_gate(node: Any) -> bool:
    while node.name() in NODES and NODES[node.name()].role is Role.VIEW:
        node = node.next_functions[0][0]
    return node.name() in NODES and NODES[node.name()].role is Role.GATE


def _scaled(weight: Tensor, scale: Tensor, node: Any, second: bool) -> Tensor:
    """Return a kernel with each channel of one kind multiplied by its scale.

    Args:
        weight: [channels, other channels / groups, ...], the channels of a group together.
        scale: Of the first kind of channels, or of the second, of which all groups share the axis.
        node: Of the convolution.
        second: Which.
    """
    split = weight.reshape(node._saved_groups, -1, *weight.shape[1:])
    shape = (node._saved_groups, 1, -1) if second else (node._saved_groups, -1, 1)
    return (split * scale.reshape(*shape, *[1] * (weight.ndim - 2))).reshape(weight.shape)


def _first_layers(graph: _Graph) -> set[Any]:
    """Return the layers that no other layer with weights precedes."""
    first, behind = set(), set()
    for node in graph.order:
        weighted = node.name() in NODES and NODES[node.name()].role in WEIGHTED
        preceded = any(source in behind for source, _ in node.next_functions)
        if weighted and not preceded:
            first.add(node)
        if weighted or preceded:
            behind.add(node)
    return first
