"""The ResNet of Singh & Dyrba (2023)."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import cast

from torch import Tensor, nn

from ._layers import Sum, batch_norm, conv, glorot, halved, max_pool

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """Two residual blocks with pooled shortcuts: float32 [N, C, D, H, W] to [N, outputs].

    Args:
        shape: (C, D, H, W) with C either 1 or ``filters``.
        outputs: Number of logits or values.
        filters: Channels of every convolution.
        dropout: Probability of dropping a feature before ``fc``.
    """

    def __init__(self, shape: tuple[int, int, int, int], outputs: int, filters: int, dropout: float) -> None:
        super().__init__()
        self.block1 = _Block(shape[0], filters, convolutions=2)
        self.block2 = _Block(filters, filters, convolutions=3)
        sides = shape[1:]
        for _ in range(4):  # each block pools twice
            sides = halved(sides)
        self.dropout = nn.Dropout(dropout)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(filters * prod(sides), outputs)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, D, H, W] to logits or values [N, outputs]."""
        return cast(Tensor, self.fc(self.flatten(self.dropout(self.block2(self.block1(x))))))


class _Block(nn.Module):
    """Two stages of convolutions with pooling between them; the pooled input is added, the sum pooled again."""

    def __init__(self, channels: int, filters: int, convolutions: int) -> None:
        super().__init__()
        self.stage1 = _stage(channels, filters, convolutions)
        self.pool1 = max_pool()
        self.relu1 = nn.ReLU()
        self.stage2 = _stage(filters, filters, convolutions)
        self.shortcut = max_pool()
        self.add = Sum()
        self.pool2 = max_pool()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        main = self.stage2(self.relu1(self.pool1(self.stage1(x))))
        return cast(Tensor, self.relu2(self.pool2(self.add(main, self.shortcut(x)))))


def _stage(channels: int, filters: int, convolutions: int) -> nn.Sequential:
    """Return convolutions without activations between them, and batch normalisation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, convolutions + 1):
        layers[f"conv{index}"] = conv(channels, filters)
        channels = filters
    layers["bn"] = batch_norm(filters)
    return nn.Sequential(layers)
