"""General rewriting of a traced graph: constants, in-place operations, repeated modules, and what to call "
"things."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

from torch import Tensor, fx

from xai_core import InputError

from ._trace import ROOT

__all__ = ["NoRuleError", "place", "refusal", "replace_constants", "separate_repeated", "take_out", "undo_in_place"]


class NoRuleError(Exception):
    """One operation cannot be explained; the message says why."""


def replace_constants(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """Put sizes and what is calculated from them in as numbers, so that only tensors flow through the graph.

    Args:
        graph: Changed in place.
        seen: What ``observe`` returned for it.
    """

    def constant(node: fx.Node) -> Any:
        value = seen[node]
        holds_tensor = isinstance(value, tuple | list) and any(isinstance(item, Tensor) for item in value)
        keep = node.meta["is_tensor"] or holds_tensor or node.op == "placeholder"
        return node if keep else value

    for node in graph.graph.nodes:
        if node.op != "output":
            node.args = fx.node.map_arg(node.args, constant)
            node.kwargs = fx.node.map_arg(node.kwargs, constant)


def undo_in_place(graph: fx.GraphModule) -> None:
    """Let everything that read a tensor after it was changed in place read the result of the change."""
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    for node in list(graph.graph.nodes):
        if not _works_in_place(graph, node):
            continue
        changed = cast(fx.Node, node.args[0])
        for user in list(changed.users):
            if order[user] > order[node]:
                user.replace_input_with(changed, node)
        if node.op == "call_module":
            setattr(graph.get_submodule(cast(str, node.target)), "inplace", False)  # noqa: B010
        elif "inplace" in node.kwargs:
            node.kwargs = {**node.kwargs, "inplace": False}


def _works_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(cast(str, node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    named = name == "iadd" or (name.endswith("_") and not name.endswith("__"))
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


def take_out(graph: fx.GraphModule, node: fx.Node) -> None:
    """Remove an operation that hands on its first tensor as it is."""
    node.replace_all_uses_with(node.all_input_nodes[0])
    graph.graph.erase_node(node)


def place(graph: fx.GraphModule, node: fx.Node) -> str:
    """Return where an operation is, in the user's names."""
    if "place" in node.meta:
        return str(node.meta["place"])
    if node.op == "call_module":
        module = graph.get_submodule(cast(str, node.target))
        return f"module {_own_name(str(node.target))} ({type(module).__name__})"
    stack = list(cast(dict[str, Any], node.meta.get("nn_module_stack", {})).values())
    holder = _own_name(stack[-1][0]) if stack else ""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{name} in {f'module {holder}' if holder else 'the forward of the network'}"


def _own_name(name: str) -> str:
    """Return a module's name without what this package put before and behind it."""
    return name.removeprefix(ROOT).removeprefix(".").split("_repeated_")[0]


def refusal(reasons: list[str]) -> InputError:
    """Return the error for a network with operations that have no rule, one reason each."""
    listed = "\n".join(f"  {reason}" for reason in reasons[:10])
    more = f"\n  and {len(reasons) - 10} more" if len(reasons) > 10 else ""
    return InputError(
        f"LRP cannot explain this network: {len(reasons)} of its operations have no rule.\n{listed}{more}\n"
        "Use layers that have one (convolution, linear, batch normalisation, ReLU and its "
        "kin, pooling, sums, concatenation, reshaping), or an explainer that needs gradients only "
        "(input-x-gradient, integrated-gradients)."
    )
