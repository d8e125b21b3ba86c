"""Layers that reorder or drop values, and those that join several."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ._emit import Emitter, Value
from ._layer import Layer

__all__ = ["concatenate", "dropout", "flatten", "identity", "merge", "permute", "reshape", "spatial_dropout"]


def flatten(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Flatten``: in Keras' order, channels running fastest, or in torch's where all that follows allows it."""
    layer.channels_last()
    return emit.flat(layer, inputs[0], keep=id(layer) in emit.late)


def reshape(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Reshape``; one size may be -1."""
    target = layer.config.get("target_shape")
    if not isinstance(target, Sequence) or not all(type(size) is int and (size > 0 or size == -1) for size in target):
        layer.fail(f"target_shape is {str(target)[:60]}; whole numbers were expected.")
    x = emit.ordered(layer, inputs[0])
    size, known = math.prod(x.shape), math.prod(each for each in target if each > 0)
    shape = tuple(size // known if each == -1 else each for each in target)
    if list(target).count(-1) > 1 or math.prod(shape) != size:
        layer.fail(f"target_shape is {list(target)}, which does not hold its input's {size} values (shape {x.shape}).")
    if not shape:
        layer.fail("target_shape is empty.")
    if shape == x.shape:
        return x
    late = len(shape) == 1 and id(layer) in emit.late
    flat = emit.flat(layer, x, keep=late, suffix="" if len(shape) == 1 else "_flatten")
    return emit.unflat(layer, flat, shape)


def permute(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Permute``: axes counted from 1, the last is that of the channels."""
    x = emit.ordered(layer, inputs[0])
    dims = layer.sizes("dims", x.axes + 1)
    if sorted(dims) != list(range(1, x.axes + 2)):
        layer.fail(f"dims is {list(dims)}; each of 1 to {x.axes + 1} was expected once.")
    shape = tuple(x.shape[dim - 1] for dim in dims)
    places = [1 if dim == x.axes + 1 else dim + 1 for dim in dims]  # of Keras' axes in torch
    return emit.permuted(layer, x, [0, places[-1], *places[:-1]], shape)


def dropout(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Dropout`` and ``AlphaDropout``: does something in training only."""
    x = inputs[0]
    if layer.config.get("noise_shape") is not None:
        emit.notes.append(f"{layer.label}: its noise_shape is not kept; in training each value is dropped by itself")
    return _dropped(emit, layer, x, layer.kind)


def _dropped(emit: Emitter, layer: Layer, x: Value, cls: str) -> Value:
    rate = layer.number("rate", 0.5)
    if not 0 <= rate <= 1:
        layer.fail(f"rate is {rate}; a number from 0 to 1 was expected.")
    y = emit.module(layer, cls, x, x.shape, {"p": rate})
    return Value(y.node, y.shape, x.flattened)


def spatial_dropout(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``SpatialDropout``: drops whole channels, in training only."""
    layer.channels_last()
    axes = int(layer.kind[-2])
    x = emit.ordered(layer, inputs[0])
    if x.axes != axes:
        layer.fail(f"its input has the shape {x.shape}; {axes} axes and channels were expected.")
    return _dropped(emit, layer, x, f"Dropout{axes}d")


def identity(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``GaussianNoise`` and ``GaussianDropout``: nothing when predicting; torch has no such layer for training."""
    x = inputs[0]
    emit.notes.append(f"{layer.label}: adds no noise when this network is trained further")
    y = emit.module(layer, "Identity", x, x.shape, {})
    return Value(y.node, y.shape, x.flattened)


_FUNCTIONS = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Average": "add", "Maximum": "maximum", "Minimum": "minimum",
}  # fmt: skip


def merge(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Add``, ``Multiply``, ``Maximum`` and the like; missing axes are put after the batch."""
    if len(inputs) < 2 or (layer.kind == "Subtract" and len(inputs) != 2):
        layer.fail(f"has {len(inputs)} inputs; {'two' if layer.kind == 'Subtract' else 'at least two'} were expected.")
    rank = max(len(x.shape) for x in inputs)
    values = [_lifted(emit, layer, emit.ordered(layer, x), rank) for x in inputs]
    total = values[0]
    for x in values[1:]:
        sizes = list(zip(total.shape, x.shape, strict=True))
        if any(a != b and 1 not in (a, b) for a, b in sizes):
            layer.fail(f"its inputs have the shapes {', '.join(str(each.shape) for each in inputs)}, which do not fit.")
        total = emit.function(layer, _FUNCTIONS[layer.kind], (total, x), tuple(max(pair) for pair in sizes))
    if layer.kind == "Average":
        total = emit.function(layer, "div", (total,), total.shape, other=float(len(values)))
    return total


def _lifted(emit: Emitter, layer: Layer, x: Value, rank: int) -> Value:
    while len(x.shape) < rank:
        # Keras puts the axis after the batch, which in torch is after the channels.
        x = emit.function(layer, "unsqueeze", (x,), (1, *x.shape), dim=2)
    return x


def concatenate(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Concatenate`` along one axis."""
    values = [emit.ordered(layer, x) for x in inputs]
    rank = len(values[0].shape)
    axis = layer.axis(rank)
    rest = {(*x.shape[: axis - 1], *x.shape[axis:]) for x in values}
    if len(values) < 2 or len(rest) != 1 or any(len(x.shape) != rank for x in values):
        layer.fail(f"its inputs have the shapes {', '.join(str(x.shape) for x in values)}, which cannot be joined.")
    size = sum(x.shape[axis - 1] for x in values)
    shape = (*values[0].shape[: axis - 1], size, *values[0].shape[axis:])
    return emit.function(layer, "cat", values, shape, dim=1 if axis == rank else axis + 1)
