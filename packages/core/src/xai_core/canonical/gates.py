"""Which tensors are gates: factors of a signal that take no relevance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn

from .functions import operation, settings
from .operations import is_gate_module

if TYPE_CHECKING:
    from .parts import Assignment

__all__ = ["is_bounded_gate", "is_gate"]

_GATE_FUNCTIONS = frozenset(("sigmoid", "hardsigmoid", "softmax"))
# What does not change that a tensor is a gate.
_SHAPING = frozenset((
    "view", "reshape", "unsqueeze", "squeeze", "expand", "permute", "transpose", "flatten", "unflatten",
    "repeat", "clone", "contiguous", "interpolate", "upsample", "getitem", "dropout", "chunk", "split",
    "to", "float", "double", "type_as",
))  # fmt: skip
_SUMS = ("add", "sub", "rsub")
_SHAPING_MODULES = (nn.Dropout, nn.Flatten, nn.Unflatten, nn.Upsample, nn.Identity)


def is_gate(found: Assignment, node: fx.Node) -> bool:
    """Whether a tensor is a sigmoid's output or a mask, perhaps reshaped or scaled, or a constant added to it."""
    while True:
        if node.meta["dtype"] is torch.bool:
            return True
        name = operation(node) if node.op != "call_module" else None
        if name in _GATE_FUNCTIONS:
            return True
        if node.op == "call_module" and is_gate_module(_module(found, node)):
            return True
        behind = _behind(found, node, (*_SUMS, "neg"))
        if behind is None:
            return False
        node = behind


def is_bounded_gate(found: Assignment, node: fx.Node) -> bool:
    """Whether a tensor is a sigmoid made of pieces: a shifted value, clamped between two bounds that are not negative.

    As in ``relu6(x + 3) / 6`` (Howard et al. 2019, doi:10.1109/ICCV.2019.00140), perhaps reshaped or scaled.
    """
    clamped = False
    while True:
        if clamped and node.op != "call_module" and operation(node) in _SUMS:
            return len(_varying(node)) == 1
        if not clamped and _is_clamped(found, node):
            clamped, behind = True, node.all_input_nodes[0]
        else:
            step = _behind(found, node, ())
            if step is None:
                return False
            behind = step
        node = behind


def _behind(found: Assignment, node: fx.Node, also: tuple[str, ...]) -> fx.Node | None:
    """Return what a node reshapes, scales or does the functions ``also`` to; None for another node."""
    varying = _varying(node)
    if not varying:
        return None
    if node.op == "call_module":
        return varying[0] if isinstance(_module(found, node), _SHAPING_MODULES) else None
    name = operation(node)
    alone = len(varying) == 1 and name in ("mul", "div", *also) and not (name == "div" and node.args[0] != varying[0])
    return varying[0] if name in _SHAPING or alone else None


def _is_clamped(found: Assignment, node: fx.Node) -> bool:
    """Whether a node clamps between two finite bounds, neither negative."""
    low, high = _bounds(found, node)
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    return numbers and 0 <= cast(float, low) <= cast(float, high) < math.inf


def _bounds(found: Assignment, node: fx.Node) -> tuple[Any, Any]:
    if node.op == "call_module":
        module = _module(found, node)
        known = isinstance(module, nn.Hardtanh)  # ReLU6 too
        return (module.min_val, module.max_val) if known else (None, None)
    name = operation(node)
    if name == "relu6":
        return 0, 6
    if name == "hardtanh":
        given = {"min_val": -1.0, "max_val": 1.0} | settings(node, ("min_val", "max_val"))
        return given["min_val"], given["max_val"]
    given = settings(node, ("min", "max")) if name in ("clamp", "clip") else {}
    return given.get("min"), given.get("max")


def _module(found: Assignment, node: fx.Node) -> nn.Module:
    return found.graph.get_submodule(cast(str, node.target))


def _varying(node: fx.Node) -> list[fx.Node]:
    return [source for source in node.all_input_nodes if source.meta["varies"]]
