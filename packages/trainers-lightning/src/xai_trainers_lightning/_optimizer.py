"""The optimizer of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from .plugin import LightningTrainer

__all__ = ["make_optimizer"]


def make_optimizer(params: LightningTrainer, weights: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Return ``params.optimizer`` for weights, at a learning rate."""
    if params.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True, weight_decay=params.weight_decay)
    kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=params.weight_decay)
