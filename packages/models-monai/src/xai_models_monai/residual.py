"""The components ``monai-classifier`` and ``monai-regressor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import ConfigError

from .base import DROPOUT, MonaiModel, parameters, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiClassifier", "MonaiRegressor", "ResidualNetwork"]


class ResidualNetwork(MonaiModel):
    """Strided residual units and one linear layer on the flattened features, for volumes of one size.

    Args:
        channels: Output channels of each unit.
        strides: Stride of each unit, as many as ``channels``; a unit divides the volume's sides by it.
        kernel_size: Side of the kernels in voxels, odd.
        num_res_units: Convolutions in each unit; 0: plain convolutions without a residual sum.
        act: Activation.
        norm: Normalisation: ``"instance"`` (MONAI's default: each volume by its own mean and variance), ``"batch"``
            or ``"none"``.
        dropout: Probability of dropping a feature, in [0, 1).
        bias: Whether convolutions have a bias.
        pretrained: The ``state_dict`` of a network of this kind, made for volumes of the same size.

    Raises:
        ConfigError: ``channels`` and ``strides`` differ in length.
    """

    head = "final.1"
    weights_hint = (
        "Check channels, kernel_size, num_res_units, act, norm, dropout and bias; the last layer is for volumes of one "
        "size."
    )

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        channels={
            **whole_numbers(),
            "default": [16, 32, 64, 128],
            "description": "Output channels of each unit.",
        },
        strides={
            **whole_numbers(),
            "default": [2, 2, 2, 2],
            "description": "Stride of each unit, as many as channels.",
        },
        kernel_size={
            "type": "integer",
            "enum": [1, 3, 5, 7, 9, 11],
            "default": 3,
            "description": "Side of the kernels in voxels.",
        },
        num_res_units={
            "type": "integer",
            "minimum": 0,
            "default": 2,
            "description": "Convolutions in each unit; 0: plain convolutions without a residual sum.",
        },
        act={
            "type": "string",
            "enum": ["prelu", "relu", "leakyrelu", "elu"],
            "default": "prelu",
            "description": "Activation.",
        },
        norm={
            "type": "string",
            "enum": ["instance", "batch", "none"],
            "default": "instance",
            "description": "Normalisation. instance, MONAI's default, takes mean and variance of the volume itself, so "
            "that each feature depends on all voxels and LRP and exact occlusion do not apply; batch has fixed ones.",
        },
        dropout=DROPOUT,
        bias={
            "type": "boolean",
            "default": True,
            "description": "Whether convolutions have a bias.",
        },
    )

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[int] = (2, 2, 2, 2),
        kernel_size: int = 3,
        num_res_units: int = 2,
        act: Literal["prelu", "relu", "leakyrelu", "elu"] = "prelu",
        norm: Literal["instance", "batch", "none"] = "instance",
        dropout: float = 0.0,
        bias: bool = True,
        pretrained: str | Path | None = None,
    ) -> None:
        if len(channels) != len(strides):
            raise ConfigError(
                f"{self.label}: channels has {len(channels)} numbers and strides {len(strides)}; give one stride for "
                "each unit."
            )
        self.channels = channels
        self.strides = strides
        self.kernel_size = kernel_size
        self.num_res_units = num_res_units
        self.act = act
        self.norm = norm
        self.dropout = dropout
        self.bias = bias
        self.pretrained = pretrained

    def _options(self) -> dict[str, Any]:
        """Return what MONAI's two classes have in common."""
        return {
            "channels": tuple(self.channels),
            "strides": tuple(self.strides),
            "kernel_size": self.kernel_size,
            "num_res_units": self.num_res_units,
            "act": self.act,
            "norm": None if self.norm == "none" else self.norm,
            "dropout": self.dropout or None,
            "bias": self.bias,
        }


class MonaiClassifier(ResidualNetwork):
    """MONAI's Classifier: strided residual units and a linear layer, for volumes of one size.

    ``monai.networks.nets.Classifier`` without an activation after the last layer: it gives logits. The parameters
    are those of ``ResidualNetwork``.
    """

    label = "monai-classifier"

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from monai.networks.nets.classifier import Classifier

        network: nn.Module = Classifier(in_shape=input_shape, classes=outputs, last_act=None, **self._options())
        return network


class MonaiRegressor(ResidualNetwork):
    """MONAI's Regressor: strided residual units and a linear layer, for volumes of one size.

    ``monai.networks.nets.Regressor`` with ``outputs`` values; the layers are those of ``monai-classifier``, the
    parameters those of ``ResidualNetwork``.
    """

    label = "monai-regressor"

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from monai.networks.nets.regressor import Regressor

        network: nn.Module = Regressor(in_shape=input_shape, out_shape=(outputs,), **self._options())
        return network
