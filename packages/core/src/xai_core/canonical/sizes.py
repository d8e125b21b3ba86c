"""Answers what a forward asks of sizes while it is traced: branches, assertions and loops."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

from torch import Tensor, fx, nn

from .graph import is_plain

__all__ = ["UNKNOWN", "Sizes"]

# In place of a value that depends on the data.
UNKNOWN = object()


class Sizes:
    """Values of the nodes of a graph that is being traced, from tensors that have a shape but no data.

    Args:
        root: The module that is traced; its modules are copied when they are needed.
        volumes: [N, C, D, H, W], the input.
    """

    def __init__(self, root: nn.Module, volumes: Tensor) -> None:
        self._root = root
        self._modules: dict[str, nn.Module] = {}
        self._volumes = volumes.to("meta")
        self._values: dict[fx.Node, Any] = {}

    def value(self, node: fx.Node) -> Any:
        """Return a node's value, or ``UNKNOWN`` where it depends on the data."""
        try:
            for each in node.graph.nodes:  # in order of execution; the unfinished graph ends at this node
                if each not in self._values:
                    self._values[each] = self._run(each)
        except Exception:  # whatever an operation without data raises
            return UNKNOWN
        value = self._values[node]
        return value if is_plain(value) else UNKNOWN

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._volumes
        args: Any = fx.node.map_arg(node.args, self._values.__getitem__)
        kwargs: Any = fx.node.map_arg(node.kwargs, self._values.__getitem__)
        if node.op == "call_function":
            return cast(Any, node.target)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], cast(str, node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            # Not by calling it: torch.fx catches the calls of modules while it traces.
            name = cast(str, node.target)
            if name not in self._modules:
                self._modules[name] = deepcopy(self._root.get_submodule(name)).to("meta")
            return self._modules[name].forward(*args, **kwargs)
        raise NotImplementedError(node.op)
