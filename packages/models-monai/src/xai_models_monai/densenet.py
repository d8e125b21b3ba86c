"""The component ``monai-densenet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .base import DROPOUT, MonaiModel, parameters, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiDenseNet"]


class MonaiDenseNet(MonaiModel):
    """MONAI's 3D DenseNet 121, 169, 201 or 264, or one with blocks of your own.

    Huang et al. (2017) with 3D kernels, ``monai.networks.nets.DenseNet121`` to ``DenseNet264``. Each transition
    between blocks halves the volume and needs two voxels along each axis: with four blocks a side of 29 is the least.

    Args:
        depth: Number of weighted layers: 121, 169, 201 or 264.
        blocks: Number of layers of each dense block, in place of those of ``depth``; None: those of ``depth``.
        init_features: Channels of the first convolution.
        growth_rate: Channels that a layer adds, k in the paper.
        bottleneck: A layer first makes this times ``growth_rate`` channels.
        dropout: Probability of dropping a feature after each layer, in [0, 1).
        pretrained: The ``state_dict`` of a network of this kind.
    """

    label = "monai-densenet"
    head = "class_layers.out"
    weights_hint = "Check depth, blocks, init_features, growth_rate and bottleneck."

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        depth={
            "type": "integer",
            "enum": [121, 169, 201, 264],
            "default": 121,
            "description": "Number of weighted layers.",
        },
        blocks={
            **whole_numbers(),
            "type": ["array", "null"],
            "default": None,
            "description": "Number of layers of each dense block, in place of those of depth (121: 6, 12, 24, 16).",
        },
        init_features={
            "type": "integer",
            "minimum": 1,
            "default": 64,
            "description": "Channels of the first convolution.",
        },
        growth_rate={
            "type": "integer",
            "minimum": 1,
            "default": 32,
            "description": "Channels that a layer adds.",
        },
        bottleneck={
            "type": "integer",
            "minimum": 1,
            "default": 4,
            "description": "The first convolution of a layer makes this times growth_rate channels.",
        },
        dropout=DROPOUT,
    )

    def __init__(
        self,
        *,
        depth: Literal[121, 169, 201, 264] = 121,
        blocks: Sequence[int] | None = None,
        init_features: int = 64,
        growth_rate: int = 32,
        bottleneck: int = 4,
        dropout: float = 0.0,
        pretrained: str | Path | None = None,
    ) -> None:
        self.depth = depth
        self.blocks = blocks
        self.init_features = init_features
        self.growth_rate = growth_rate
        self.bottleneck = bottleneck
        self.dropout = dropout
        self.pretrained = pretrained

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network; only the number of channels decides it."""
        from monai.networks import nets

        own_blocks = {} if self.blocks is None else {"block_config": tuple(self.blocks)}
        network: nn.Module = getattr(nets, f"DenseNet{self.depth}")(
            pretrained=False,
            spatial_dims=3,
            in_channels=input_shape[0],
            out_channels=outputs,
            init_features=self.init_features,
            growth_rate=self.growth_rate,
            bn_size=self.bottleneck,
            dropout_prob=self.dropout,
            **own_blocks,
        )
        return network
