"""What besides its tensors decides what a network computes, in a form that can be compared later."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

__all__ = ["settings_of"]

_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), range, Enum, type, types.ModuleType, types.BuiltinFunctionType,
    torch.dtype, torch.device, torch.memory_format, np.generic,
)  # fmt: skip
# Compared by themselves.
_APART = ("_parameters", "_buffers", "_modules", "training")

# What classes are made of besides settings; the same as long as it is the same object.
_METHODS = (
    types.FunctionType, staticmethod, classmethod, property, functools.cached_property, types.MemberDescriptorType,
    types.GetSetDescriptorType,
)  # fmt: skip
_OF_PYTHON = frozenset(("_abc_impl", "_is_protocol"))


class _UnknownError(Exception):
    """A value of which it cannot be said whether it has changed."""


@dataclass(frozen=True, eq=False)
class _Values:
    """A tensor that is neither parameter nor buffer, by its values: writing through ``.data`` leaves no other trace."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Values)
            and self.tensor.dtype == other.tensor.dtype
            and self.tensor.device == other.tensor.device
            and torch.equal(self.tensor, other.tensor)
        )


def settings_of(model: nn.Module) -> list[Any] | None:
    """Return the settings of all modules and the data types of all tensors, which equal only if nothing has changed.

    Holds no reference to the network. What a forward reads of global variables is not looked at.

    Returns:
        None where that cannot be told: hooks may do anything, and an object of an unknown class may change unseen.
    """
    names = {id(module): name for name, module in model.named_modules()}
    try:
        modules = [(name, type(module), _of_module(module, names)) for name, module in model.named_modules()]
        classes = {cls: None for module in model.modules() for cls in type(module).__mro__}  # in order
        shared = [(cls, _of_class(cls, names)) for cls in classes if not cls.__module__.startswith("torch.")]
    except (_UnknownError, RecursionError, ValueError):  # ValueError: a closure over a variable without a value
        return None
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [*modules, *shared, [(name, tensor.dtype, tensor.device) for name, tensor in tensors]]


def _of_module(module: nn.Module, names: dict[int, str]) -> list[Any]:
    own = []
    if isinstance(module, fx.GraphModule):  # a class of its own, whose forward is generated
        own.append(("forward", _frozen(type(module).forward, names)))
    for attribute, value in vars(module).items():
        if attribute in _APART:
            continue
        if isinstance(value, dict) and attribute.startswith("_") and "hook" in attribute:
            if value and "state_dict" not in attribute:
                raise _UnknownError
            continue
        own.append((attribute, _frozen(value, names)))
    return own


def _of_class(cls: type, names: dict[int, str]) -> list[Any]:
    """Return the settings that a class holds, and its methods."""
    return [
        (key, value if isinstance(value, _METHODS) else _frozen(value, names))
        for key, value in vars(cls).items()
        if key == "__call__" or not (key.startswith("__") or key in _OF_PYTHON)
    ]


def _frozen(value: Any, names: dict[int, str]) -> Any:
    for kinds, freeze in _KINDS:
        if isinstance(value, kinds):
            return type(value), freeze(value, names)
    raise _UnknownError


def _module(value: nn.Module, names: dict[int, str]) -> Any:
    if id(value) not in names:  # its weights are not among the network's
        raise _UnknownError
    return names[id(value)]


def _function(value: types.FunctionType, names: dict[int, str]) -> Any:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    # Not the function itself, which may hold the network; another one at its place in memory is not equal.
    held = (cells, value.__defaults__, value.__kwdefaults__)
    return weakref.ref(value), [_frozen(each, names) for each in held]


def _dict(value: dict[Any, Any], names: dict[int, str]) -> Any:
    return [(_frozen(key, names), _frozen(item, names)) for key, item in value.items()]


_Freeze = Callable[[Any, dict[int, str]], Any]

_KINDS: tuple[tuple[Any, _Freeze], ...] = (
    (Tensor, lambda value, _: _Values(value.detach().clone())),
    (_PLAIN, lambda value, _: value),
    (tuple | list, lambda value, names: [_frozen(item, names) for item in value]),
    (set | frozenset, lambda value, names: [_frozen(item, names) for item in sorted(value, key=repr)]),
    (dict, _dict),
    (np.ndarray, lambda value, _: (value.shape, value.dtype.str, value.tobytes())),
    (nn.Module, _module),
    (fx.Graph, lambda *_: None),  # what acts is the code that was made of it
    (types.FunctionType, _function),
    (types.MethodType, lambda value, names: [_frozen(value.__func__, names), _frozen(value.__self__, names)]),
    (functools.partial, lambda value, names: _frozen((value.func, value.args, value.keywords), names)),
)
