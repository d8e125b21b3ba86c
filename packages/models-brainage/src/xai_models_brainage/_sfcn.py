"""The simple fully convolutional network (SFCN) of Peng et al. (2021)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

__all__ = ["sfcn"]


def sfcn(channels: int, outputs: int, filters: Sequence[int], dropout: float) -> nn.Module:
    """Return the network, mapping float32 [N, channels, D, H, W] to [N, outputs]; names are those of the original.

    Args:
        channels: Input channels.
        outputs: Number of logits or values.
        filters: Channels of each convolution; the last one has size 1 and no pooling.
        dropout: Probability of dropping a feature before the last convolution.
    """
    features: OrderedDict[str, nn.Module] = OrderedDict()
    for index, wide in enumerate(filters):
        last = index == len(filters) - 1
        features[f"conv_{index}"] = _unit(channels, wide) if last else _pooled_unit(channels, wide)
        channels = wide
    classifier: OrderedDict[str, nn.Module] = OrderedDict(
        # At the published input size the original's window of 5 x 6 x 5 is all that is left.
        average_pool=nn.AdaptiveAvgPool3d(1),
        dropout=nn.Dropout(dropout),
    )
    classifier[f"conv_{len(filters)}"] = nn.Conv3d(channels, outputs, 1)
    classifier["flatten"] = nn.Flatten()
    return nn.Sequential(OrderedDict(feature_extractor=nn.Sequential(features), classifier=nn.Sequential(classifier)))


def _pooled_unit(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, filters, 3, padding=1), nn.BatchNorm3d(filters), nn.MaxPool3d(2), nn.ReLU()
    )


def _unit(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, filters, 1), nn.BatchNorm3d(filters), nn.ReLU())
