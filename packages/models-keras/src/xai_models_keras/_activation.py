"""Activations: as layers, and as part of other layers.

Every activation module has the attribute ``keras_class``: ``"Activation"`` for an ``Activation`` layer and for one
that is part of another layer, else the class (``"ReLU"``, ``"LeakyReLU"`` ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ._emit import Emitter, Value, first
from ._layer import Layer

__all__ = ["activation", "elu", "fused", "leaky_relu", "prelu", "relu", "softmax"]

# Name -> class in torch.nn and its parameters.
_PLAIN: Mapping[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU", {}),
    "relu6": ("ReLU6", {}),
    "elu": ("ELU", {"alpha": 1.0}),
    "celu": ("CELU", {"alpha": 1.0}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {}),
    "swish": ("SiLU", {}),
    "silu": ("SiLU", {}),
    "mish": ("Mish", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "log_sigmoid": ("LogSigmoid", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "hard_tanh": ("Hardtanh", {}),
    "hard_silu": ("Hardswish", {}),
    "hard_swish": ("Hardswish", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.2}),
}
_KERAS_3 = ("celu", "log_sigmoid", "hard_tanh", "hard_silu", "hard_swish")
# Classes that may stand, with or without a configuration, where a name is expected.
_LAYERS = ("ReLU", "LeakyReLU", "ELU", "Softmax")


def activation(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Activation``."""
    return _named(emit, layer, inputs[0], "")


def fused(emit: Emitter, layer: Layer, x: Value) -> Value:
    """Apply the activation that is part of another layer."""
    return _named(emit, layer, x, "_activation")


def _named(emit: Emitter, layer: Layer, x: Value, suffix: str) -> Value:
    name = _name(layer)
    if name in _LAYERS:
        stored = layer.config.get("activation")
        config = stored.get("config", {}) if isinstance(stored, Mapping) else {}
        inner = replace(layer, path=(*layer.path[:-1], layer.path[-1] + suffix), config=config)
        inner.kind = f"{layer.kind} with {name}"
        return _AS_LAYERS[name](emit, inner, [x], "Activation")
    if name == "linear":
        return x
    if name in ("softmax", "log_softmax"):
        return _softmax(
            emit, layer, x, x.axes + 1, "Softmax" if name == "softmax" else "LogSoftmax", suffix, "Activation"
        )
    if name == "exponential":
        return replace(emit.function(layer, "exp", (x,), x.shape), flattened=x.flattened)
    if name == "hard_sigmoid":
        return _hard_sigmoid(emit, layer, x, suffix)
    cls, params = _PLAIN.get(name, ("", {}))
    if not cls or (name in _KERAS_3 and layer.file.keras[0] < 3):
        layer.fail(f"its activation is {name!r}, which this reader does not know.")
    return _elementwise(emit, layer, cls, x, params, suffix, "Activation")


def _name(layer: Layer) -> str:
    """Return the name of a layer's activation; Keras 2.13 and later may store it as an object."""
    stored = layer.config.get("activation")
    if stored is None:
        return "linear"
    if isinstance(stored, str):
        if ">" in stored:
            _foreign(layer, stored)
        return stored
    if not isinstance(stored, Mapping):
        layer.fail(f"its activation is stored as a {type(stored).__name__}.")
    kind, inner = stored.get("class_name"), stored.get("config")
    module, registered = stored.get("module"), stored.get("registered_name")
    own = module is None or (isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "builtins"))
    if kind == "function" and own and isinstance(inner, str) and registered in (None, inner, "function"):
        return inner
    if own and isinstance(kind, str) and isinstance(inner, Mapping) and registered in (None, kind) and kind in _LAYERS:
        return kind
    return _foreign(layer, registered or kind)


def _foreign(layer: Layer, name: object) -> NoReturn:
    layer.fail(
        f"its activation is {str(name)[:80]!r}, code that is not Keras' own and is not run. Use a named activation."
    )


def _elementwise(
    emit: Emitter, layer: Layer, cls: str, x: Value, params: Mapping[str, Any], suffix: str, keras: str | None
) -> Value:
    return replace(emit.module(layer, cls, x, x.shape, params, suffix=suffix, keras=keras), flattened=x.flattened)


def _hard_sigmoid(emit: Emitter, layer: Layer, x: Value, suffix: str) -> Value:
    if layer.file.keras[0] >= 3:  # relu6(x + 3) / 6
        return _elementwise(emit, layer, "Hardsigmoid", x, {}, suffix, "Activation")
    scaled = emit.function(layer, "mul", (x,), x.shape, other=0.2)
    moved = replace(emit.function(layer, "add", (scaled,), x.shape, other=0.5), flattened=x.flattened)
    return _elementwise(emit, layer, "Hardtanh", moved, {"min_val": 0.0, "max_val": 1.0}, suffix, "Activation")


def softmax(emit: Emitter, layer: Layer, inputs: list[Value], keras: str = "Softmax") -> Value:
    """``Softmax`` along one axis."""
    x = inputs[0]
    if len(inputs) > 1:
        layer.fail("is called with a mask, which is not supported.")
    return _softmax(emit, layer, x, layer.axis(x.axes + 1), "Softmax", "", keras)


def _softmax(emit: Emitter, layer: Layer, x: Value, axis: int, cls: str, suffix: str, keras: str) -> Value:
    dim = 1 if axis == x.axes + 1 else axis + 1
    return _elementwise(emit, layer, cls, x, {"dim": dim}, suffix, keras)


def relu(emit: Emitter, layer: Layer, inputs: list[Value], keras: str = "ReLU") -> Value:
    """``ReLU``: x above ``threshold`` and up to ``max_value``; ``negative_slope (x - threshold)`` below."""
    x = inputs[0]
    slope, threshold = _optional(layer, "negative_slope", 0.0), _optional(layer, "threshold", 0.0)
    top = layer.number("max_value") if layer.config.get("max_value") is not None else None
    if slope < 0 or (top is not None and (top < 0 or top <= threshold)):
        layer.fail(
            f"has the negative_slope {slope}, the threshold {threshold} and the max_value {top}, which do not fit."
        )
    if threshold == 0:
        return _relu_at_zero(emit, layer, x, slope, top, keras)
    y = _elementwise(emit, layer, "Threshold", x, {"threshold": threshold, "value": 0.0}, "", keras)
    if top is not None:
        y = emit.function(layer, "clamp", (y,), x.shape, max=top)
    if slope:
        below = emit.function(layer, "sub", (x,), x.shape, other=threshold)
        below = emit.function(layer, "clamp", (below,), x.shape, max=0.0)
        below = emit.function(layer, "mul", (below,), x.shape, other=slope)
        y = emit.function(layer, "add", (y, below), x.shape)
    return replace(y, flattened=x.flattened)


def _relu_at_zero(emit: Emitter, layer: Layer, x: Value, slope: float, top: float | None, keras: str) -> Value:
    if slope:
        y = _elementwise(emit, layer, "LeakyReLU", x, {"negative_slope": slope}, "", keras)
        return (
            y if top is None else replace(emit.function(layer, "clamp", (y,), x.shape, max=top), flattened=x.flattened)
        )
    if top is None:
        return _elementwise(emit, layer, "ReLU", x, {}, "", keras)
    if top == 6:
        return _elementwise(emit, layer, "ReLU6", x, {}, "", keras)
    return _elementwise(emit, layer, "Hardtanh", x, {"min_val": 0.0, "max_val": top}, "", keras)


def _optional(layer: Layer, key: str, default: float) -> float:
    return default if layer.config.get(key) is None else layer.number(key)


def leaky_relu(emit: Emitter, layer: Layer, inputs: list[Value], keras: str = "LeakyReLU") -> Value:
    """``LeakyReLU``: the slope is ``alpha`` in Keras 2, ``negative_slope`` in Keras 3."""
    key = "negative_slope" if "negative_slope" in layer.config else "alpha"
    params = {"negative_slope": layer.number(key, 0.3)}
    return _elementwise(emit, layer, "LeakyReLU", inputs[0], params, "", keras)


def elu(emit: Emitter, layer: Layer, inputs: list[Value], keras: str = "ELU") -> Value:
    """``ELU``."""
    return _elementwise(emit, layer, "ELU", inputs[0], {"alpha": layer.number("alpha", 1.0)}, "", keras)


def prelu(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``PReLU``: a slope for each channel, for all, or (Keras' default) for each voxel.

    Torch's layer has one slope or one for each channel. For others the value is flattened, and slopes that several
    voxels share become one for each.
    """
    x = emit.ordered(layer, inputs[0])
    shared = layer.config.get("shared_axes") or []
    if isinstance(shared, int) or not all(type(axis) is int for axis in shared):
        shared = [shared] if type(shared) is int else layer.fail(f"shared_axes is {shared!r}; axes were expected.")
    axes = {axis if axis > 0 else axis + x.axes + 2 for axis in shared}
    if not axes <= set(range(1, x.axes + 2)):
        layer.fail(f"shared_axes is {shared!r}, but its input has the axes 1 to {x.axes + 1} besides the batch.")
    shape = tuple(1 if index + 1 in axes else size for index, size in enumerate(x.shape))
    alpha = layer.take(alpha=shape)["alpha"]
    if all(size == 1 for size in shape[:-1]):
        params = {"num_parameters": shape[-1]}
        return emit.module(layer, "PReLU", x, x.shape, params, weights={"weight": alpha.ravel()}, keras="PReLU")
    if layer.calls > 1:
        layer.fail("has a slope for each voxel and is called several times, which is not supported.")
    if alpha.shape != x.shape:
        emit.notes.append(f"{layer.label}: slopes that several voxels share are trained apart from each other")
    slopes = np.moveaxis(np.broadcast_to(alpha, x.shape), -1, 0).ravel()
    flat = emit.module(layer, "Flatten", x, (slopes.size,), {}, suffix="_flatten")
    params = {"num_parameters": slopes.size}
    y = emit.module(layer, "PReLU", flat, flat.shape, params, weights={"weight": slopes}, keras="PReLU")
    back = {"dim": 1, "unflattened_size": list(first(x.shape))}
    return emit.module(layer, "Unflatten", y, x.shape, back, suffix="_unflatten")


_AS_LAYERS = {"ReLU": relu, "LeakyReLU": leaky_relu, "ELU": elu, "Softmax": softmax}
