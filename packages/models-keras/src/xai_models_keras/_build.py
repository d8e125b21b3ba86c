"""Builds the torch network that a description describes. Needs no h5py.

A description may come from a file that nobody vouches for: only the classes and functions listed here are used,
and no memory is taken before shapes and weights have proved to fit.
"""

from __future__ import annotations

import keyword
import operator
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, fx, nn

from xai_core import InputError

from ._shapes import shapes

__all__ = ["build"]

_NARROW = 8  # channels
_CLASSES: Mapping[str, type[nn.Module]] = {
    name: getattr(nn, name)
    for name in (
        *(f"{kind}{n}d" for n in (1, 2, 3) for kind in (
            "Conv", "ConvTranspose", "ConstantPad", "MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool",
            "BatchNorm", "InstanceNorm", "Dropout",
        )),
        "Linear", "Flatten", "Unflatten", "Upsample", "GroupNorm", "Dropout", "AlphaDropout", "Identity",
        "ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Tanh", "Sigmoid",
        "LogSigmoid", "Softplus", "Softsign", "Hardtanh", "Hardswish", "Hardsigmoid", "Threshold", "Softmax",
        "LogSoftmax",
    )
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "cat": torch.cat,
    "permute": torch.permute,
    "unsqueeze": torch.unsqueeze,
    "exp": torch.exp,
    "clamp": torch.clamp,
    "mean": torch.mean,
    "sqrt": torch.sqrt,
}


def build(where: str, description: Mapping[str, Any], state: Mapping[str, Tensor]) -> fx.GraphModule:
    """Return the network in evaluation mode, on the CPU, with the weights of ``state`` (not copied).

    Args:
        where: The file, for messages.
        description: As ``_emit`` says.
        state: A ``state_dict``.

    Raises:
        InputError: The description is damaged, or the weights do not fit it.
    """
    try:
        shapes(description)
        with torch.device("meta"):
            network = _network(where, description).eval()
    except InputError:
        raise
    except Exception as error:  # whatever torch has to say of parameters that do not fit
        _fail(where, f"({type(error).__name__}: {str(error).split(chr(10), 1)[0]})", error)
    _load(where, network, state)
    return network


def _fail(where: str, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise InputError(f"{where}: the description of the network does not fit together {reason}.") from cause


def _named(where: str, name: Any) -> str:
    """Return a name that may become part of generated code."""
    if not isinstance(name, str) or not name.isascii() or not name.isidentifier() or keyword.iskeyword(name):
        _fail(where, f"({str(name)[:40]!r} is no name)")
    return name


def _params(where: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters: numbers, words, and tuples of numbers."""
    found = {_named(where, key): tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    for key, value in found.items():
        numbers = value if isinstance(value, tuple) else (value,)
        word = isinstance(value, str) and value.isidentifier()
        if not word and not all(isinstance(each, bool | int | float) for each in numbers):
            _fail(where, f"({key} is {str(value)[:40]})")
    return found


def _network(where: str, description: Mapping[str, Any]) -> fx.GraphModule:
    root = nn.Module()
    for name, each in description["modules"].items():
        if each["class"] not in _CLASSES:
            _fail(where, f"(module {name!r} is of the unknown class {str(each['class'])[:40]!r})")
        module = _CLASSES[each["class"]](**_params(where, each["params"]))
        if "keras" in each:
            module.keras_class = str(each["keras"])  # type: ignore[assignment]
        root.add_module(_named(where, name), module)
    for name, shape in description["buffers"].items():
        root.register_buffer(_named(where, name), torch.empty(shape))
    graph = fx.Graph()
    values: dict[str, fx.Node] = {}
    for node in description["nodes"]:
        values[node["name"]] = _node(where, graph, node, [values[name] for name in node["inputs"]])
    ends = tuple(values[each["node"]] for each in description["outputs"])
    graph.output(ends if len(ends) > 1 else ends[0])
    return fx.GraphModule(root, graph, class_name="KerasNetwork")


def _node(where: str, graph: fx.Graph, node: Mapping[str, Any], inputs: list[fx.Node]) -> fx.Node:
    name = _named(where, node["name"])
    for key, kind in (("input", "placeholder"), ("buffer", "get_attr"), ("module", "call_module")):
        if key in node:
            return graph.create_node(kind, _named(where, node[key]), tuple(inputs), {}, name=name)
    function, params = node["function"], _params(where, node.get("params", {}))
    if function not in _FUNCTIONS:
        _fail(where, f"(node {name!r} uses the unknown function {str(function)[:40]!r})")
    args: tuple[Any, ...] = (list(inputs),) if function == "cat" else tuple(inputs)
    if "other" in params:
        args = (*args, params.pop("other"))
    return graph.create_node("call_function", _FUNCTIONS[function], args, params, name=name)


def _load(where: str, network: fx.GraphModule, state: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    problems = [f"{key} is missing" for key in own if key not in state]
    problems += [f"{key} is not in the network" for key in state if key not in own]
    problems += [
        f"{key} is {_described(state[key])}, not {_described(own[key])}"
        for key in own
        if key in state and _described(state[key]) != _described(own[key])
    ]
    if problems:
        rest = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(f"{where}: the weights do not fit the network: {'; '.join(problems[:5])}{rest}.")
    network.load_state_dict(dict(state), assign=True)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    if all(max(layer.in_channels, layer.out_channels) <= _NARROW for layer in convolutions):
        # oneDNN fills few channels up to 8 or 16, unless they are last in memory. Of the layers here none minds.
        for layer in convolutions:
            cast(Any, layer).to(memory_format=torch.channels_last_3d)


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
