"""Says what every operation of a graph is, makes modules of functions, and refuses what has no rule."""

from __future__ import annotations

from typing import Any, cast

from torch import fx, nn

from ._graph import NoRuleError, place, refusal, take_out
from ._operations import ADDITIONS, DROPOUTS, FUNCTIONS, FunctionModule, Part, Sum, known_part
from ._trace import ROOT

__all__ = ["assign_parts"]


def assign_parts(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> dict[str, Part]:
    """Return what each module of the graph is, by name.

    Functions become modules, and what does nothing is taken out.

    Args:
        graph: Changed in place.
        seen: Shapes of its tensors, from ``observe``.

    Raises:
        InputError: Operations have no rule; all of them are named.
    """
    parts: dict[str, Part] = {}
    refused: list[str] = []
    for node in list(graph.graph.nodes):
        try:
            _assign(graph, node, seen, parts)
        except NoRuleError as reason:
            refused.append(f"{place(graph, node)}: {reason}")
    if refused:
        raise refusal(refused)
    return parts


def _assign(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    if node.op == "get_attr":
        raise NoRuleError("a parameter or constant is used outside a layer")
    if node.op == "call_module":
        _assign_module(graph, node, parts)
    elif node.op in ("call_function", "call_method"):
        if node.target in ADDITIONS:
            _assign_sum(graph, node, seen, parts)
        elif node.target in DROPOUTS:
            _assign_dropout(graph, node)
        else:
            _assign_function(graph, node, seen, parts)


def _assign_module(graph: fx.GraphModule, node: fx.Node, parts: dict[str, Part]) -> None:
    name = cast(str, node.target)
    module = graph.get_submodule(name)
    part = known_part(module)
    if part is None:
        raise NoRuleError("there is no rule for this kind of layer")
    if not node.meta["is_tensor"]:
        raise NoRuleError("it returns more than one tensor")
    if node.kwargs or len(node.args) != 1:
        raise NoRuleError("it is not called with one tensor alone")
    if part in (Part.CONVOLUTION, Part.DENSE):
        own = dict(module.named_parameters(recurse=False))
        if "weight" not in own or set(own) - {"weight", "bias"}:
            raise NoRuleError("its weights are calculated (weight or spectral norm); make them permanent first")
    if getattr(module, "value", 0) != 0:  # ConstantPad
        raise NoRuleError("only padding with zeros has a rule")
    if part is Part.IDENTITY:
        take_out(graph, node)
    else:
        parts[name] = part


def _assign_sum(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    given = dict(zip(("input", "other"), node.args, strict=False)) | node.kwargs
    summands = [given.get("input"), given.get("other")]
    tensors = [summand for summand in summands if isinstance(summand, fx.Node)]
    if set(given) - {"input", "other", "alpha"} or given.get("alpha", 1) != 1:
        raise NoRuleError("only the plain sum of two tensors has a rule")
    if len(tensors) == 1 and 0 in summands:  # Python's sum([a, b]) begins with 0
        take_out(graph, node)
        return
    if len(tensors) != 2:
        raise NoRuleError("a constant is added, which would take relevance")
    if seen[tensors[0]] != seen[tensors[1]]:
        shapes = f"{seen[tensors[0]]} and {seen[tensors[1]]}"
        raise NoRuleError(f"tensors of different shapes are added, {shapes}")
    _become_module(graph, node, Sum(), tuple(tensors), parts, Part.SUM)


def _assign_dropout(graph: fx.GraphModule, node: fx.Node) -> None:
    if node.kwargs.get("training", True):
        raise NoRuleError("dropout is active in evaluation mode; pass training=self.training")
    take_out(graph, node)


def _assign_function(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any], parts: dict[str, Part]) -> None:
    if node.target not in FUNCTIONS:
        raise NoRuleError("there is no rule for this operation")
    part, function = FUNCTIONS[node.target]
    _check_arguments(node, seen)
    if part is Part.SELECTION:
        return  # the gradient is the rule, no hook is needed
    kwargs = {key: value for key, value in node.kwargs.items() if key != "input"}
    module = FunctionModule(function, tuple(node.args[1:]), kwargs)
    _become_module(graph, node, module, (node.all_input_nodes[0],), parts, part)


def _become_module(
    graph: fx.GraphModule,
    node: fx.Node,
    module: nn.Module,
    args: tuple[fx.Node, ...],
    parts: dict[str, Part],
    part: Part,
) -> None:
    node.meta["place"] = place(graph, node)
    name = f"{ROOT}_{part.name.lower()}_{node.name}"
    graph.add_submodule(name, module)
    parts[name] = part
    node.op, node.target, node.args, node.kwargs = "call_module", name, args, {}


def _check_arguments(node: fx.Node, seen: dict[fx.Node, Any]) -> None:
    name = getattr(node.target, "__name__", node.target)
    if name != "cat" and len(node.all_input_nodes) != 1:
        raise NoRuleError("it combines several tensors")
    if not node.meta["is_tensor"] and name not in ("chunk", "split"):
        raise NoRuleError("it returns more than one tensor")
    if node.kwargs.get("dtype") is not None:
        raise NoRuleError("it changes the data type")
    if name == "pad" and not _pads_with_zeros(node):
        raise NoRuleError("only padding with zeros has a rule")
    if name in ("mean", "sum") and not _keeps_batch(node, seen[node.all_input_nodes[0]]):
        raise NoRuleError("it reduces over the batch; give the axes, without the first")


def _pads_with_zeros(node: fx.Node) -> bool:
    given = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
    return given.get("mode", "constant") == "constant" and given.get("value") in (None, 0)


def _keeps_batch(node: fx.Node, shape: tuple[int, ...]) -> bool:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
    if axes is None:
        return False
    listed = axes if isinstance(axes, tuple | list) else (axes,)
    return bool(listed) and all(cast(int, axis) % len(shape) != 0 for axis in listed)
