"""The component ``monai-senet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .base import MonaiModel, parameters, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiSENet"]

_CLASSES = {
    "senet154": "SENet154",
    "se-resnet50": "SEResNet50",
    "se-resnet101": "SEResNet101",
    "se-resnet152": "SEResNet152",
    "se-resnext50": "SEResNext50",
    "se-resnext101": "SEResNext101",
}

Variant = Literal["senet154", "se-resnet50", "se-resnet101", "se-resnet152", "se-resnext50", "se-resnext101"]


class MonaiSENet(MonaiModel):
    """MONAI's 3D squeeze-and-excitation networks: SENet-154, SE-ResNet and SE-ResNeXt.

    Hu et al. (2018) with 3D kernels, ``monai.networks.nets.SENet154``, ``SEResNet50`` and so on.

    Args:
        variant: Which network.
        layers: Number of blocks of each of the four stages, in place of the variant's; None: the variant's.
        dropout: Probability of dropping a feature before the last layer, in [0, 1); None: the variant's as MONAI
            has it (0.2 for senet154, se-resnet101 and se-resnet152, none for the others).
        pretrained: The ``state_dict`` of a network of this kind.
    """

    label = "monai-senet"
    head = "last_linear"
    weights_hint = "Check variant and layers."

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        variant={
            "type": "string",
            "enum": list(_CLASSES),
            "default": "se-resnet50",
            "description": "Which network.",
        },
        layers={
            **whole_numbers(4),
            "type": ["array", "null"],
            "default": None,
            "description": "Number of blocks of each of the four stages, in place of the variant's "
            "(se-resnet50: 3, 4, 6, 3).",
        },
        dropout={
            "type": ["number", "null"],
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": None,
            "description": "Probability of dropping a feature before the last layer in training; null: as MONAI has it "
            "for the variant (0.2 for senet154, se-resnet101 and se-resnet152, else 0).",
        },
    )

    def __init__(
        self,
        *,
        variant: Variant = "se-resnet50",
        layers: Sequence[int] | None = None,
        dropout: float | None = None,
        pretrained: str | Path | None = None,
    ) -> None:
        self.variant = variant
        self.layers = layers
        self.dropout = dropout
        self.pretrained = pretrained

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network; only the number of channels decides it."""
        from monai.networks import nets

        own: dict[str, Any] = {} if self.layers is None else {"layers": tuple(self.layers)}
        if self.dropout is not None:
            own["dropout_prob"] = self.dropout
        network: nn.Module = getattr(nets, _CLASSES[self.variant])(
            pretrained=False, spatial_dims=3, in_channels=input_shape[0], num_classes=outputs, **own
        )
        return network
