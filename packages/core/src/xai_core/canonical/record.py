"""Records the operations of a network while it runs: for what torch.fx cannot trace without data.

Branches, loops and assertions that depend on values are followed as these volumes take them; the graph then holds for
these volumes only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from .effects import reads_values, version
from .graph import NoRuleError, holds_tensor, is_passed
from .operations import known_part
from .source import user_line

__all__ = ["record"]

_OUT_OF_SIGHT = "a tensor comes from an operation that cannot be seen (NumPy, TorchScript, C++)"
_METHODS: dict[str, Callable[..., Any]] = {"__getitem__": operator.getitem, "__rsub__": torch.rsub}


class _Recorder(TorchFunctionMode):
    """Writes every operation on tensors outside known layers into a graph."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.reads_data = False
        self.constants: dict[str, Tensor] = {}
        self._inside = 0  # known layers
        # By identity; the tensors are kept, so that no identity is used again.
        self._nodes: dict[int, tuple[Tensor, fx.Node]] = {}
        self._named = {id(t): name for name, t in (*root.named_parameters(), *root.named_buffers())}
        self._names = {id(module): name for name, module in root.named_modules()}
        self.holders: list[nn.Module] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [] if self._inside else [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        versions = [version(tensor) for tensor in given]
        result = func(*args, **kwargs)  # what it calls itself is not seen: the mode is off meanwhile
        if self._inside:
            return result
        name = getattr(func, "__name__", "")
        written = [t for t, before in zip(given, versions, strict=True) if version(t) != before and t is not result]
        if written or name == "__set__":
            raise NoRuleError(f"at {user_line()} a part of a tensor is written, which no rule can undo")
        if reads_values(name, result):
            self.reads_data = self.reads_data or any(id(tensor) in self._nodes for tensor in given)
        if holds_tensor(result):
            self._write(func, name, args, kwargs, result)
        return result

    def placeholder(self, volumes: Tensor) -> None:
        self._nodes[id(volumes)] = (volumes, self.graph.placeholder("x"))

    def enter(self) -> None:
        self._inside += 1

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Write the call of a known layer."""
        self._inside -= 1
        if not self._inside:
            node = self.graph.call_module(self._names[id(module)], *self._arguments(args, kwargs))
            self._keep(node, result)

    def output(self, value: Any) -> None:
        self.graph.output(self._argument(value))

    def _write(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        nodes, named = self._arguments(args, kwargs)
        if name == "__get__":
            attribute = cast(Any, func).__self__.__name__
            node = self.graph.call_function(getattr, (nodes[0], attribute))
        elif name in _METHODS:
            node = self.graph.call_function(_METHODS[name], nodes, named)
        elif hasattr(Tensor, name) and getattr(Tensor, name) is func:
            node = self.graph.call_method(name, nodes, named)
        else:
            node = self.graph.call_function(func, nodes, named)
        node.meta["holder"] = self._names.get(id(self.holders[-1]), "") if self.holders else ""
        self._keep(node, result)

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return tuple(self._argument(a) for a in args), {k: self._argument(v) for k, v in kwargs.items()}

    def _argument(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            # A size is a tuple for torch.fx; of a named tuple, only the values count.
            return (list if isinstance(value, list) else tuple)(self._argument(item) for item in value)
        if isinstance(value, dict):
            return {key: self._argument(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self._argument(end) for end in (value.start, value.stop, value.step)))
        if isinstance(value, np.ndarray) and self.reads_data:
            raise NoRuleError(_OUT_OF_SIGHT)
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._nodes:
            self._keep(self._constant(value), value)
        return self._nodes[id(value)][1]

    def _constant(self, value: Tensor) -> fx.Node:
        if id(value) in self._named:
            return self.graph.get_attr(self._named[id(value)])
        if value.requires_grad:
            raise NoRuleError(_OUT_OF_SIGHT)
        name = f"recorded_constant_{len(self.constants)}"
        self.constants[name] = value
        return self.graph.get_attr(name)

    def _keep(self, node: fx.Node, result: Any) -> None:
        node.meta["line"] = user_line()
        if isinstance(result, Tensor):
            self._nodes[id(result)] = (result, node)
        elif isinstance(result, tuple | list):
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    self._nodes[id(item)] = (item, self.graph.call_function(operator.getitem, (node, index)))


def record(root: nn.Module, volumes: Tensor, passed: Sequence[str] = ()) -> tuple[fx.GraphModule, bool]:
    """Return the operations of a network on these volumes [N, C, D, H, W], and whether they depend on values.

    Args:
        root: A copy that belongs to the caller, in evaluation mode; its hooks are gone.

    Raises:
        InputError: A tensor comes from outside what can be seen.
    """
    recorder = _recorded(root, volumes, passed)
    if recorder.constants:
        # What seems constant may be made of the volumes where nobody sees it. The others differ in every respect.
        others = _recorded(root, 0.3 - 1.7 * volumes.flip(2, 3, 4), passed).constants
        for name, value in recorder.constants.items():
            other = others.get(name)
            if other is None or (other is not value and not _equal(value, other)):
                raise InputError(f"This explainer cannot follow the operations of this network: {_OUT_OF_SIGHT}.")
            root.register_buffer(name, value)
    return fx.GraphModule(root, recorder.graph), recorder.reads_data


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first, second)


def _recorded(root: nn.Module, volumes: Tensor, passed: Sequence[str]) -> _Recorder:
    recorder = _Recorder(root)
    hooks = []
    for name, module in root.named_modules():
        if known_part(module) is not None or is_passed(name, module, passed):
            hooks.append(module.register_forward_pre_hook(lambda *_: recorder.enter()))
            hooks.append(module.register_forward_hook(recorder.leave, with_kwargs=True))
        else:
            hooks.append(module.register_forward_pre_hook(lambda m, _: recorder.holders.append(m)))
            # Not pop itself: what a hook returns would be taken for the module's output.
            hooks.append(module.register_forward_hook(lambda *_: recorder.holders.__delitem__(-1)))
    try:
        with torch.enable_grad():
            inputs = volumes.clone().requires_grad_().clone()
            recorder.placeholder(inputs)
            with recorder:
                recorder.output(root(inputs))
    except Exception as error:  # whatever the user's code raises where a tensor requires gradients (NumPy)
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")
        raise InputError(f"This explainer cannot follow the operations of this network: {reason}.") from error
    finally:
        for hook in hooks:
            hook.remove()
    return recorder
