"""The component ``monai-vit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import ConfigError

from .base import DROPOUT, MonaiModel, parameters, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiViT"]


class MonaiViT(MonaiModel):
    """MONAI's 3D vision transformer (ViT) with a class token.

    Dosovitskiy et al. (2021) with cubes in place of squares, ``monai.networks.nets.ViT``. The network is made for one
    size of volume, that of ``input_shape``. It returns the logits only, without MONAI's tanh and hidden states.

    Args:
        patch_size: Side of a patch in voxels: one number, or one for each axis.
        edges: Where a side is no multiple of the patch's: ``"pad"`` adds zeros on both sides, so that the network sees
            every voxel; ``"cut"`` ignores the rest at the end of the axis, as MONAI does.
        hidden_size: Length of a token; a multiple of ``num_heads``.
        mlp_dim: Width of the hidden layer of each block.
        num_layers: Number of transformer blocks.
        num_heads: Number of attention heads.
        position: How a token knows its place: ``"learnable"``, or ``"sincos"``, fixed waves (``hidden_size`` is then
            a multiple of 6).
        qkv_bias: Whether queries, keys and values have a bias.
        dropout: Probability of dropping a feature, in [0, 1).
        pretrained: The ``state_dict`` of a network of this kind, made for volumes of the same size.

    Raises:
        ConfigError: ``hidden_size`` does not suit ``num_heads`` or ``position``.
    """

    label = "monai-vit"
    head = "classification_head"
    # For attention to a second input; MONAI makes these parts and never uses them.
    unused_keys = r"blocks\.\d+\.(norm_)?cross_attn\."
    weights_hint = (
        "Check patch_size, hidden_size, mlp_dim, num_layers, position, qkv_bias and edges; the weights are for volumes "
        "of one size."
    )

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        patch_size={
            "anyOf": [{"type": "integer", "minimum": 1}, whole_numbers(3)],
            "default": 16,
            "description": "Side of a patch in voxels: one number, or one for each axis.",
        },
        edges={
            "type": "string",
            "enum": ["pad", "cut"],
            "default": "pad",
            "description": "Where a side of the volume is no multiple of the patch's: pad adds zeros on both sides, "
            "cut ignores the voxels at the end of the axis, as MONAI does.",
        },
        hidden_size={
            "type": "integer",
            "minimum": 1,
            "default": 768,
            "description": "Length of a token; a multiple of num_heads.",
        },
        mlp_dim={
            "type": "integer",
            "minimum": 1,
            "default": 3072,
            "description": "Width of the hidden layer of each block.",
        },
        num_layers={
            "type": "integer",
            "minimum": 1,
            "default": 12,
            "description": "Number of transformer blocks.",
        },
        num_heads={
            "type": "integer",
            "minimum": 1,
            "default": 12,
            "description": "Number of attention heads.",
        },
        position={
            "type": "string",
            "enum": ["learnable", "sincos"],
            "default": "learnable",
            "description": "How a token knows its place: learnable, or sincos, fixed waves.",
        },
        qkv_bias={
            "type": "boolean",
            "default": False,
            "description": "Whether queries, keys and values have a bias.",
        },
        dropout=DROPOUT,
    )

    def __init__(
        self,
        *,
        patch_size: int | Sequence[int] = 16,
        edges: Literal["pad", "cut"] = "pad",
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        position: Literal["learnable", "sincos"] = "learnable",
        qkv_bias: bool = False,
        dropout: float = 0.0,
        pretrained: str | Path | None = None,
    ) -> None:
        if hidden_size % num_heads:
            raise ConfigError(
                f"monai-vit: hidden_size ({hidden_size}) must be a multiple of num_heads ({num_heads}), so that each "
                "head gets an equal part of a token."
            )
        if position == "sincos" and hidden_size % 6:
            raise ConfigError(
                f"monai-vit: hidden_size ({hidden_size}) must be a multiple of 6 for position: sincos (sine and cosine "
                "for each of three axes)."
            )
        self.patch_size = patch_size
        self.edges = edges
        self.hidden_size = hidden_size
        self.mlp_dim = mlp_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.position = position
        self.qkv_bias = qkv_bias
        self.dropout = dropout
        self.pretrained = pretrained

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from ._vit import LogitsViT

        patch = (self.patch_size,) * 3 if isinstance(self.patch_size, int) else tuple(self.patch_size)
        return LogitsViT(
            input_shape,
            patch,
            pad=self.edges == "pad",
            hidden_size=self.hidden_size,
            mlp_dim=self.mlp_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            pos_embed_type=self.position,
            num_classes=outputs,
            dropout_rate=self.dropout,
            qkv_bias=self.qkv_bias,
        )
