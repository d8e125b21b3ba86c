"""General rewriting of a traced graph: constants, in-place operations, repeated modules, and what to call things."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..errors import InputError

__all__ = [
    "AUGMENTED",
    "ROOT",
    "NoRuleError",
    "holder_of",
    "holds_tensor",
    "is_passed",
    "is_plain",
    "own_name",
    "place",
    "refusal",
    "replace_constants",
    "replace_examples",
    "separate_repeated",
    "take_out",
    "undo_in_place",
    "works_in_place",
]


ROOT = "network"  # what the traced root calls the user's network


class NoRuleError(Exception):
    """One operation cannot be explained; the message says why."""


def replace_constants(graph: fx.GraphModule) -> None:
    """Put in as constants what does not depend on the volumes' values: numbers as they are, tensors as buffers.

    Args:
        graph: Seen by ``observe``; changed in place.
    """
    for node in list(graph.graph.nodes):
        if node.meta["varies"] or node.op in ("output", "get_attr"):
            continue
        value = node.meta["value"]
        if isinstance(value, Tensor):
            name = f"constant_{node.name}"
            graph.register_buffer(name, value)
            node.op, node.target, node.args, node.kwargs = "get_attr", name, (), {}
        elif not holds_tensor(value):
            _replace_by_value(node, value)


def _replace_by_value(node: fx.Node, value: Any) -> None:
    def constant(each: fx.Node) -> Any:
        return value if each is node else each

    for user in list(node.users):
        if user.op != "output":
            user.args = fx.node.map_arg(user.args, constant)
            user.kwargs = fx.node.map_arg(user.kwargs, constant)


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a tuple or list with one, however deep."""
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(holds_tensor, value)))


_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), range, type(...), torch.dtype, torch.device, torch.layout,
    torch.memory_format, np.generic,
)  # fmt: skip


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a size, a data type or the like, or made of these: nothing that may hold a tensor.

    A named tuple or another subclass of a tuple, other than a size, may have attributes that hold more.
    """
    if isinstance(value, slice):
        return is_plain((value.start, value.stop, value.step))
    if type(value) in (tuple, list, torch.Size):
        return all(map(is_plain, value))
    return isinstance(value, _PLAIN)


def replace_examples(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """Write the size where a tensor is brought to the size of another, so that the other is no input any more.

    Args:
        graph: Changed in place.
        seen: Shapes of its tensors, from ``observe``.
    """
    methods = {"view_as": "reshape", "reshape_as": "reshape", "expand_as": "expand"}
    for node in graph.graph.nodes:
        if node.op != "call_method":
            continue
        if node.target in methods:
            node.target = methods[node.target]
            node.args, node.kwargs = (node.args[0], seen[node]), {}
        elif node.target == "view" and not isinstance((*node.args, *node.kwargs.values())[1], torch.dtype):
            # Not a view, which a tensor may allow only because it was made contiguous before.
            node.target, node.args, node.kwargs = "reshape", (*node.args, *node.kwargs.values()), {}
        elif _brings_to_type(node):
            node.target, node.args, node.kwargs = "to", (node.args[0], node.meta["dtype"]), {}


def _brings_to_type(node: fx.Node) -> bool:
    """Whether a tensor is brought to the data type of another one."""
    return node.target in ("to", "type_as") and any(
        isinstance(each, fx.Node) for each in (*node.args[1:], *node.kwargs.values())
    )


AUGMENTED = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "imod")


def undo_in_place(graph: fx.GraphModule) -> None:
    """Let everything that read a tensor after it was changed in place read the result of the change."""
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    for node in list(graph.graph.nodes):
        if not works_in_place(graph, node):
            continue
        changed = cast(fx.Node, node.args[0])
        for user in list(changed.users):
            if order[user] > order[node]:
                user.replace_input_with(changed, node)
        if node.op == "call_module":
            setattr(graph.get_submodule(cast(str, node.target)), "inplace", False)  # noqa: B010
        elif node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
        else:
            node.target = _out_of_place(node.target)


def _out_of_place(target: Any) -> Any:
    """Return what computes the same as a function or method without changing its argument, where there is such."""
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    plain = name.strip("_")
    plain = plain[1:] if plain in AUGMENTED else plain
    if isinstance(target, str):
        return plain if hasattr(Tensor, plain) else f"__{plain}__" if hasattr(Tensor, f"__{plain}__") else target
    return next((getattr(space, plain) for space in (operator, torch, F) if hasattr(space, plain)), target)


def works_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation changes its first argument and returns it."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(cast(str, node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    named = name.strip("_") in AUGMENTED or (name.endswith("_") and not name.endswith("__"))
    return node.op in ("call_function", "call_method") and (named or node.kwargs.get("inplace") is True)


def separate_repeated(graph: fx.GraphModule) -> None:
    """Give every call of a module a module of its own: a hook remembers one input only."""
    called: set[int] = set()
    for node in graph.graph.nodes:
        if node.op != "call_module":
            continue
        module = graph.get_submodule(node.target)
        if id(module) in called:
            module = deepcopy(module)
            node.target = f"{node.target}_repeated_{node.name}"
            graph.add_submodule(node.target, module)
        called.add(id(module))


def take_out(graph: fx.GraphModule, node: fx.Node, source: fx.Node | None = None) -> None:
    """Remove an operation that hands on a tensor as it is: ``source``, or its first."""
    node.replace_all_uses_with(source or node.all_input_nodes[0])
    graph.graph.erase_node(node)


def place(graph: fx.GraphModule, node: fx.Node) -> str:
    """Return where an operation is, in the user's names."""
    if "place" in node.meta:
        return str(node.meta["place"])
    line = f", {node.meta['line']}" if node.meta.get("line") else ""
    if node.op == "call_module":
        module = graph.get_submodule(cast(str, node.target))
        return f"module {own_name(str(node.target))} ({type(module).__name__}{line})"
    holder = holder_of(node)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    where = f"module {holder}" if holder else "the forward of the network"
    return f"{name} in {where}{f' ({line[2:]})' if line else ''}"


def holder_of(node: fx.Node) -> str:
    """Return the user's name of the module in whose forward an operation stands; empty for the network's own."""
    stack = list(cast(dict[str, Any], node.meta.get("nn_module_stack", {})).values())
    return own_name(stack[-1][0] if stack else node.meta.get("holder", ""))


def own_name(name: str) -> str:
    """Return a module's name without what this package put before and behind it."""
    return name.removeprefix(ROOT).removeprefix(".").split("_repeated_")[0]


def is_passed(name: str, module: nn.Module, passed: Sequence[str]) -> bool:
    """Whether relevance is to pass a module unchanged that may have no rule: a pattern names it, and it has no others.

    A module of the user's own class is still looked into where the pattern is ``*``, which names nothing: it may be a
    shortcut of operations that have rules.
    """
    own = own_name(name)
    if not own or any(True for _ in module.children()):
        return False
    return any(pattern.strip("*") and fnmatchcase(own, pattern) for pattern in passed)


def refusal(reasons: list[str]) -> InputError:
    """Return the error for a network with operations that have no rule, one reason each."""
    listed = "\n".join(f"  {reason}" for reason in reasons[:10])
    more = f"\n  and {len(reasons) - 10} more" if len(reasons) > 10 else ""
    return InputError(
        f"This network cannot be explained layer by layer: {len(reasons)} of its operations have no rule.\n"
        f"{listed}{more}\n"
        "Use layers that have one (convolution, linear, batch normalisation, ReLU and its "
        "kin, pooling, sums, concatenation, reshaping), or an explainer that needs gradients only "
        "(input-x-gradient, integrated-gradients)."
    )
