"""The published networks that are one chain of layers."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import Literal

from torch import nn

from ._layers import batch_norm, conv, glorot, halved, max_pool, same_max_pool, same_sides

__all__ = ["alexnet", "dyrba2021", "mrinet", "vgg"]

Shape = tuple[int, int, int, int]
Layers = OrderedDict[str, nn.Module]


def alexnet(shape: Shape, outputs: int, filters: int, dropout: float) -> nn.Module:
    """Return the AlexNet of Singh & Dyrba (2023) for volumes of this shape (C, D, H, W)."""
    layers: Layers = OrderedDict()
    channels, sides = shape[0], shape[1:]
    for index in (1, 2, 3):
        layers[f"conv{index}"] = conv(channels, filters)
        layers[f"bn{index}"] = batch_norm(filters)
        layers[f"pool{index}"] = max_pool()
        layers[f"relu{index}"] = nn.ReLU()
        channels, sides = filters, halved(sides)
    layers["dropout"] = nn.Dropout(dropout)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(filters * prod(sides), outputs)
    return glorot(nn.Sequential(layers))


def vgg(shape: Shape, outputs: int, filters: int, spatial_dropout: float, dropout: float) -> nn.Module:
    """Return the VGG of Singh & Dyrba (2023) for volumes of this shape (C, D, H, W)."""
    layers: Layers = OrderedDict()
    channels, sides = shape[0], shape[1:]
    for block, count in enumerate((2, 2, 3, 3), start=1):
        for index in range(1, count + 1):
            layers[f"conv{block}_{index}"] = conv(channels, filters)
            layers[f"relu{block}_{index}"] = nn.ReLU()
            channels = filters
        layers[f"pool{block}"] = max_pool()
        layers[f"bn{block}"] = batch_norm(filters)
        sides = halved(sides)
    layers["spatial_dropout"] = nn.Dropout3d(spatial_dropout)
    layers["flatten"] = nn.Flatten()
    layers.update(_three_dense(filters * prod(sides), outputs, dropout))
    return glorot(nn.Sequential(layers))


def dyrba2021(shape: Shape, outputs: int, filters: int, dropout: float) -> nn.Module:
    """Return the network of Dyrba et al. (2021) for volumes of this shape (C, D, H, W)."""
    layers: Layers = OrderedDict()
    channels, sides = shape[0], shape[1:]
    for index in (1, 2, 3):
        layers[f"conv{index}"] = conv(channels, filters)
        layers[f"relu{index}"] = nn.ReLU()
        layers[f"pool{index}"] = max_pool()
        layers[f"bn{index}"] = batch_norm(filters)
        channels, sides = filters, halved(sides)
    layers["flatten"] = nn.Flatten()
    layers.update(_three_dense(filters * prod(sides), outputs, dropout))
    return glorot(nn.Sequential(layers))


def mrinet(
    shape: Shape,
    outputs: int,
    activation: Literal["relu", "leaky-relu"],
    norm: bool,
    dropout: float,
    output_bias: float | None,
) -> nn.Module:
    """Return the MRInet of Hofmann et al. (2022) for volumes of this shape (C, D, H, W).

    Args:
        shape: (C, D, H, W).
        outputs: 1 for a regression; more for a classification, whose last layer has no bias.
        activation: What follows each convolution and the first linear layer.
        norm: Whether batch normalisation precedes each convolution and the flattening.
        dropout: Probability of dropping a feature before the first linear layer.
        output_bias: Bias that the last layer starts with; None: zero.
    """
    layers: Layers = OrderedDict()
    channels, sides = shape[0], shape[1:]
    for index, (filters, kernel) in enumerate(((16, 3), (16, 3), (32, 3), (64, 3), (32, 1)), start=1):
        if norm:
            layers[f"bn{index}"] = batch_norm(channels)
        layers[f"conv{index}"] = conv(channels, filters, kernel)
        layers[f"act{index}"] = _mrinet_activation(activation, norm)
        layers[f"pool{index}"] = same_max_pool(3, 2, sides)
        channels, sides = filters, same_sides(sides, 2)
    if norm:
        layers["bn6"] = batch_norm(channels)
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(dropout)
    layers["fc1"] = nn.Linear(channels * prod(sides), 64)
    layers["act6"] = _mrinet_activation(activation, norm)
    last = layers["fc2"] = nn.Linear(64, outputs, bias=outputs == 1)
    network = glorot(nn.Sequential(layers))
    if output_bias is not None:
        nn.init.constant_(last.bias, output_bias)
    return network


def _mrinet_activation(activation: str, norm: bool) -> nn.Module:
    # With batch normalisation the published code has a ReLU before each leaky ReLU, which then changes nothing.
    return nn.LeakyReLU(0.2) if activation == "leaky-relu" and not norm else nn.ReLU()


def _three_dense(features: int, outputs: int, dropout: float) -> Layers:
    return OrderedDict(
        dropout1=nn.Dropout(dropout),
        fc1=nn.Linear(features, 64),
        relu_fc1=nn.ReLU(),
        dropout2=nn.Dropout(dropout),
        fc2=nn.Linear(64, 32),
        relu_fc2=nn.ReLU(),
        dropout3=nn.Dropout(dropout),
        fc3=nn.Linear(32, outputs),
    )
