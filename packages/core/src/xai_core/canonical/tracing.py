"""From the user's network to a graph of its operations, without touching the network."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import InputError
from .effects import overlap, reads_values, version
from .graph import AUGMENTED, is_passed, is_plain, place, refusal, works_in_place
from .operations import known_part
from .record import record
from .sizes import UNKNOWN, Sizes
from .source import user_line

__all__ = ["observe", "trace"]


class _OneInput(nn.Module):
    """Calls the network with its volume only, so that its other arguments keep their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


class _Proxy(fx.Proxy):
    """Knows that ``y += x`` changes ``y`` for everybody who has it; torch.fx takes it for ``y = y + x``."""

    def __getattr__(self, k: str) -> fx.proxy.Attribute:
        return _Attribute(self, k)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN_OF_FX:  # ``y.data = x``, which torch.fx would forget
            raise TypeError(f"the attribute {name} of a tensor is set")
        super().__setattr__(name, value)


class _Attribute(fx.proxy.Attribute, _Proxy):
    """An attribute of a tensor, such as ``y.data``."""


_OWN_OF_FX = ("node", "tracer", "root", "attr", "_node")


def _augmented(function: Callable[..., Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in AUGMENTED:
    setattr(_Proxy, f"__{_name}__", _augmented(getattr(operator, _name)))


class _Tracer(fx.Tracer):
    """Follows a network's operations; what it asks of sizes is answered for volumes of one size."""

    def __init__(self, volumes: Tensor, passed: Sequence[str]) -> None:
        super().__init__()
        self._volumes, self._passed = volumes, passed
        self._sizes: Sizes | None = None
        self._made: list[nn.Module] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Look into all modules but those with a rule, those to be passed, and PyTorch's own, refused by name."""
        whole = known_part(m) is not None or is_passed(module_qualified_name, m, self._passed)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def path_of_module(self, mod: nn.Module) -> str:
        """Return a module's name; one that a forward made (a slice of a Sequential, a pooling) becomes the root's."""
        try:
            return super().path_of_module(mod)
        except NameError:
            if any(True for _ in mod.parameters()) and type(mod) is not nn.Sequential:
                raise
            name = f"made_{len(self._made)}"
            self._made.append(mod)
            self.root.add_module(name, mod)
            paths = self.submodule_paths or {}
            for inner, module in mod.named_modules(prefix=name):
                paths.setdefault(module, inner)
            return paths[mod]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what the user's code gets in place of a tensor."""
        return _Proxy(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Make a node that knows the line of the user's code that it stands for."""
        node = super().create_node(*args, **kwargs)
        node.meta["line"] = user_line()
        return node

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a branch that depends on sizes only."""
        value = self._value(obj)
        return super().to_bool(obj) if value is UNKNOWN else bool(value)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Loop over sizes."""
        value = self._value(obj)
        return iter(value) if isinstance(value, tuple | list) else super().iter(obj)

    def _value(self, obj: fx.Proxy) -> Any:
        if self._sizes is None:
            self._sizes = Sizes(self.root, self._volumes)
        return self._sizes.value(obj.node)


def trace(model: nn.Module, volumes: Tensor, passed: Sequence[str] = ()) -> tuple[fx.GraphModule, bool]:
    """Return the graph of a network's operations; its modules are the network's own, its hooks are gone.

    The graph holds for volumes of the shape of ``volumes`` [N, C, D, H, W], and only for these volumes where the
    second value is true: torch.fx could not trace the network, and its operations were recorded while it ran.

    Raises:
        InputError: It can neither be traced nor recorded.
    """
    for module in model.modules():
        # A hook would be called with symbols in place of tensors. If it changed the output, the comparison of
        # the canonised network with the network itself finds out.
        for name, hooks in vars(module).items():
            if isinstance(hooks, dict) and name.endswith(("_hooks", "_with_kwargs", "_always_called")):
                hooks.clear()
        known_part(module)  # now: while torch.fx traces, a module that holds others cannot be tried
    root = _OneInput(model)
    try:
        return _own_constants(fx.GraphModule(root, _Tracer(volumes, passed).trace(root))), False
    except Exception as error:  # torch.fx passes on whatever the user's code raises on a symbol
        try:
            return record(_OneInput(model), volumes, passed)
        except InputError as refused:
            reason = str(error).strip().split("\n", 1)[0]
            raise InputError(
                f"{refused} torch.fx stopped as well ({type(error).__name__}: {reason}).{_blamed(error)} Write its "
                "forward with PyTorch's operations, or use an explainer that needs gradients only (input-x-gradient, "
                "integrated-gradients)."
            ) from error


def _own_constants(graph: fx.GraphModule) -> fx.GraphModule:
    """Copy the tensors that a forward found elsewhere, in its class say, which the user may change later."""
    for name, tensor in list(graph.named_buffers(recurse=False)):
        if name.startswith("_tensor_constant"):
            graph.register_buffer(name, tensor.detach().clone())
    return graph


def _blamed(error: Exception) -> str:
    """Return the place in the network's own code at which tracing stopped, as far as it is known."""
    frames = [
        frame
        for frame in inspect.getinnerframes(error.__traceback__)
        if "/torch/" not in frame.filename and frame.filename != __file__
    ] if error.__traceback__ else []  # fmt: skip
    return f" It stopped at {frames[-1].filename}:{frames[-1].lineno}." if frames else ""


class _Observer(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor and the value of all that the volumes' values do not decide."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.graph_module = graph
        self.seen: dict[fx.Node, Any] = {}
        self.reads_data = False
        self.refused: list[str] = []

    def run_node(self, n: fx.Node) -> Any:
        given = {s: self.env[s] for s in n.all_input_nodes if isinstance(self.env[s], Tensor)}
        versions = {source: version(tensor) for source, tensor in given.items()}
        value = super().run_node(n)
        for source, tensor in given.items():
            if version(tensor) != versions[source]:
                self._check_write(n, source, tensor)
        name = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", "")
        # Of a tensor that another one is brought to the type or the size of, nothing else counts.
        sources = n.all_input_nodes[:1] if n.op == "call_method" and name in _LIKE_ANOTHER else n.all_input_nodes
        varying = any(source.meta["varies"] for source in sources)
        n.meta["varies"] = n.op == "placeholder" or (varying and not is_plain(value) and name not in _MAKERS)
        n.meta["is_tensor"] = isinstance(value, Tensor)
        n.meta["dtype"] = getattr(value, "dtype", None)
        n.meta["is_real"] = not isinstance(value, Tensor) or value.is_floating_point()
        self.seen[n] = tuple(value.shape) if isinstance(value, Tensor) else value
        if not n.meta["varies"]:
            n.meta["value"] = value
            self.reads_data = self.reads_data or (n.op != "output" and varying and reads_values(name, value))
        return value

    def _check_write(self, node: fx.Node, source: fx.Node, tensor: Tensor) -> None:
        """Refuse a change in place that others see too: the graph hands on values, not memory."""
        if not (works_in_place(self.graph_module, node) and source is node.args[0]):
            self.refused.append(f"{place(self.graph_module, node)}: it writes into a tensor out of sight")
            return
        finished = self.user_to_last_uses.get(node, [])
        for other, value in self.env.items():
            if other is source or other in finished or not other.users:
                continue
            if isinstance(value, Tensor) and overlap(value, tensor):
                self.refused.append(
                    f"{place(self.graph_module, node)}: it works in place on a view of a tensor that is used later "
                    "under another name; write it without the underscore or inplace=True"
                )
                return


_LIKE_ANOTHER = frozenset(["to", "type_as", "expand_as", "view_as", "reshape_as"])
# Their value does not depend on the values of the tensor that they are asked of.
_MAKERS = frozenset(["new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"])


def observe(graph: fx.GraphModule, volumes: Tensor) -> tuple[dict[fx.Node, Any], bool]:
    """Run a graph on volumes; return each node's shape (a tensor's) or value, and whether it reads voxels as numbers.

    Sets ``node.meta``: ``is_tensor``; ``is_real``, whether a tensor holds floating point; ``varies``, whether it
    depends on the volumes' values; else ``value``.

    Raises:
        InputError: It does not run; a branch was then traced that these volumes do not take. Or it changes tensors in
            place in a way that cannot be undone.
    """
    observer = _Observer(graph)
    try:
        with torch.no_grad():
            observer.run(volumes.clone())
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise InputError(
            "This explainer cannot follow the operations of this network: its traced form fails on volumes of shape "
            f"{tuple(volumes.shape)} ({type(error).__name__}: {reason}). Its forward must not depend on the data."
        ) from error
    if observer.refused:
        raise refusal(observer.refused)
    return observer.seen, observer.reads_data
