"""The shortcut without parameters of a residual network, with its gradient."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ZeroPaddedShortcut", "repair_shortcuts"]


class ZeroPaddedShortcut(nn.Module):
    """Shortcut A of He et al. (2016): subsamples the volume and appends channels of zeros.

    Args:
        channels: Number of channels afterwards.
        stride: Each axis keeps every ``stride``-th voxel.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, D, H, W] to [N, channels, ceil(D / stride), ceil(H / stride), ceil(W / stride)]."""
        step = self.stride
        kept = x[:, :, ::step, ::step, ::step]
        return F.pad(kept, (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return f"channels={self.channels}, stride={self.stride}"


def repair_shortcuts(network: nn.Module) -> None:
    """Replace MONAI's shortcut A, which reads ``.data``, by one of the same values that has a gradient.

    MONAI's comes as a ``functools.partial`` in place of a module. Neither has parameters, so that the
    ``state_dict`` stays the same.
    """
    for block in network.modules():
        shortcut = getattr(block, "downsample", None)
        if isinstance(shortcut, partial):
            block.downsample = ZeroPaddedShortcut(shortcut.keywords["planes"], shortcut.keywords["stride"])
