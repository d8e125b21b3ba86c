"""The component ``monai-efficientnet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .base import MonaiModel, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiEfficientNet"]


class MonaiEfficientNet(MonaiModel):
    """MONAI's 3D EfficientNet b0 to b8.

    Tan and Le (2019) with 3D kernels, ``monai.networks.nets.EfficientNetBN``. MONAI computes the padding of strided
    convolutions once, for cubes of the side that the version has in two dimensions (224 for b0), and pads volumes
    of any size alike. Its swish with a gradient written by hand is replaced by the plain one of the same values.

    Args:
        version: ``"b0"`` (the smallest) to ``"b8"``.
        dropout: Probability of dropping a feature before the last layer, in [0, 1); None: the version's (0.2 to 0.5).
        pretrained: The ``state_dict`` of a network of this kind.
    """

    label = "monai-efficientnet"
    head = "_fc"
    weights_hint = "Check version."

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        version={
            "type": "string",
            "enum": ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"],
            "default": "b0",
            "description": "Size of the network, from b0, the smallest, to b8.",
        },
        dropout={
            "type": ["number", "null"],
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": None,
            "description": "Probability of dropping a feature before the last layer in training; null: the version's "
            "(0.2 for b0).",
        },
    )

    def __init__(
        self,
        *,
        version: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"] = "b0",
        dropout: float | None = None,
        pretrained: str | Path | None = None,
    ) -> None:
        self.version = version
        self.dropout = dropout
        self.pretrained = pretrained

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network; only the number of channels decides it."""
        from monai.networks.nets.efficientnet import EfficientNetBN

        network = EfficientNetBN(
            f"efficientnet-{self.version}",
            pretrained=False,
            spatial_dims=3,
            in_channels=input_shape[0],
            num_classes=outputs,
        )
        # The other swish is an autograd.Function: torch.fx cannot follow it, and it has no second derivative.
        network.set_swish(memory_efficient=False)
        if self.dropout is not None:
            network._dropout.p = self.dropout
        return network
