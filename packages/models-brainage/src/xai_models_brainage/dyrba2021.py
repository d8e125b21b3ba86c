"""The component ``dyrba2021``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .base import BrainModel, dropout, filters, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["Dyrba2021"]


class Dyrba2021(BrainModel):
    """The network of Dyrba et al. (2021) for detecting Alzheimer's disease.

    Three times convolution, ReLU, max pooling and batch normalisation, in this order, then three linear layers. Dyrba
    et al. (2021), Improving 3D convolutional neural network comprehensibility via interactive visualization of
    relevance maps, Alzheimer's Research & Therapy 13:191, doi:10.1186/s13195-021-00924-2; the training notebooks in
    github.com/martindyrba/DeepLearningInteractiveVis. The original also adds 0.01 times the squared weights of the last
    two layers to the loss; that is the trainer's part (``weight_decay`` comes close), not the network's.

    Made for residuals of grey-matter maps (CAT12) of 100 x 100 x 120 voxels, one channel, and two classes (control;
    mild cognitive impairment or Alzheimer's disease). There it has 694 970 stored values: 694 940 trainable parameters
    and 30 statistics. Each side of a volume must have at least 8 voxels.

    Args:
        filters: Output channels of each convolution.
        dropout: Probability of dropping a feature before each linear layer, in [0, 1).
    """

    label = "dyrba2021"
    smallest = 8

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        filters=filters(5), dropout=dropout(0.1, "a feature before each linear layer")
    )

    def __init__(self, *, filters: int = 5, dropout: float = 0.1) -> None:
        self.filters = filters
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from ._sequential import dyrba2021

        return dyrba2021(input_shape, outputs, self.filters, self.dropout)
