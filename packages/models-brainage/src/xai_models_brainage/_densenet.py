"""The DenseNet of Singh & Dyrba (2023)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import cast

from torch import Tensor, nn

from ._layers import (
    Concatenate,
    Sides,
    batch_norm,
    conv,
    glorot,
    halved,
    max_pool,
    same_average_pool,
    same_conv,
    same_max_pool,
    same_sides,
)

__all__ = ["DenseNet"]


class DenseNet(nn.Module):
    """Dense blocks with a transition between them: float32 [N, C, D, H, W] to [N, outputs].

    Args:
        shape: (C, D, H, W); the padding is made for these sides.
        outputs: Number of logits or values.
        initial_filters: Channels of the first convolution.
        growth: Channels that a layer of a block adds.
        blocks: Number of layers of each block.
        dropout: Probability of dropping a feature before ``fc``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        outputs: int,
        initial_filters: int,
        growth: int,
        blocks: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        sides = shape[1:]
        stem = [*same_conv(shape[0], initial_filters, 7, 2, sides)]
        sides = same_sides(sides, 2)
        stem.append(same_max_pool(3, 2, sides))
        sides = same_sides(sides, 2)
        names = ("pad", "conv", "pool")[-len(stem) :]
        self.stem = nn.Sequential(OrderedDict(zip(names, stem, strict=True)))
        channels = initial_filters
        features: OrderedDict[str, nn.Module] = OrderedDict()
        for block, count in enumerate(blocks, start=1):
            for index in range(1, count + 1):
                features[f"layer{block}_{index}"] = _DenseLayer(channels, growth)
                channels += growth
            if block < len(blocks):
                features[f"transition{block}"] = _transition(channels, sides)
                channels, sides = channels // 2, same_sides(sides, 2)
        self.features = nn.Sequential(features)
        self.pool = max_pool()
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels * prod(halved(sides)), outputs)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, D, H, W] to logits or values [N, outputs]."""
        x = self.relu(self.pool(self.features(self.stem(x))))
        return cast(Tensor, self.fc(self.flatten(self.dropout(x))))


class _DenseLayer(nn.Module):
    """Convolutions of size 1 and 3, each after normalisation and ReLU; the new channels come before the old."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = batch_norm(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = conv(channels, growth, 1)
        self.bn2 = batch_norm(growth)
        self.relu2 = nn.ReLU()
        self.conv2 = conv(growth, growth)
        self.concatenate = Concatenate()

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu1(self.bn1(x)))
        new = self.conv2(self.relu2(self.bn2(new)))
        return cast(Tensor, self.concatenate(new, x))


def _transition(channels: int, sides: Sides) -> nn.Sequential:
    """Return what halves the channels and the sides."""
    return nn.Sequential(
        OrderedDict(
            bn=batch_norm(channels),
            relu=nn.ReLU(),
            conv=conv(channels, channels // 2, 1),
            pool=same_average_pool(2, 2, sides),
        )
    )
