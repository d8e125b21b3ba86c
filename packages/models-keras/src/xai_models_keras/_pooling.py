"""Pooling, padding, cropping and upsampling."""

from __future__ import annotations

import math
from typing import Any

from ._convolution import padded, same, spatial
from ._emit import Emitter, Value
from ._layer import Layer

__all__ = ["cropping", "global_pooling", "pooling", "upsampling", "zero_padding"]


def pooling(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``MaxPooling`` and ``AveragePooling``; padding is neither a maximum nor counted in an average.

    With 'same' padding TensorFlow adds as many voxels before an axis as after it, or one fewer. Torch adds as many;
    ``ceil_mode`` lets the last window reach over the end, which is the same for strides above 1. A window of even
    size that moves by one voxel gets one place too many at the beginning, which is cropped.
    """
    x, axes = spatial(emit, layer, inputs[0])
    maximum = layer.kind.startswith("Max")
    window = layer.sizes("pool_size", axes, 2)
    strides = window if layer.config.get("strides") is None else layer.sizes("strides", axes)
    before, crop, shape = [0] * axes, [0] * axes, []
    if layer.choice("padding", "valid", ("valid", "same")) == "same":
        for axis, (n, k, s) in enumerate(zip(x.shape, window, strides, strict=False)):
            extra = s == 1 and k % 2 == 0
            before[axis] = k // 2 if extra else same(n, k, s)[0]
            crop[axis] = -1 if extra else 0
            shape.append(-(-n // s))
    else:
        shape = [(n - k) // s + 1 for n, k, s in zip(x.shape, window, strides, strict=False)]
    pooled = tuple(size - each for size, each in zip(shape, crop, strict=True))
    floors = ((n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape, before, window, strides, strict=False))
    params: dict[str, Any] = {"kernel_size": list(window), "stride": list(strides), "padding": before}
    if tuple(floors) != pooled:
        params["ceil_mode"] = True
    if not maximum:
        params["count_include_pad"] = False
    cls = f"{'Max' if maximum else 'Avg'}Pool{axes}d"
    y = emit.module(layer, cls, x, (*pooled, x.shape[-1]), params)
    return padded(emit, layer, y, [(each, 0) for each in crop], suffix="_crop") if any(crop) else y


def global_pooling(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``GlobalMaxPooling`` and ``GlobalAveragePooling``."""
    x, axes = spatial(emit, layer, inputs[0])
    cls = f"Adaptive{'Max' if 'Max' in layer.kind else 'Avg'}Pool{axes}d"
    y = emit.module(layer, cls, x, (*[1] * axes, x.shape[-1]), {"output_size": 1})
    return y if layer.flag("keepdims", False) else emit.flat(layer, y, keep=False, suffix="_flatten")


def zero_padding(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``ZeroPadding``."""
    x, axes = spatial(emit, layer, inputs[0])
    return padded(emit, layer, x, list(layer.borders("padding", axes)))


def cropping(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Cropping``: a padding by negative numbers."""
    x, axes = spatial(emit, layer, inputs[0])
    return padded(emit, layer, x, [(-before, -after) for before, after in layer.borders("cropping", axes)])


def upsampling(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``UpSampling``: repeats voxels; in 2D also linear interpolation."""
    x, axes = spatial(emit, layer, inputs[0])
    factors = layer.sizes("size", axes, 2)
    allowed = ("nearest", "bilinear") if axes == 2 else ("nearest",)
    mode = layer.choice("interpolation", "nearest", allowed)
    if mode == "bilinear" and layer.file.keras < (2, 3):
        layer.fail(f"interpolates, and Keras {layer.file.version} did so in another way than later versions.")
    shape = tuple(n * factor for n, factor in zip(x.shape, factors, strict=False))
    params: dict[str, Any] = {"scale_factor": [float(factor) for factor in factors], "mode": mode}
    if mode == "bilinear":
        params["align_corners"] = False
    if math.prod(factors) == 1:
        return x
    return emit.module(layer, "Upsample", x, (*shape, x.shape[-1]), params)
