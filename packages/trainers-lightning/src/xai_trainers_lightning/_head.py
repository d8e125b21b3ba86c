"""The last layer of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xai_core import InputError

__all__ = ["AFFINE", "last_layer"]

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def last_layer(model: nn.Module, volume: Tensor) -> str:
    """Return the name of the affine layer that runs last; the model is left as it was.

    Args:
        model: The network.
        volume: float32 [1, C, D, H, W].

    Raises:
        InputError: No affine layer runs.
    """
    ran: list[str] = []
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, AFFINE)]
    hooks = [module.register_forward_hook(_noting(ran, name)) for name, module in layers]
    was_training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(volume)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in was_training.items():
            module.training = training
    if not ran:
        raise InputError(
            "training.params: no linear or convolution layer runs in the network, so that there is no head for "
            "initial_weights or head_epochs. Leave them out, or choose another model."
        )
    return ran[-1]


def _noting(ran: list[str], name: str) -> Any:
    return lambda *_: ran.append(name)
