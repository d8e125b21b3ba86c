"""Convolutions and dense layers."""

from __future__ import annotations

import numpy as np

from ._activation import fused
from ._emit import Emitter, Value
from ._layer import Array, Layer

__all__ = ["convolution", "dense", "padded", "same", "spatial", "transposed"]


def same(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return TensorFlow's 'same' padding before and after one axis: what is odd goes after it."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def convolution(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Conv1D``, ``Conv2D``, ``Conv3D``."""
    x, axes = spatial(emit, layer, inputs[0])
    filters, groups = layer.integer("filters"), layer.integer("groups", 1)
    kernel, strides = layer.sizes("kernel_size", axes), layer.sizes("strides", axes, 1)
    dilation = layer.sizes("dilation_rate", axes, 1)
    channels = x.shape[-1]
    if channels % groups or filters % groups:
        layer.fail(f"has {groups} groups, which divide neither {channels} channels nor {filters} filters evenly.")
    pads = _pads(layer, x, kernel, strides, dilation)
    shape = tuple(
        (n + sum(pad) - d * (k - 1) - 1) // s + 1
        for n, pad, d, k, s in zip(x.shape, pads, dilation, kernel, strides, strict=False)
    )
    # One module serves all calls of a shared layer, so what depends on the input's size is outside it.
    explicit = layer.calls > 1 or any(before != after for before, after in pads)
    if explicit and any(map(sum, pads)):
        x = padded(emit, layer, x, pads, suffix="_pad")
    weights, bias = _weights(layer, (*kernel, channels // groups, filters), filters)
    params = {
        "in_channels": channels, "out_channels": filters, "kernel_size": list(kernel), "stride": list(strides),
        "padding": 0 if explicit else [before for before, _ in pads], "dilation": list(dilation), "groups": groups,
        "bias": bias is not None,
    }  # fmt: skip
    torch_order = (axes + 1, axes, *range(axes))
    found = {"weight": weights.transpose(torch_order)} | ({} if bias is None else {"bias": bias})
    y = emit.module(layer, f"Conv{axes}d", x, (*shape, filters), params, weights=found)
    return fused(emit, layer, y)


def spatial(emit: Emitter, layer: Layer, x: Value) -> tuple[Value, int]:
    """Return the input in Keras' order and the number of axes that the class works on."""
    layer.channels_last()
    axes = int(next(c for c in layer.kind if c.isdigit()))
    if x.axes != axes:
        layer.fail(f"its input has the shape {x.shape}; {axes} axes and channels were expected.")
    return emit.ordered(layer, x), axes


def _pads(
    layer: Layer, x: Value, kernel: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    allowed = ("valid", "same", "causal") if layer.kind == "Conv1D" else ("valid", "same")
    padding = layer.choice("padding", "valid", allowed)
    if padding == "causal":
        return [(dilation[0] * (kernel[0] - 1), 0)]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    return [same(*each) for each in zip(x.shape, kernel, strides, dilation, strict=False)]


def padded(emit: Emitter, layer: Layer, x: Value, pads: list[tuple[int, int]], suffix: str = "") -> Value:
    """Add zeros at both ends of every axis, or take voxels away where numbers are negative."""
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, pads, strict=False))
    flat = [number for pair in reversed(pads) for number in pair]
    return emit.module(
        layer, f"ConstantPad{len(pads)}d", x, (*shape, x.shape[-1]), {"padding": flat, "value": 0.0}, suffix=suffix
    )


def _weights(layer: Layer, kernel: tuple[int, ...], outputs: int) -> tuple[Array, Array | None]:
    if layer.flag("use_bias", True):
        found = layer.take(kernel=kernel, bias=(outputs,))
        return found["kernel"], found["bias"]
    return layer.take(kernel=kernel)["kernel"], None


def transposed(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``ConvTranspose``: the gradient of a convolution, padded as TensorFlow does."""
    x, axes = spatial(emit, layer, inputs[0])
    filters, channels = layer.integer("filters"), x.shape[-1]
    if layer.integer("groups", 1) != 1:
        layer.fail("has groups, which TensorFlow does not compute for this class.")
    kernel, strides = layer.sizes("kernel_size", axes), layer.sizes("strides", axes, 1)
    dilation = layer.sizes("dilation_rate", axes, 1)
    extra = layer.config.get("output_padding")
    extras = [None] * axes if extra is None else list(layer.sizes("output_padding", axes, least=0))
    padding = layer.choice("padding", "valid", ("valid", "same"))
    before, add, crop, shape = [], [], [], []
    for n, k, s, d, e in zip(x.shape, kernel, strides, dilation, extras, strict=False):
        size, left = _transposed_axis(layer, n, d * (k - 1) + 1, s, e, padding)
        missing = size - ((n - 1) * s + d * (k - 1) + 1 - 2 * left)
        if missing >= max(s, d):
            layer.fail(f"its output_padding {extra} does not fit its strides {strides}.")
        before.append(left)
        add.append(max(missing, 0))
        crop.append((0, min(missing, 0)))
        shape.append(size)
    weights, bias = _weights(layer, (*kernel, filters, channels), filters)
    params = {
        "in_channels": channels, "out_channels": filters, "kernel_size": list(kernel), "stride": list(strides),
        "padding": before, "output_padding": add, "bias": bias is not None, "dilation": list(dilation),
    }  # fmt: skip
    found = {"weight": weights.transpose((axes + 1, axes, *range(axes)))} | ({} if bias is None else {"bias": bias})
    larger = tuple(n - each for n, (_, each) in zip(shape, crop, strict=True))
    y = emit.module(layer, f"ConvTranspose{axes}d", x, (*larger, filters), params, weights=found)
    if any(each for _, each in crop):
        y = padded(emit, layer, y, crop, suffix="_crop")
    return fused(emit, layer, y)


def _transposed_axis(
    layer: Layer, n: int, kernel: int, stride: int, extra: int | None, padding: str
) -> tuple[int, int]:
    """Return the output's size and how much of the full result is cut off before it; ``kernel`` includes dilation."""
    if extra is not None:
        size = (n - 1) * stride + kernel - (kernel // 2 * 2 if padding == "same" else 0) + extra
    else:
        size = n * stride if padding == "same" else n * stride + max(kernel - stride, 0)
    reached = -(-size // stride) if padding == "same" else -(-(size - kernel + 1) // stride)
    if reached != n or size < 1:
        layer.fail(f"its output_padding {extra} does not fit its strides and kernel: TensorFlow refuses it too.")
    return size, same(size, kernel, stride)[0] if padding == "same" else 0


def dense(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    """``Dense``: works on the last axis; on maps, at each voxel."""
    x, units = inputs[0], layer.integer("units")
    weights, bias = _weights(layer, (x.shape[-1], units), units)
    if x.flattened is not None:
        order = np.arange(x.shape[-1]).reshape(x.flattened)
        weights = weights[np.moveaxis(order, -1, 0).ravel()]
    found = {"weight": weights.T} | ({} if bias is None else {"bias": bias})
    params = {"in_features": x.shape[-1], "out_features": units, "bias": bias is not None}
    last = (*x.shape[:-1], units)
    moved = emit.permuted(layer, x, [0, *range(2, x.axes + 2), 1], x.shape)
    y = emit.module(layer, "Linear", moved, last, params, weights=found)
    y = emit.permuted(layer, y, [0, x.axes + 1, *range(1, x.axes + 1)], last)
    return fused(emit, layer, y)
