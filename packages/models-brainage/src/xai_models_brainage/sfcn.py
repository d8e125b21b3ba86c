"""The component ``sfcn``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import BrainModel, dropout, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from torch import nn

__all__ = ["SFCN"]


class SFCN(BrainModel):
    """SFCN, the simple fully convolutional network of Peng et al. (2021) for brain age.

    Five times convolution, batch normalisation, max pooling and ReLU, in this order, a convolution of size 1, the
    average over the volume and a last convolution of size 1. Peng et al. (2021), Accurate brain age prediction with
    lightweight deep neural networks, Medical Image Analysis 68:101871, doi:10.1016/j.media.2020.101871;
    brain_age/sfcn.py in github.com/ha-ha-ha-han/UKBiobank_deep_pretrain. Parameters have the original's names (without
    the prefix ``module.`` of ``DataParallel``).

    Made for T1 images in MNI space of 160 x 192 x 160 voxels, one channel, divided by their mean, and 40 bins of one
    year of age each (42 to 82 in the repository's example). There it has 2 952 936 trainable parameters and 1 600
    statistics; with ``outputs=1``, for age as one value, 2 950 401 parameters. The original returns the logarithm of
    the softmax over the bins, this network the logits. The average is over what is left of the volume, at the
    published size the original's 5 x 6 x 5, so that any size of at least 32 voxels along each side works.

    Args:
        filters: Output channels of the six convolutions before the last one.
        dropout: Probability of dropping a feature before the last convolution, in [0, 1).
    """

    label = "sfcn"
    smallest = 32

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        filters={
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 6,
            "maxItems": 6,
            "default": [32, 64, 128, 256, 256, 64],
            "description": "Output channels of the six convolutions before the last one.",
        },
        dropout=dropout(0.5, "a feature before the last convolution"),
    )

    def __init__(self, *, filters: Sequence[int] = (32, 64, 128, 256, 256, 64), dropout: float = 0.5) -> None:
        self.filters = filters
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network; only the number of channels decides it."""
        from ._sfcn import sfcn

        return sfcn(input_shape[0], outputs, self.filters, self.dropout)
