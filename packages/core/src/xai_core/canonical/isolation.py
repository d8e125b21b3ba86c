"""A copy of the user's network that may be changed."""

from __future__ import annotations

import types
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..errors import InputError

__all__ = ["isolated_copy"]


class _Through(nn.Module):
    """In place of a module that spreads volumes over devices; its module keeps its name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def isolated_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients, of at least single precision.

    Raises:
        InputError: It cannot be copied.
    """
    copy = _copied(model)
    copy.eval()  # not chained: some networks override train() and return nothing
    copy.requires_grad_(False)
    for tensor in copy.parameters():
        tensor.grad = None
    _make_weights_permanent(copy)
    wide = any(tensor.dtype == torch.float64 for tensor in copy.parameters())
    return copy.to(torch.float64 if wide else torch.float32)


def _copied(model: nn.Module) -> nn.Module:
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InputError(
            "The network is TorchScript, or a part of it is (torch.jit.script, torch.jit.trace), whose operations "
            "cannot be followed. Give the network as it was before, or use an explainer that needs gradients only "
            "(input-x-gradient, integrated-gradients)."
        )
    # A feature map that a forward has stored would not let itself be copied with its gradient's graph.
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed(model)}
    try:
        copy = deepcopy(model, memo)
    except Exception as error:  # whatever the user's classes raise
        raise InputError(
            f"This explainer works on a copy of the network, and {type(model).__name__} cannot be copied "
            f"({type(error).__name__}: {error}). Give a network for which copy.deepcopy works."
        ) from error
    return _undistributed(copy)


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors with a history that modules hold, also in their lists and dictionaries."""
    seen: set[int] = set()
    waiting: list[Any] = [vars(module) for module in model.modules()]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor) and not value.is_leaf:
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType | nn.Module | Tensor):
            waiting.append(vars(value))


def _undistributed(copy: nn.Module) -> nn.Module:
    spread = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, spread):
                setattr(module, name, _Through(child.module))
    return copy


def _make_weights_permanent(copy: nn.Module) -> None:
    """Replace weights that are calculated, which in evaluation mode are constant, by their values."""
    for module in list(copy.modules()):
        if parametrize.is_parametrized(module):
            _make_parametrised_permanent(module)
        for hook in list(module._forward_pre_hooks.values()):
            name = getattr(hook, "name", getattr(hook, "_tensor_name", ""))
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, name)


def _make_parametrised_permanent(module: nn.Module) -> None:
    """Not by PyTorch's function, which would change the class that the copy shares with the user's module."""
    values = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))
