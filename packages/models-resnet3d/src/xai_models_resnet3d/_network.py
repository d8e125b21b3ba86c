"""The residual network. Every activation and every sum is a module of its own, nothing works in place.

Explanation methods attach hooks to modules and see one input and one output of each. A module that is used
twice, an in-place operation or a bare ``+`` is invisible to them and silently gives wrong relevance.
"""

from __future__ import annotations

from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "PaddedShortcut", "ResNet", "ResidualSum"]


class ResidualSum(nn.Module):
    """The sum that closes a residual block: [N, C, D, H, W] twice to [N, C, D, H, W]."""

    def forward(self, main: Tensor, shortcut: Tensor) -> Tensor:
        """Return ``main + shortcut``."""
        return main + shortcut


class PaddedShortcut(nn.Module):
    """Shortcut type A of He et al. (2016): every ``stride``-th voxel, and zero channels for the missing ones.

    It has no parameters, so a checkpoint of MedicalNet holds no key for it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d(kernel_size=1, stride=stride)
        self.extra = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, D, H, W] to [N, out_channels, D/stride, H/stride, W/stride], rounded up."""
        pooled: Tensor = self.pool(x)
        return F.pad(pooled, (0, 0, 0, 0, 0, 0, 0, self.extra))


def _conv3(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Conv3d:
    return nn.Conv3d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions of size 3 and a shortcut."""

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv3(in_channels, channels, stride, dilation)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3(channels, channels, dilation=dilation)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample = downsample
        self.add = ResidualSum()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, D, H, W] to [N, channels, D/stride, H/stride, W/stride], rounded up."""
        shortcut = x if self.downsample is None else self.downsample(x)
        main = self.relu1(self.bn1(self.conv1(x)))
        main = self.bn2(self.conv2(main))
        return cast(Tensor, self.relu2(self.add(main, shortcut)))


class Bottleneck(nn.Module):
    """Convolutions of size 1, 3 and 1 and a shortcut; the stride is in the middle one."""

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3(channels, channels, stride, dilation)
        self.bn2 = nn.BatchNorm3d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv3d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels * self.expansion)
        self.downsample = downsample
        self.add = ResidualSum()
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, D, H, W] to [N, 4 channels, D/stride, H/stride, W/stride], rounded up."""
        shortcut = x if self.downsample is None else self.downsample(x)
        main = self.relu1(self.bn1(self.conv1(x)))
        main = self.relu2(self.bn2(self.conv2(main)))
        main = self.bn3(self.conv3(main))
        return cast(Tensor, self.relu3(self.add(main, shortcut)))


_BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """The network: float32 [N, channels, D, H, W] to [N, outputs]; ``plugin.ResNet3D`` has the parameters."""

    def __init__(
        self,
        *,
        depth: int,
        channels: int,
        outputs: int,
        width: int = 64,
        shortcut: Literal["A", "B"] = "B",
        conv1_stride: int = 2,
        max_pool: bool = True,
        dilated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        block, counts = _BLOCKS[depth]
        self.conv1 = nn.Conv3d(channels, width, 7, conv1_stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1) if max_pool else nn.Identity()
        strides = (1, 2, 1, 1) if dilated else (1, 2, 2, 2)
        dilations = (1, 1, 2, 4) if dilated else (1, 1, 1, 1)
        stages: list[nn.Sequential] = []
        in_channels = width
        for index, (count, stride, dilation) in enumerate(zip(counts, strides, dilations, strict=True)):
            wide = width * 2**index
            stages.append(_stage(block, count, in_channels, wide, stride, dilation, shortcut))
            in_channels = wide * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, D, H, W] to logits or values [N, outputs]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return cast(Tensor, self.fc(self.dropout(self.flatten(self.avgpool(x)))))


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    count: int,
    in_channels: int,
    channels: int,
    stride: int,
    dilation: int,
    shortcut: str,
) -> nn.Sequential:
    out_channels = channels * block.expansion
    downsample = _shortcut(in_channels, out_channels, stride, shortcut)
    blocks = [block(in_channels, channels, stride, dilation, downsample)]
    blocks += [block(out_channels, channels, 1, dilation, None) for _ in range(1, count)]
    return nn.Sequential(*blocks)


def _shortcut(in_channels: int, out_channels: int, stride: int, kind: str) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    if kind == "A":
        return PaddedShortcut(in_channels, out_channels, stride)
    return nn.Sequential(nn.Conv3d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm3d(out_channels))
