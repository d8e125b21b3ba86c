"""Lays models in models out as one list of calls in the order of computation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ._config import Model, Ref
from ._layer import Layer

__all__ = ["Call", "Graph", "expand"]

_MOST_CALLS = 20_000


@dataclass(frozen=True)
class Call:
    """A call of a layer: numbers of the values that go in, number of the one that comes out."""

    layer: Layer
    inputs: tuple[int, ...]
    output: int


@dataclass
class Graph:
    """A whole network.

    Attributes:
        calls: In an order in which they can be computed.
        inputs: The outermost model's input layers and the numbers of their values, in its order.
        outputs: Numbers of the values that it returns.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: list[tuple[Layer, int]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    _next: int = 0

    def value(self) -> int:
        """Return the number of a new value."""
        self._next += 1
        return self._next


def expand(model: Model) -> Graph:
    """Return the calls of a model, with those of the models in it.

    Raises:
        InputError: Calls depend on each other in a circle, on a layer or call that does not exist, or on nothing.
    """
    graph = Graph()
    values = []
    for ref in model.inputs:
        layer = model.layers.get(ref.layer)
        if not isinstance(layer, Layer) or layer.kind != "InputLayer":
            model.fail(f"its input {ref.layer!r} is no input layer.")
        if any(layer is other for other, _ in graph.inputs):
            model.fail(f"its input {ref.layer!r} is listed twice.")
        values.append(graph.value())
        graph.inputs.append((layer, values[-1]))
    graph.outputs = _inline(graph, model, values)
    return graph


Key = tuple[str, int]


def _inline(graph: Graph, model: Model, arguments: list[int]) -> list[int]:
    if len(arguments) != len(model.inputs):
        model.fail(f"is called with {len(arguments)} inputs; it has {len(model.inputs)}.")
    offsets = _offsets(model)
    done: dict[Key, list[int]] = {}
    for ref, value in zip(model.inputs, arguments, strict=True):
        done[(ref.layer, 0)] = [value]
    for name, index in _order(model, offsets):
        if (name, index) in done:
            continue
        inputs = [_value(model, done, offsets, ref) for ref in model.arguments[name][index]]
        layer = model.layers[name]
        if isinstance(layer, Model):
            done[(name, index)] = _inline(graph, layer, inputs)
            continue
        if layer.kind == "InputLayer":
            layer.fail("is an input layer that is not among the model's inputs.")
        if not inputs:
            layer.fail("is called without any input.")
        if len(graph.calls) >= _MOST_CALLS:
            model.file.fail(f"the network has more than {_MOST_CALLS} calls of layers.")
        layer.calls += 1
        graph.calls.append(Call(layer, tuple(inputs), graph.value()))
        done[(name, index)] = [graph.calls[-1].output]
    return [_value(model, done, offsets, ref) for ref in model.outputs]


def _offsets(model: Model) -> dict[str, int]:
    """Return the number of the first stored call of each layer.

    Keras counts the making of a model with known inputs as its first call, but does not store that one.
    """
    used: dict[str, list[int]] = {}
    for ref in [*model.outputs, *(ref for calls in model.arguments.values() for inputs in calls for ref in inputs)]:
        used.setdefault(ref.layer, []).append(ref.call)
    offsets = {}
    for name, layer in model.layers.items():
        calls = used.get(name, [0])
        if not isinstance(layer, Model) or 0 in calls:
            offsets[name] = 0
        elif max(calls) >= len(model.arguments[name]):
            offsets[name] = 1
        else:
            known = layer.kind != "Sequential" or (model.file.keras[0] == 2 and not layer.synthetic)
            offsets[name] = 1 if known else 0
    return offsets


def _value(model: Model, done: dict[Key, list[int]], offsets: dict[str, int], ref: Ref) -> int:
    values = done.get((ref.layer, ref.call - offsets.get(ref.layer, 0)))
    if values is None or ref.output >= len(values):
        model.fail(
            f"output {ref.output} of call {ref.call} of layer {ref.layer!r} is used, but there is no such output."
        )
    return values[ref.output]


def _order(model: Model, offsets: dict[str, int]) -> list[Key]:
    """Return the calls that the outputs need, so that each comes after those that it needs, else in stored order."""
    needs: dict[Key, list[Key]] = {}
    for name, calls in model.arguments.items():
        for index, inputs in enumerate(calls):
            needs[(name, index)] = [(ref.layer, ref.call - offsets.get(ref.layer, 0)) for ref in inputs]
    wanted = _needed(model, needs, [(ref.layer, ref.call - offsets.get(ref.layer, 0)) for ref in model.outputs])
    waiting = {key: len(set(needs[key])) for key in wanted}
    users: dict[Key, list[Key]] = {key: [] for key in wanted}
    for key in wanted:
        for need in set(needs[key]):
            users[need].append(key)
    ready = deque(key for key, count in waiting.items() if count == 0)
    found = []
    while ready:
        key = ready.popleft()
        found.append(key)
        for user in users[key]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if len(found) < len(wanted):
        stuck = next(key for key in wanted if waiting[key])
        layer = model.layers[stuck[0]]
        layer.fail("depends on its own output: the connections of the layers go in a circle.")
    return found


def _needed(model: Model, needs: dict[Key, list[Key]], ends: list[Key]) -> list[Key]:
    seen: set[Key] = set()
    stack = list(ends)
    while stack:
        key = stack.pop()
        if key in seen:
            continue
        if key not in needs:
            model.fail(f"the output of layer {key[0]!r} (call {key[1]}) is used, but there is no such layer or call.")
        seen.add(key)
        stack.extend(needs[key])
    return [key for key in needs if key in seen]
