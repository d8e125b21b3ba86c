"""Says what every operation of a graph is, makes modules of functions, and refuses what has no rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, fx, nn

from .arithmetic import assign_masked, assign_product, assign_sum
from .elementwise import is_activation_for
from .functions import SELECTIONS, module_for, operation, settings
from .graph import ROOT, NoRuleError, holder_of, own_name, place, refusal, take_out
from .layers import layer_of
from .operations import FunctionModule, Part, is_gate_module, known_part

__all__ = ["Assignment", "assign_parts"]

_DROPOUTS = frozenset(["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"])
_PAIRS = frozenset(["chunk", "split", "tensor_split", "unbind", "max"])  # they return several tensors


_NO_RULE_NORM = (
    "there is no rule for this kind of layer, which divides by statistics of the volume itself; with LRP's parameter "
    "rules, relevance can be made to pass it unchanged"
)
_NORMS: dict[str | None, Callable[..., Tensor]] = {
    "group_norm": F.group_norm,
    "instance_norm": F.instance_norm,
    "layer_norm": F.layer_norm,
}


@dataclass
class Assignment:
    """What is known of a graph while its parts are assigned.

    Attributes:
        graph: Changed in place.
        seen: Shapes of its tensors, from ``observe``.
        passed: Patterns of names of modules without a rule that relevance is to pass unchanged.
        parts: What each module is, by name.
        names: The user's name of each module: his own, or that of the function and of the module around it.
    """

    graph: fx.GraphModule
    seen: dict[fx.Node, Any]
    passed: Sequence[str] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def become_module(self, node: fx.Node, module: nn.Module, args: tuple[fx.Node, ...], part: Part) -> None:
        """Put a module in the place of a function."""
        node.meta["place"] = place(self.graph, node)
        name = f"{ROOT}_{part.name.lower()}_{node.name}"
        self.graph.add_submodule(name, module.eval())
        self.parts[name] = part
        self.names[name] = self.own_name(node)
        node.op, node.target, node.args, node.kwargs = "call_module", name, args, {}

    def own_name(self, node: fx.Node) -> str:
        """Return the user's name of a function: its own behind that of the module around it."""
        return f"{holder_of(node)}.{operation(node) or node.name}".lstrip(".")

    def constant(self, node: Any) -> Tensor | float | None:
        """Return the value of an argument that does not depend on the volumes; None for one that does."""
        if isinstance(node, bool) or not isinstance(node, int | float | fx.Node):
            return None
        if not isinstance(node, fx.Node):
            return node
        return None if node.meta["varies"] else cast(Tensor, node.meta["value"])


def assign_parts(graph: fx.GraphModule, seen: dict[fx.Node, Any], passed: Sequence[str] = ()) -> Assignment:
    """Return what each module is that lies between the volumes and the output and takes relevance.

    Functions become modules, and what does nothing is taken out. The way to a gate takes no relevance and needs none.

    Args:
        graph: Changed in place.
        seen: Shapes of its tensors, from ``observe``.
        passed: Patterns of names of modules without a rule that relevance is to pass unchanged.

    Raises:
        InputError: Operations have no rule; all of them are named.
    """
    found = Assignment(graph, seen, passed)
    refused: list[str] = []
    nodes = list(graph.graph.nodes)
    relevant = set(nodes[-1].all_input_nodes)
    for node in reversed(nodes[:-1]):
        if node not in relevant or node.op == "placeholder" or not node.meta["varies"]:
            continue
        where = place(graph, node)
        sources = node.all_input_nodes
        try:
            taking = _assign(found, node)
            relevant.update(sources if taking is None else [taking])
        except NoRuleError as reason:
            relevant.update(sources)
            refused.insert(0, f"{where}: {reason}")
    if refused:
        raise refusal(refused)
    return found


def _assign(found: Assignment, node: fx.Node) -> fx.Node | None:
    """Assign a node its part; return the only source that takes its relevance, or None if all do."""
    if node.op == "call_module":
        _assign_module(found, node)
        return None
    name = operation(node)
    if name in ("add", "sub", "rsub", "neg"):
        assign_sum(found, node, name)
    elif name in ("mul", "div"):
        return assign_product(found, node, name)
    elif name in ("masked_fill", "where"):
        return assign_masked(found, node, name)
    elif name in _DROPOUTS:
        _assign_dropout(found.graph, node)
    elif name == "getattr":
        _assign_attribute(found.graph, node)
    elif name in ("detach", "clone", "contiguous", "alias"):
        take_out(found.graph, node)
    elif name in SELECTIONS:
        _check_selection(node, name)  # the gradient is the rule
    else:
        _assign_function(found, node, name)
    return None


def _assign_module(found: Assignment, node: fx.Node) -> None:
    name = cast(str, node.target)
    module = found.graph.get_submodule(name)
    part = known_part(module)
    own = own_name(name)
    if node.kwargs or len(node.args) != 1:
        raise NoRuleError("it is not called with one tensor alone")
    if not node.meta["is_tensor"]:
        raise NoRuleError("it returns more than one tensor")
    if part is None and any(fnmatchcase(own, pattern) for pattern in found.passed):
        if found.seen[node] != found.seen[node.all_input_nodes[0]]:
            raise NoRuleError("relevance cannot pass it unchanged, its output has another shape than its input")
        part = Part.PASSED
    if part is None:
        raise NoRuleError(_why_not(module))
    _check_module(found, node, module, part)
    if part is Part.IDENTITY:
        take_out(found.graph, node)
    else:
        found.parts[name] = part
        found.names[name] = own


def _check_module(found: Assignment, node: fx.Node, module: nn.Module, part: Part) -> None:
    """Refuse a module of a known kind with settings for which its rule is not right."""
    if part is Part.ACTIVATION and not is_activation_for(module, found.seen[node]):
        raise NoRuleError("it acts on each element alone, as activations do, for tensors of other sizes only")
    if part in (Part.CONVOLUTION, Part.DENSE):
        weights = dict(module.named_parameters(recurse=False))
        if "weight" not in weights or set(weights) - {"weight", "bias"}:
            raise NoRuleError("its weights are calculated (weight or spectral norm); make them permanent first")
    if getattr(module, "value", 0) != 0:  # ConstantPad
        raise NoRuleError("only padding with zeros has a rule")


def _why_not(module: nn.Module) -> str:
    if is_gate_module(module) or isinstance(module, nn.LogSoftmax):
        return (
            "there is no rule for this kind of layer but where its output multiplies a signal (a gate); explain "
            "logits, not probabilities"
        )
    if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.modules.instancenorm._InstanceNorm):
        return _NO_RULE_NORM
    return "there is no rule for this kind of layer"


def _assign_dropout(graph: fx.GraphModule, node: fx.Node) -> None:
    if settings(node, ("p", "training")).get("training", True):
        raise NoRuleError("dropout is active in evaluation mode; pass training=self.training")
    take_out(graph, node)


def _assign_attribute(graph: fx.GraphModule, node: fx.Node) -> None:
    attribute = node.args[1]
    source = cast(fx.Node, node.args[0])
    if attribute == "data":
        take_out(graph, node)
    elif attribute == "values" and operation(source) == "max":
        return
    elif attribute not in ("T", "mT", "H"):
        raise NoRuleError(f"there is no rule for the attribute {attribute}")


def _assign_function(found: Assignment, node: fx.Node, name: str | None) -> None:
    made = _passed_norm(found, node, name) or layer_of(found.constant, name, node)
    made = module_for(name, node) if made is None and name is not None else made
    if made is None:
        raise NoRuleError(_NO_RULE_NORM if name in _NORMS else "there is no rule for this operation")
    part, module = made
    varying = [source for source in node.all_input_nodes if source.meta["varies"]]
    if len(varying) != 1:
        raise NoRuleError("it combines several tensors")
    if node.kwargs.get("dtype") is not None:
        raise NoRuleError("it changes the data type")
    if name in ("mean", "sum") and not _keeps_batch(found, node, varying[0]):
        raise NoRuleError("it reduces over the batch; give the axes, without the first")
    found.become_module(node, module, (varying[0],), part)


def _passed_norm(found: Assignment, node: fx.Node, name: str | None) -> tuple[Part, nn.Module] | None:
    """Return a norm that a network calls as a function, if relevance is to pass it or the module around it."""
    names = (holder_of(node), found.own_name(node))
    if name not in _NORMS or not any(fnmatchcase(each, pattern) for each in names for pattern in found.passed):
        return None

    def value(argument: Any) -> Any:
        return found.constant(argument) if isinstance(argument, fx.Node) else argument

    args = tuple(value(each) for each in node.args[1:])
    kwargs = {key: value(each) for key, each in node.kwargs.items() if key != "input"}
    return Part.PASSED, FunctionModule(_NORMS[name], args, kwargs)


def _check_selection(node: fx.Node, name: str) -> None:
    joins = name in ("cat", "concat", "concatenate", "stack")
    varying = [source for source in node.all_input_nodes if source.meta["varies"]]
    if not joins and len(varying) != 1:
        raise NoRuleError("it combines several tensors")
    if not node.meta["is_tensor"] and name not in _PAIRS:
        raise NoRuleError("it returns more than one tensor")
    if not node.meta["is_real"]:
        raise NoRuleError("it makes whole numbers of a tensor, through which no relevance passes")
    if name == "max" and node.meta["is_tensor"]:
        raise NoRuleError("it takes the maximum over the batch; give the axis")
    if name == "getitem" and operation(varying[0]) == "max" and node.args[1] != 0:
        raise NoRuleError("the place of a maximum takes no relevance")
    if name == "pad" and not _pads_with_zeros(node):
        raise NoRuleError("only padding with zeros, or with the tensor's own values, has a rule")
    if joins:
        _check_joined(node)


def _check_joined(node: fx.Node) -> None:
    """A constant that is not zero would take relevance and keep it."""
    for source in node.all_input_nodes:
        if not source.meta["varies"] and bool((cast(Tensor, source.meta["value"]) != 0).any()):
            raise NoRuleError("it joins a constant that is not zero, which would take relevance")


def _pads_with_zeros(node: fx.Node) -> bool:
    given = settings(node, ("pad", "mode", "value"))
    return given.get("mode", "constant") != "constant" or given.get("value") in (None, 0)


def _keeps_batch(found: Assignment, node: fx.Node, source: fx.Node) -> bool:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
    if axes is None:
        return False
    listed = axes if isinstance(axes, tuple | list) else (axes,)
    batch = 1 if _is_stack_of_batches(found, source) else 0
    return bool(listed) and all(cast(int, axis) % len(found.seen[source]) != batch for axis in listed)


def _is_stack_of_batches(found: Assignment, node: fx.Node) -> bool:
    """Whether the first axis is of tensors [N, ...] put together, so that the batch has become the second one."""
    if operation(node) != "stack" or settings(node, ("dim",)).get("dim", 0) != 0:
        return False
    begin = next(iter(node.graph.nodes))
    return all(found.seen[each][:1] == found.seen[begin][:1] for each in node.all_input_nodes)
