"""Normalisation and scaling."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._emit import Emitter, Value
from ._layer import Array, Layer

__all__ = ["batch_norm", "group_norm", "instance_norm", "normalization", "rescaling"]


def batch_norm(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``BatchNormalization`` over the last axis. Torch's momentum is the share of the new, Keras' that of the old."""
    x = inputs[0]
    if layer.flag("renorm", False) or layer.config.get("virtual_batch_size") is not None:
        layer.fail("uses renorm or virtual_batch_size, which is not supported.")
    channels = _last_axis(layer, x)
    found = _affine(layer, channels, moving_mean=(channels,), moving_variance=(channels,))
    if (found["moving_variance"] < 0).any():
        layer.fail("its moving_variance has negative values, so the network can predict nothing.")
    weights = {"running_mean": found["moving_mean"], "running_var": found["moving_variance"]}
    weights["num_batches_tracked"] = np.zeros((), np.int64)
    affine = "weight" in found
    weights |= {key: found[key] for key in ("weight", "bias") if affine}
    if x.flattened is not None:
        order = np.moveaxis(np.arange(channels).reshape(x.flattened), -1, 0).ravel()
        weights = {key: value[order] if value.ndim else value for key, value in weights.items()}
    momentum = layer.number("momentum", 0.99)
    if not 0 <= momentum <= 1:
        layer.fail(f"momentum is {momentum}; a number from 0 to 1 was expected.")
    params = {
        "num_features": channels, "eps": _epsilon(layer), "momentum": round(1 - momentum, 12), "affine": affine,
    }  # fmt: skip
    y = emit.module(layer, f"BatchNorm{_dimensions(layer, x)}d", x, x.shape, params, weights=weights)
    return Value(y.node, y.shape, x.flattened)


def _last_axis(layer: Layer, x: Value) -> int:
    if layer.axis(x.axes + 1) != x.axes + 1:
        layer.fail(
            f"normalises along the axis {layer.config.get('axis')}; only the last one, of the channels, is supported."
        )
    return x.shape[-1]


def _dimensions(layer: Layer, x: Value) -> int:
    if x.axes > 3:
        layer.fail(f"its input has {x.axes} axes besides batch and channels; at most 3 are supported.")
    return max(x.axes, 1)


def _epsilon(layer: Layer) -> float:
    epsilon = layer.number("epsilon", 1e-3)
    if epsilon < 0:
        layer.fail(f"epsilon is {epsilon}; it cannot be negative.")
    return epsilon


def _affine(layer: Layer, channels: int, **further: tuple[int, ...]) -> dict[str, Array]:
    """Return factor and offset by torch's names, both if the layer has one of them, and further weights."""
    scale, center = layer.flag("scale", True), layer.flag("center", True)
    wanted = {"gamma": scale, "beta": center}
    found = layer.take(**{key: (channels,) for key, has in wanted.items() if has}, **further)
    if scale or center:
        found["weight"] = found.pop("gamma", np.ones(channels, np.float32))
        found["bias"] = found.pop("beta", np.zeros(channels, np.float32))
    return found


def group_norm(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``GroupNormalization``: over groups of channels and all other axes."""
    x = emit.ordered(layer, inputs[0])
    channels = _last_axis(layer, x)
    groups = channels if layer.config.get("groups") == -1 else layer.integer("groups", 32)
    if channels % groups:
        layer.fail(f"has {groups} groups, which do not divide {channels} channels evenly.")
    weights = _affine(layer, channels)
    params = {"num_groups": groups, "num_channels": channels, "eps": _epsilon(layer), "affine": bool(weights)}
    return emit.module(layer, "GroupNorm", x, x.shape, params, weights=weights)


def instance_norm(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``InstanceNormalization``: each channel of each scan by its own mean and variance.

    Two packages define it. TensorFlow Addons stores the class with its package, or else ``groups``.
    """
    x = emit.ordered(layer, inputs[0])
    if layer.kind == "InstanceNormalization" and "groups" not in layer.config:
        return _contrib_norm(emit, layer, x)
    channels = _last_axis(layer, x)
    if x.axes == 0:
        layer.fail("its input has no axis besides batch and channels, over which it could normalise.")
    weights = _affine(layer, channels)
    params = {"num_features": channels, "eps": _epsilon(layer), "affine": bool(weights)}
    return emit.module(layer, f"InstanceNorm{_dimensions(layer, x)}d", x, x.shape, params, weights=weights)


def _contrib_norm(emit: Emitter, layer: Layer, x: Value) -> Value:
    """That of keras-contrib: epsilon is added to the standard deviation; without an axis, over the channels too."""
    by_channel = layer.config.get("axis") is not None
    channels = _last_axis(layer, x) if by_channel else 1
    learnt = _affine(layer, channels)
    kept = (*[1] * x.axes, channels)
    dims = {"dim": list(range(2 if by_channel else 1, x.axes + 2)), "keepdim": True}
    if not dims["dim"]:
        layer.fail("its input has no axis besides batch and channels, over which it could normalise.")
    centred = emit.function(layer, "sub", (x, emit.function(layer, "mean", (x,), kept, **dims)), x.shape)
    square = emit.function(layer, "mul", (centred, centred), x.shape)
    deviation = emit.function(layer, "sqrt", (emit.function(layer, "mean", (square,), kept, **dims),), kept)
    y = emit.function(layer, "add", (deviation,), kept, other=_epsilon(layer))
    y = emit.function(layer, "div", (centred, y), x.shape)
    if learnt:
        emit.notes.append(f"{layer.label}: its factor and offset are constants here and are not trained further")
        factor = emit.constant(layer, "_factor", learnt["weight"].reshape(kept))
        offset = emit.constant(layer, "_offset", learnt["bias"].reshape(kept))
        y = emit.function(layer, "add", (emit.function(layer, "mul", (y, factor), x.shape), offset), x.shape)
    return y


def rescaling(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Rescaling``: x scale + offset."""
    x = inputs[0]
    if any(isinstance(layer.config.get(key), list) for key in ("scale", "offset")):
        return _rescaling_by_channel(emit, layer, emit.ordered(layer, x))
    scale, offset = layer.number("scale", 1.0), layer.number("offset", 0.0)
    y = x if scale == 1 else emit.function(layer, "mul", (x,), x.shape, other=scale)
    y = y if offset == 0 else emit.function(layer, "add", (y,), x.shape, other=offset)
    return Value(y.node, y.shape, x.flattened)


def _rescaling_by_channel(emit: Emitter, layer: Layer, x: Value) -> Value:
    y = x
    for key, function, default in (("scale", "mul", 1.0), ("offset", "add", 0.0)):
        value = _numbers(layer, key, default)
        if value.shape not in ((), (1,), x.shape[-1:]):
            layer.fail(
                f"{key} has the shape {value.shape}; one number or {x.shape[-1]}, one for each channel, was expected."
            )
        value = np.broadcast_to(value, (*[1] * x.axes, x.shape[-1]))
        y = emit.function(layer, function, (y, emit.constant(layer, f"_{key}", value)), x.shape)
    return y


def normalization(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Normalization``: (x - mean) / standard deviation, known beforehand; ``invert`` goes back."""
    x = emit.ordered(layer, inputs[0])
    shape = _statistics_shape(layer, x)
    mean, variance = _statistics(layer, shape)
    if (variance < 0).any():
        layer.fail("its variance has negative values, so the network can predict nothing.")
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))  # keras.backend.epsilon()
    m, d = emit.constant(layer, "_mean", mean), emit.constant(layer, "_deviation", deviation)
    if layer.flag("invert", False):
        y = emit.function(layer, "mul", (x, d), x.shape)
        return emit.function(layer, "add", (y, m), x.shape)
    y = emit.function(layer, "sub", (x, m), x.shape)
    return emit.function(layer, "div", (y, d), x.shape)


def _statistics_shape(layer: Layer, x: Value) -> tuple[int, ...]:
    stored = layer.config.get("axis", -1)
    axes = [] if stored is None else stored if isinstance(stored, list) else [stored]
    if not all(type(axis) is int for axis in axes):
        layer.fail(f"axis is {stored!r}; axes were expected.")
    kept = {axis + x.axes + 2 if axis < 0 else axis for axis in axes}
    if not kept <= set(range(1, x.axes + 2)):
        layer.fail(f"axis is {stored!r}, but its input has the axes 1 to {x.axes + 1} besides the batch.")
    return tuple(size if index + 1 in kept else 1 for index, size in enumerate(x.shape))


def _statistics(layer: Layer, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and variance from the configuration, or else as learnt from data."""
    kept = tuple(size for size in shape if size > 1)
    if layer.config.get("mean") is not None:
        mean, variance = (_numbers(layer, key) for key in ("mean", "variance"))
        layer.take()
    else:
        stored = [each.value for each in layer.weights]
        layer.used = True
        if len(stored) not in (2, 3):
            layer.fail(f"needs a mean and a variance, but the file holds {len(stored)} weights for it.")
        mean, variance = stored[0], stored[1]
    values = []
    for value in (mean, variance):
        if not value.size or tuple(size for size in value.shape if size > 1) not in (kept, ()):
            layer.fail(f"its statistics have the shape {value.shape}; its axis asks for {kept}.")
        values.append(np.array(np.broadcast_to(value.reshape(shape if value.size > 1 else ()), shape), np.float32))
    return values[0], values[1]


def _numbers(layer: Layer, key: str, default: float | None = None) -> Array:
    value: Any = layer.config.get(key, default)
    while isinstance(value, dict):
        value = value.get("config", value.get("value"))
    try:
        found = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        layer.fail(f"{key} is no array of numbers.")
    if not np.isfinite(found).all():
        layer.fail(f"{key} holds values that are no numbers.")
    return found
