"""Sums, differences, products and quotients: which of their tensors takes the relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx

from .gates import is_bounded_gate, is_gate
from .graph import NoRuleError, take_out
from .operations import Affine, Gated, Part, Scale, Sum

if TYPE_CHECKING:
    from .parts import Assignment

__all__ = ["assign_product", "assign_sum"]


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
    gates = [is_gate(found, factor) for factor in varying]
    if not any(gates):
        gates = [is_bounded_gate(found, factor) for factor in varying]
    if name == "div" or sum(gates) != 1:
        raise NoRuleError(
            "two tensors that both depend on the volume are "
            + (
                "divided"
                if name == "div"
                else "multiplied, and not just one of them is a gate (a sigmoid's output, a mask)"
            )
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


def assign_masked(found: Assignment, node: fx.Node, name: str) -> fx.Node:
    """Make a product of the signal and a mask of ``masked_fill(mask, 0)`` or ``where(mask, signal, 0)``.

    Returns:
        The signal, which takes the relevance.

    Raises:
        NoRuleError: What is put in its place is not zero.
    """
    signal, mask, keeps = _masked(found, node, name)
    constant = found.constant(mask)
    if isinstance(constant, Tensor):
        factor = (constant if keeps else ~constant).to(signal.meta["dtype"])
        found.become_module(node, Scale(factor), (signal,), Part.SCALE)
        return signal
    gate = mask
    if not keeps:
        with found.graph.graph.inserting_before(node):
            gate = found.graph.graph.call_function(torch.logical_not, (mask,))
        gate.meta = dict(mask.meta)
    found.become_module(node, Gated(), (signal, gate), Part.GATED)
    return signal


def _masked(found: Assignment, node: fx.Node, name: str) -> tuple[fx.Node, fx.Node, bool]:
    """Return the signal, the mask, and whether the mask is true where the signal is kept."""
    names = ("input", "mask", "value") if name == "masked_fill" else ("condition", "input", "other")
    if node.op == "call_method" and name == "where":
        names = ("input", "condition", "other")
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    mask = given.get("mask", given.get("condition"))
    pair = [given.get("input"), given.get("value", given.get("other"))]
    signals = [each for each in pair if isinstance(each, fx.Node) and each.meta["varies"]]
    if not isinstance(mask, fx.Node) or mask.meta["dtype"] is not torch.bool or len(signals) != 1:
        raise NoRuleError("only a choice between one tensor and zero, by a mask, has a rule")
    other = found.constant(pair[1] if pair[0] is signals[0] else pair[0])
    if other is None or bool(torch.as_tensor(other != 0).any()):
        raise NoRuleError("it puts a constant that is not zero in places, which would take relevance")
    return signals[0], mask, name == "where" and pair[0] is signals[0]
