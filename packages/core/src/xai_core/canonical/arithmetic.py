"""Sums, differences, products and quotients: which of their tensors takes the relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx

from .functions import operation
from .graph import NoRuleError, take_out
from .operations import Affine, Gated, Part, Scale, Sum, is_gate_module

if TYPE_CHECKING:
    from .parts import Assignment

__all__ = ["assign_product", "assign_sum"]

_GATE_FUNCTIONS = frozenset(("sigmoid", "hardsigmoid", "softmax"))
# What does not change that a tensor is a gate.
_SHAPING = frozenset((
    "view", "reshape", "unsqueeze", "squeeze", "expand", "permute", "transpose", "flatten", "unflatten",
    "repeat", "clone", "contiguous", "interpolate", "upsample", "getitem", "dropout", "chunk", "split",
))  # fmt: skip


def assign_sum(found: Assignment, node: fx.Node, name: str) -> None:
    """Make a module of a sum or a difference of tensors, or of a tensor and a constant.

    Raises:
        NoRuleError: It has another form.
    """
    first, second, factors = _summands(node, name)
    varying = [s for s in (first, second) if isinstance(s, fx.Node) and s.meta["varies"]]
    if len(varying) == 2:
        found.become_module(node, Sum(factors), (varying[0], varying[1]), Part.SUM)
        return
    position = 0 if first is varying[0] else 1
    other = second if position == 0 else first
    constant = 0 if other is None else found.constant(other)
    if constant is None:
        raise NoRuleError("only the sum of two tensors, or of a tensor and a constant, has a rule")
    shift = constant * factors[1 - position]
    _assign_shift(found, node, varying[0], factors[position], shift)


def _summands(node: fx.Node, name: str) -> tuple[Any, Any, tuple[float, float]]:
    given = dict(zip(("input", "other", "alpha"), node.args, strict=False)) | node.kwargs
    if set(given) - {"input", "other", "alpha"}:
        raise NoRuleError("only the plain sum of two tensors has a rule")
    alpha = cast(float, given.get("alpha", 1))
    if name == "neg":
        return given["input"], None, (-1, 1)
    if name == "rsub":
        return given["input"], given["other"], (-alpha, 1)
    return given["input"], given["other"], (1, alpha if name == "add" else -alpha)


def _assign_shift(found: Assignment, node: fx.Node, source: fx.Node, factor: float, shift: Tensor | float) -> None:
    nothing = not bool(torch.as_tensor(shift != 0).any())
    if nothing and factor == 1 and found.seen[source] == found.seen[node]:
        take_out(found.graph, node, source)  # Python's sum([a, b]) begins with 0
    elif nothing:
        found.become_module(node, Scale(factor), (source,), Part.SCALE)
    else:
        found.become_module(node, Affine(factor, shift), (source,), Part.AFFINE)


def assign_product(found: Assignment, node: fx.Node, name: str) -> fx.Node | None:
    """Make a module of a product; return the signal where the other factor is a gate, which takes no relevance.

    That the signal takes all is the rule of Arras et al. 2017 (doi:10.18653/v1/W17-5221).

    Raises:
        NoRuleError: Both factors depend on the volumes, and not just one of them is a gate.
    """
    given = dict(zip(("input", "other"), node.args, strict=False)) | node.kwargs
    if set(given) - {"input", "other"} or len(given) != 2:
        raise NoRuleError("only the plain product of two tensors has a rule")
    factors = [given["input"], given["other"]]
    varying = [f for f in factors if isinstance(f, fx.Node) and f.meta["varies"]]
    if len(varying) == 1:
        _assign_scale(found, node, name, factors, varying[0])
        return None
    gates = [_is_gate(found, factor) for factor in varying]
    if name == "div" or sum(gates) != 1:
        raise NoRuleError(
            "two tensors that both depend on the volume are "
            + ("divided" if name == "div" else "multiplied, and not just one of them is a gate (a sigmoid's output)")
        )
    signal, gate = (varying[1], varying[0]) if gates[0] else (varying[0], varying[1])
    found.become_module(node, Gated(), (signal, gate), Part.GATED)
    return signal


def _assign_scale(found: Assignment, node: fx.Node, name: str, factors: list[Any], source: fx.Node) -> None:
    other = factors[1] if factors[0] is source else factors[0]
    constant = found.constant(other)
    if constant is None or (name == "div" and factors[0] is not source):
        raise NoRuleError("only the product of a tensor with a constant or with a gate has a rule")
    factor = 1 / constant if name == "div" else constant
    found.become_module(node, Scale(factor), (source,), Part.SCALE)


def _is_gate(found: Assignment, node: fx.Node) -> bool:
    """Whether a tensor is a sigmoid's output, perhaps reshaped or scaled."""
    while True:
        name = operation(node) if node.op != "call_module" else None
        if name in _GATE_FUNCTIONS:
            return True
        if node.op == "call_module":
            module = found.graph.get_submodule(cast(str, node.target))
            if is_gate_module(module):
                return True
            if not isinstance(module, torch.nn.Dropout | torch.nn.Flatten | torch.nn.Unflatten | torch.nn.Upsample):
                return False
        varying = [source for source in node.all_input_nodes if source.meta["varies"]]
        scaled = name in ("mul", "div") and len(varying) == 1
        if not (node.op == "call_module" or name in _SHAPING or scaled) or not varying:
            return False
        node = varying[0]
