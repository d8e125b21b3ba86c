"""Finds out by trying what a module without weights does, where its class is not known."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

__all__ = ["is_activation"]

_tried: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def is_activation(module: nn.Module) -> bool:
    """Whether a module acts on each element alone, keeps its sign and is zero at zero (Swish, say).

    It is tried on 6006 values. Relevance can then pass it unchanged, whatever formula it has.
    """
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()) or any(module.children()):
        return False
    if module not in _tried:
        _tried[module] = _acts_so(module)
    return _tried[module]


def _acts_so(module: nn.Module) -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 11, 13, generator=generator, dtype=torch.float64) * 5
    x[:, :, 0] *= 20
    x[:, :, 1] *= 1e-3
    x[:, :, 2] = 0
    try:
        with torch.random.fork_rng(), torch.no_grad():
            y = module.forward(x.clone())
            if not isinstance(y, Tensor) or y.shape != x.shape or not bool(torch.isfinite(y).all()):
                return False
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
