"""What shape each node of a description gives, by torch's formulas.

Torch could tell by running the network on tensors without values, but loads its compiler for that, which takes longer
than reading the network. Shapes here are [channels, axes ...], without the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["shapes"]

Shape = tuple[int, ...]
Params = Mapping[str, Any]

_MOST_ELEMENTS = 2**33


def shapes(description: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shape of each node by name.

    Raises:
        ValueError: What the description says does not fit together. Whatever else is wrong with it raises ``KeyError``,
            ``TypeError`` or the like.
    """
    known: dict[str, Shape] = {}
    inputs = {each["name"]: tuple(each["shape"]) for each in description["inputs"]}
    for node in description["nodes"]:
        name = node["name"]
        given = [known[each] for each in node["inputs"]]
        if "input" in node:
            found = inputs[name]
        elif "buffer" in node:
            found = tuple(description["buffers"][node["buffer"]])[1:]
        elif "module" in node:
            module = description["modules"][node["module"]]
            found = _module(module["class"], module["params"], *given)
        else:
            found = _FUNCTIONS[node["function"]](node.get("params", {}), *given)
        if not found or min(found) < 1 or math.prod(found) > _MOST_ELEMENTS:
            raise ValueError(f"{name} would have the shape {found}")
        if tuple(node.get("shape", found)) != found:
            raise ValueError(f"{name} would have the shape {found}, not {tuple(node['shape'])}")
        known[name] = found
    return known


def _module(cls: str, params: Params, x: Shape) -> Shape:
    for names, function in _MODULES:
        if cls.startswith(names):
            return function(params, x)
    return x  # gives each value another value


def _each(value: Any, axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else list(value)


def _windows(params: Params, x: Shape) -> list[tuple[int, int, int, int]]:
    """Return size, reach of the kernel, stride and padding of each axis."""
    axes = len(x) - 1
    kernel, stride, padding, dilation = (
        _each(params.get(key, default), axes)
        for key, default in (("kernel_size", None), ("stride", 1), ("padding", 0), ("dilation", 1))
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    return list(zip(x[1:], reach, stride, padding, strict=True))


def _convolution(params: Params, x: Shape) -> Shape:
    _same(x[0], params["in_channels"])
    return (params["out_channels"], *((n + 2 * p - k) // s + 1 for n, k, s, p in _windows(params, x)))


def _transposed(params: Params, x: Shape) -> Shape:
    _same(x[0], params["in_channels"])
    more = _each(params["output_padding"], len(x) - 1)
    sizes = ((n - 1) * s - 2 * p + k + e for (n, k, s, p), e in zip(_windows(params, x), more, strict=True))
    return (params["out_channels"], *sizes)


def _pool(params: Params, x: Shape) -> Shape:
    sizes = []
    for n, k, s, p in _windows(params, x):
        size = (n + 2 * p - k) // s + 1
        if params.get("ceil_mode"):
            size = -(-(n + 2 * p - k) // s) + 1
            size -= (size - 1) * s >= n + p  # a window must begin inside
        sizes.append(size)
    return (x[0], *sizes)


def _adaptive(params: Params, x: Shape) -> Shape:
    return (x[0], *_each(params["output_size"], len(x) - 1))


def _padded(params: Params, x: Shape) -> Shape:
    pads = list(params["padding"])
    pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    return (*x[: len(x) - len(pairs)], *(n + sum(pair) for n, pair in zip(x[-len(pairs) :], pairs, strict=True)))


def _linear(params: Params, x: Shape) -> Shape:
    _same(x[-1], params["in_features"])
    return (*x[:-1], params["out_features"])


def _flatten(_params: Params, x: Shape) -> Shape:
    return (math.prod(x),)


def _unflatten(params: Params, x: Shape) -> Shape:
    shape = tuple(params["unflattened_size"])
    _same(math.prod(shape), x[0])
    return (*shape, *x[1:])


def _upsample(params: Params, x: Shape) -> Shape:
    return (x[0], *(int(n * factor) for n, factor in zip(x[1:], params["scale_factor"], strict=True)))


def _norm(params: Params, x: Shape) -> Shape:
    _same(x[0], params.get("num_features", params.get("num_channels")))
    return x


def _prelu(params: Params, x: Shape) -> Shape:
    if params["num_parameters"] != 1:
        _same(x[0], params["num_parameters"])
    return x


def _same(found: int, wanted: int | None) -> None:
    if found != wanted:
        raise ValueError(f"{found} values come where {wanted} are expected")


# The beginning of a class's name -> its shape.
_MODULES: Sequence[tuple[tuple[str, ...], Callable[[Params, Shape], Shape]]] = (
    (("ConvTranspose",), _transposed),
    (("ConstantPad",), _padded),
    (("Conv",), _convolution),
    (("MaxPool", "AvgPool"), _pool),
    (("Adaptive",), _adaptive),
    (("Linear",), _linear),
    (("Flatten",), _flatten),
    (("Unflatten",), _unflatten),
    (("Upsample",), _upsample),
    (("BatchNorm", "GroupNorm", "InstanceNorm"), _norm),
    (("PReLU",), _prelu),
)


def _broadcast(_params: Params, *inputs: Shape) -> Shape:
    for sizes in zip(*inputs, strict=True):
        if len({size for size in sizes if size != 1}) > 1:
            raise ValueError(f"shapes {', '.join(map(str, inputs))} do not fit")
    return tuple(max(sizes) for sizes in zip(*inputs, strict=True))


def _cat(params: Params, *inputs: Shape) -> Shape:
    axis = params["dim"] - 1
    if axis < 0 or len({(*x[:axis], *x[axis + 1 :]) for x in inputs}) != 1:
        raise ValueError(f"shapes {', '.join(map(str, inputs))} cannot be joined")
    return (*inputs[0][:axis], sum(x[axis] for x in inputs), *inputs[0][axis + 1 :])


def _permuted(params: Params, x: Shape) -> Shape:
    dims = list(params["dims"])
    if dims[0] != 0 or sorted(dims) != list(range(len(x) + 1)):
        raise ValueError(f"axes {dims} do not fit the shape {x}")
    return tuple(x[dim - 1] for dim in dims[1:])


def _unsqueezed(params: Params, x: Shape) -> Shape:
    axis = params["dim"] - 1
    if axis < 0:
        raise ValueError("an axis before the batch")
    return (*x[:axis], 1, *x[axis:])


def _mean(params: Params, x: Shape) -> Shape:
    dims = set(params["dim"])
    if not dims <= set(range(1, len(x) + 1)) or params["keepdim"] is not True:
        raise ValueError(f"axes {sorted(dims)} do not fit the shape {x}")
    return tuple(1 if index + 1 in dims else size for index, size in enumerate(x))


_FUNCTIONS: Mapping[str, Callable[..., Shape]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", "minimum", "exp", "sqrt", "clamp"), _broadcast),
    "cat": _cat,
    "permute": _permuted,
    "unsqueeze": _unsqueezed,
    "mean": _mean,
}
