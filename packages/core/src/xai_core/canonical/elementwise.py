"""Finds out by trying what a module without weights does, where its class is not known."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..engine.seeding import seeded

__all__ = ["is_activation", "is_activation_for"]

# Of few channels and of many: a module may act on channels beyond the first ones, or mix groups of them.
_SHAPES = ((2, 3, 7, 11, 13), (1, 48, 2, 5, 3))
_SCALES = (5.0, 100.0, 5e-3, 0.0)

_CALL = nn.Module.__call__

_tried: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def is_activation(module: nn.Module) -> bool:
    """Whether a module acts on each element alone, keeps its sign and is zero at zero (Swish, say).

    It is tried on 7446 values. Relevance can then pass it unchanged, whatever formula it has.
    """
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        return False
    if module not in _tried:
        if any(True for _ in module.children()) and nn.Module.__call__ is not _CALL:
            return False  # torch.fx is tracing: it would catch the calls of the children
        _tried[module] = all(_acts_so(module, shape, torch.float64) for shape in _SHAPES)
    return _tried[module]


def is_activation_for(module: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a module that ``is_activation`` found to be one is one for tensors of this shape [N, ...] too."""
    return not _tried.get(module, False) or _acts_so(module, (1, *shape[1:]), torch.float32)


def _acts_so(module: nn.Module, shape: Sequence[int], dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor(_SCALES, dtype=dtype)[torch.randint(len(_SCALES), tuple(shape), generator=generator)]
    x = torch.randn(tuple(shape), generator=generator, dtype=dtype) * scales
    given = x.clone()
    try:
        with seeded(0), torch.no_grad():
            y = module.forward(given)
            if not isinstance(y, Tensor) or y.shape != x.shape or not bool(torch.isfinite(y).all()):
                return False
            if not torch.equal(given, x):
                return False  # it works in place, which has to be seen
            return bool((y * x >= 0).all()) and not bool(y[x == 0].any()) and _is_local(module, x, y, generator)
    except Exception:  # whatever a module raises that wants another input
        return False


def _is_local(module: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> bool:
    """Whether no element's output depends on another element."""
    for _ in range(3):
        other = torch.rand(x.shape, generator=generator) < 0.5
        changed = module.forward(torch.where(other, 2 * x + 1, x))
        if not torch.equal(changed[~other], y[~other]):
            return False
    return True
