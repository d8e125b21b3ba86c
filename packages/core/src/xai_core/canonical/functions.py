"""What PyTorch's functions and tensor methods are, and the modules that are put in their place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from .operations import FunctionModule, Part, known_part

__all__ = ["SELECTIONS", "module_for", "operation", "settings"]

# Operations whose outputs are some of their inputs, or zero.
SELECTIONS = frozenset((
    "flatten", "ravel", "reshape", "view", "permute", "transpose", "swapaxes", "swapdims",
    "movedim", "squeeze", "unsqueeze", "expand", "repeat", "broadcast_to", "tile", "narrow", "select",
    "flip", "roll", "unflatten", "index_select", "cat", "concat", "concatenate", "stack", "chunk", "split",
    "tensor_split", "unbind", "getitem", "pad", "amax", "max", "pixel_shuffle", "t", "to", "float", "double", "type_as",
    "channel_shuffle",
))  # fmt: skip

_POOL = ("kernel_size", "stride", "padding")
_MAX_POOL = (*_POOL, "dilation", "ceil_mode", "return_indices")
_AVERAGE_POOL = (*_POOL, "ceil_mode", "count_include_pad", "divisor_override")
_RESIZE = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")

# Name -> class of the module and the names of the function's further arguments, in order.
_CLASSES: Mapping[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ("inplace",)),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope", "inplace")),
    "elu": (nn.ELU, ("alpha", "inplace")),
    "selu": (nn.SELU, ("inplace",)),
    "celu": (nn.CELU, ("alpha", "inplace")),
    "relu6": (nn.ReLU6, ("inplace",)),
    "tanh": (nn.Tanh, ()),
    "softsign": (nn.Softsign, ()),
    "silu": (nn.SiLU, ("inplace",)),
    "gelu": (nn.GELU, ("approximate",)),
    "mish": (nn.Mish, ("inplace",)),
    "hardswish": (nn.Hardswish, ("inplace",)),
    "hardtanh": (nn.Hardtanh, ("min_val", "max_val", "inplace")),
    **{f"max_pool{n}d": (getattr(nn, f"MaxPool{n}d"), _MAX_POOL) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": (getattr(nn, f"AvgPool{n}d"), _AVERAGE_POOL) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": (getattr(nn, f"AdaptiveAvgPool{n}d"), ("output_size",)) for n in (1, 2, 3)},
    **{
        f"adaptive_max_pool{n}d": (getattr(nn, f"AdaptiveMaxPool{n}d"), ("output_size", "return_indices"))
        for n in (1, 2, 3)
    },
    "interpolate": (nn.Upsample, _RESIZE),
    "upsample": (nn.Upsample, ("size", "scale_factor", "mode", "align_corners")),
}

_REDUCTIONS: Mapping[str, Callable[..., Tensor]] = {"mean": torch.mean, "sum": torch.sum}


@cache
def _names() -> dict[int, str]:
    found: dict[int, str] = {}
    for space in (torch.Tensor, torch, torch._C._nn, operator, F):
        found |= {id(getattr(space, name)): name for name in dir(space) if callable(getattr(space, name))}
    found[id(getattr)] = "getattr"
    return found


def operation(node: fx.Node) -> str | None:
    """Return the name of a function or method of PyTorch without what marks it as in place; None for another's."""
    name = node.target if isinstance(node.target, str) else _names().get(id(node.target))
    if name is None or (isinstance(node.target, str) and not hasattr(Tensor, name)):
        return None
    name = name.strip("_")
    shorthand = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div", "true_divide": "div"}
    longhand = {"subtract": "sub", "multiply": "mul", "divide": "div", "negative": "neg", "radd": "add", "rmul": "mul"}
    return (shorthand | longhand).get(name, name)


def settings(node: fx.Node, names: Sequence[str], skip: int = 1) -> dict[str, Any]:
    """Return the arguments of a call by name, but for the first ``skip``."""
    return dict(zip(names, node.args[skip:], strict=False)) | {k: v for k, v in node.kwargs.items() if k != "input"}


def module_for(name: str, node: fx.Node) -> tuple[Part, nn.Module] | None:
    """Return what a function is and a module that computes it, never in place; None if it has no rule."""
    if name in _REDUCTIONS:
        kwargs = {key: value for key, value in node.kwargs.items() if key != "input"}
        return Part.AVERAGE, FunctionModule(_REDUCTIONS[name], node.args[1:], kwargs)
    if name in ("clamp", "clip", "clamp_min"):
        return _clamp(name, node)
    if name not in _CLASSES:
        return None
    cls, names = _CLASSES[name]
    given = settings(node, names)
    given.pop("inplace", None)
    # False is the modules' default too, but for count_include_pad.
    given = {k: v for k, v in given.items() if v is not None and (v is not False or k == "count_include_pad")}
    try:
        module = cls(**given)
    except TypeError:  # an argument that the module does not know
        return None
    part = known_part(module)
    return None if part is None or "return_indices" in given else (part, module)


def _clamp(name: str, node: fx.Node) -> tuple[Part, nn.Module] | None:
    """Clamping is an activation where zero stays zero."""
    given = settings(node, ("min",) if name == "clamp_min" else ("min", "max"))
    low, high = given.get("min"), given.get("max")
    numbers = all(bound is None or isinstance(bound, int | float) for bound in (low, high))
    if not numbers or (low is not None and low > 0) or (high is not None and high < 0):
        return None
    return Part.ACTIVATION, FunctionModule(torch.clamp, (), {"min": low, "max": high})
