"""Writes the description of a torch network: its modules, their weights, and the calls.

The description is plain JSON::

    {"modules": {name: {"class": "Conv3d", "params": {...}, "keras": class, "layer": name}},
     "buffers": {name: shape},
     "nodes": [{"name": ..., "module" | "function" | "buffer" | "input": ..., "inputs": [...], "params": {...},
                "shape": [...] where a Keras layer ends}],
     "outputs": [names of nodes]}

Shapes leave out the batch. A value of rank 1 is [N, features]; one of higher rank is channels last in Keras,
[N, axes ..., channels], and channels first here, [N, channels, axes ...].
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import fx

from ._layer import MOST_ELEMENTS, Array, Layer

__all__ = ["Emitter", "Value", "first"]


@dataclass(frozen=True)
class Value:
    """A value in the network.

    Attributes:
        node: Name of the node that computes it.
        shape: Keras' shape, channels last, without the batch.
        flattened: The shape (channels last) whose channels-first form was flattened into this value; None where its
            features are in Keras' order.
    """

    node: str
    shape: tuple[int, ...]
    flattened: tuple[int, ...] | None = None

    @property
    def axes(self) -> int:
        """Number of axes besides batch and channels."""
        return len(self.shape) - 1


def first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape channels first."""
    return (shape[-1], *shape[:-1])


@dataclass
class Emitter:
    """Collects a description and its weights.

    Attributes:
        modules: By name.
        buffers: Shapes of constants.
        nodes: In the order of computation.
        state: Weights by ``state_dict`` key.
        notes: What a user should know.
        late: Layers whose flattened output may keep torch's order, since all that reads it can follow.
    """

    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    buffers: dict[str, list[int]] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    _owners: dict[tuple[int, str], str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def input(self, layer: Layer, shape: tuple[int, ...]) -> Value:
        """Add an input of the network."""
        self._check(layer, shape)
        name = self._free(_sanitised("_".join(layer.path)))
        return self._node(name, {"input": name}, (), shape)

    def module(
        self,
        layer: Layer,
        cls: str,
        x: Value,
        shape: tuple[int, ...],
        params: Mapping[str, Any],
        *,
        weights: Mapping[str, Array] | None = None,
        suffix: str = "",
        keras: str | None = None,
    ) -> Value:
        """Add a call of a ``torch.nn`` module.

        Args:
            layer: The Keras layer; one with weights keeps one module for all its calls.
            cls: Name of the class in ``torch.nn``.
            x: Its input.
            shape: Of its output, channels last.
            params: Of the module's constructor.
            weights: Parameters and statistics by name, in torch's order of axes.
            suffix: Ends the module's name where a layer becomes several.
            keras: The Keras class, for a module that is an activation.
        """
        self._check(layer, shape)
        wanted = _sanitised("_".join(layer.path) + suffix)
        description = {"class": cls, "params": dict(params), "layer": "/".join(layer.path)}
        if keras is not None:
            description["keras"] = keras
        owner = (id(layer), suffix)
        if weights is not None and owner in self._owners:
            name = self._owners[owner]
            if self.modules[name] != description:
                layer.fail("is called with inputs of different shapes, which one module of torch cannot serve.")
        else:
            name = self._free(wanted)
            self._owners[owner] = name
            self.modules[name] = description
            for key, value in (weights or {}).items():
                self.state[f"{name}.{key}"] = np.array(value, order="C")
        return replace(
            self._node(name, {"module": name}, (x,), shape), flattened=x.flattened if shape == x.shape else None
        )

    def function(
        self, layer: Layer, function: str, inputs: Sequence[Value], shape: tuple[int, ...], **params: Any
    ) -> Value:
        """Add a call of a function of torch."""
        self._check(layer, shape)
        return self._node("_".join(layer.path), {"function": function}, inputs, shape, params)

    def constant(self, layer: Layer, suffix: str, value: Array) -> Value:
        """Add a constant, channels last and with all axes but the batch."""
        name = self._free(_sanitised("_".join(layer.path) + suffix))
        moved = np.moveaxis(value, -1, 0)[None]
        self.buffers[name] = list(moved.shape)
        self.state[name] = np.array(moved, order="C")
        return self._node(name, {"buffer": name}, (), value.shape)

    def permuted(self, layer: Layer, x: Value, order: Sequence[int], shape: tuple[int, ...]) -> Value:
        """Reorder the axes of torch's tensor (0 is the batch); nothing where the order stays."""
        if list(order) == list(range(len(order))):
            return replace(x, shape=shape)
        return self.function(layer, "permute", (x,), shape, dims=list(order))

    def ordered(self, layer: Layer, x: Value) -> Value:
        """Return a value with its features in Keras' order."""
        if x.flattened is None:
            return x
        split = self.module(
            layer,
            "Unflatten",
            x,
            x.flattened,
            {"dim": 1, "unflattened_size": list(first(x.flattened))},
            suffix="_unflatten",
        )
        return self.flat(layer, split, keep=False, suffix="_order")

    def flat(self, layer: Layer, x: Value, *, keep: bool, suffix: str = "") -> Value:
        """Flatten a value; its features are in Keras' order, or, with ``keep``, in torch's."""
        size = math.prod(x.shape)
        if x.axes == 0:
            return x
        same = x.shape[-1] == 1 or size == x.shape[-1]
        if not keep and not same:
            last = [0, *range(2, x.axes + 2), 1]
            x = self.permuted(layer, x, last, x.shape)
        flat = self.module(layer, "Flatten", x, (size,), {}, suffix=suffix)
        return replace(flat, flattened=x.shape if keep and not same else None)

    def unflat(self, layer: Layer, x: Value, shape: tuple[int, ...]) -> Value:
        """Give a value of rank 1 in Keras' order another shape."""
        if len(shape) == 1:
            return x
        split = self.module(
            layer, "Unflatten", x, shape, {"dim": 1, "unflattened_size": list(shape)}, suffix="_unflatten"
        )
        return self.permuted(layer, split, [0, len(shape), *range(1, len(shape))], shape)

    def ends(self, value: Value) -> None:
        """Note the shape of what a Keras layer returns, to be checked when the network is built."""
        node = next(each for each in reversed(self.nodes) if each["name"] == value.node)
        node["shape"] = list(first(value.shape))

    def _node(
        self,
        name: str,
        what: Mapping[str, str],
        inputs: Sequence[Value],
        shape: tuple[int, ...],
        params: Mapping[str, Any] | None = None,
    ) -> Value:
        name = _sanitised(name)
        name = _numbered(name, self._names)
        self._names.add(name)
        node: dict[str, Any] = {"name": name, **what, "inputs": [x.node for x in inputs]}
        if params:
            node["params"] = dict(params)
        self.nodes.append(node)
        return Value(name, shape)

    def _free(self, name: str) -> str:
        found = _numbered(name, self._used)
        self._used.add(found)
        return found

    def _check(self, layer: Layer, shape: tuple[int, ...]) -> None:
        if any(size < 1 for size in shape):
            layer.fail(f"its output would have the shape {shape}: the input is too small for it.")
        if math.prod(shape) > MOST_ELEMENTS:
            layer.fail(f"its output would have the shape {shape}, more than any computer's memory holds.")


def _numbered(name: str, taken: set[str]) -> str:
    found, index = name, 1
    while found in taken:
        found = f"{name}_{index}"
        index += 1
    return found


def _sanitised(name: str) -> str:
    """Return a name that an attribute of a module can have."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not found or found[0].isdigit() or found.startswith("_"):
        found = f"layer_{found.lstrip('_')}"
    if keyword.iskeyword(found) or hasattr(fx.GraphModule, found) or found in _TAKEN:
        found += "_layer"
    return found


# What generated code and modules use themselves.
_TAKEN = frozenset(("training", "graph", "self", "input", "torch", "operator", "device", "keras_class"))
