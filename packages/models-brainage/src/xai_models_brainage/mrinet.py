"""The component ``mrinet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import InputError

from .base import BrainModel, dropout, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["MRInet"]


class MRInet(BrainModel):
    """MRInet, the brain-age network of Hofmann et al. (2022); regression and classification.

    Five convolutions with activation and overlapping max pooling of 3 x 3 x 3 ('same' padding as TensorFlow's:
    asymmetric where a side is even), then two linear layers. Hofmann et al. (2022), Towards the interpretability of
    deep learning models for multi-modal neuroimaging, NeuroImage 261:119504, doi:10.1016/j.neuroimage.2022.119504;
    ``MRInet`` in src/xai4mri/model/mrinets.py of github.com/SHEscher/xai4mri. The last layer of a classification
    (``outputs`` of 2 or more) has no bias there, that of a regression (``outputs=1``) has one.

    Made for T1, FLAIR or susceptibility-weighted images of 198 x 198 x 198 voxels, one channel, scaled to 0..1. There
    it has 781 265 parameters for a regression; with batch normalisation 781 909 stored values: 781 587 trainable
    parameters and 322 statistics. Any volume size works, down to a single voxel.

    Args:
        activation: ``"relu"``, or ``"leaky-relu"`` with a slope of 0.2 for negative values. With ``batch_norm`` both
            are the same network: the published code then has a ReLU before each leaky ReLU.
        batch_norm: Whether batch normalisation precedes each convolution and the flattening.
        dropout: Probability of dropping a feature before the first linear layer, in [0, 1).
        output_bias: Value that the bias of a regression's last layer starts at; the publication has the mean of the
            training targets, in the targets' units. None: zero, which is right where the trainer standardises the
            targets (``target_scaling: standardise``, the default of ``lightning``): the layer's bias is then the mean
            of the fold's training targets to begin with. Give a number with ``target_scaling: none`` only.
    """

    label = "mrinet"
    smallest = 1

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        activation={
            "type": "string",
            "enum": ["relu", "leaky-relu"],
            "default": "relu",
            "description": "Activation after each convolution and the first linear layer; leaky-relu has a slope of "
            "0.2. With batch_norm both are the same network, as in the published code.",
        },
        batch_norm={
            "type": "boolean",
            "default": False,
            "description": "Whether batch normalisation precedes each convolution and the flattening.",
        },
        dropout=dropout(0.5, "a feature before the first linear layer"),
        output_bias={
            "type": ["number", "null"],
            "default": None,
            "description": "Value that the bias of a regression's last layer starts at, such as the mean of the "
            "training targets; null: zero. Leave it null where the trainer standardises the targets (lightning does): "
            "the last layer then starts from the mean of the fold's training targets by itself.",
        },
    )

    def __init__(
        self,
        *,
        activation: Literal["relu", "leaky-relu"] = "relu",
        batch_norm: bool = False,
        dropout: float = 0.5,
        output_bias: float | None = None,
    ) -> None:
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.output_bias = output_bias

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape.

        Raises:
            InputError: ``output_bias`` is given for a classification.
        """
        from ._sequential import mrinet

        if self.output_bias is not None and outputs != 1:
            raise InputError(
                f"{self.label}: output_bias is {self.output_bias}, but the last layer of a classification "
                f"({outputs} outputs) has no bias. Leave output_bias out, or train a regression (1 output)."
            )
        return mrinet(input_shape, outputs, self.activation, self.batch_norm, self.dropout, self.output_bias)
