"""MONAI's vision transformer as a network from volumes to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from monai.networks.nets.vit import ViT
from torch import Tensor, nn

__all__ = ["LogitsViT"]


class LogitsViT(ViT):
    """A ViT that returns the logits only; the keys of its ``state_dict`` are MONAI's.

    Args:
        input_shape: (C, D, H, W) of one volume.
        patch_size: Sides of a patch in voxels.
        pad: Whether volumes are padded with zeros, on both sides, to multiples of the patch's sides.
        options: Further arguments of ``monai.networks.nets.ViT``.
    """

    def __init__(self, input_shape: Sequence[int], patch_size: Sequence[int], *, pad: bool, **options: Any) -> None:
        channels, *sides = input_shape
        missing = [-side % patch if pad else 0 for side, patch in zip(sides, patch_size, strict=True)]
        super().__init__(
            in_channels=channels,
            img_size=tuple(side + more for side, more in zip(sides, missing, strict=True)),
            patch_size=tuple(patch_size),
            classification=True,
            post_activation=None,
            spatial_dims=3,
            **options,
        )
        # F.pad takes the last axis first.
        self.padding = tuple(part for more in reversed(missing) for part in (more // 2, more - more // 2))
        for block in self.blocks:
            # Made for attention to a second input and never called: parameters that would not train.
            block.norm_cross_attn = nn.Identity()
            block.cross_attn = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, D, H, W] to logits [N, outputs]."""
        logits: Tensor = super().forward(F.pad(x, self.padding))[0]  # type: ignore[no-untyped-call]
        return logits
