"""The components ``singh2023-alexnet``, ``singh2023-vgg``, ``singh2023-resnet`` and ``singh2023-densenet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from xai_core import InputError

from .base import BrainModel, dropout, filters, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from torch import nn

__all__ = ["Singh2023AlexNet", "Singh2023DenseNet", "Singh2023ResNet", "Singh2023VGG"]


class Singh2023AlexNet(BrainModel):
    """The AlexNet of Singh & Dyrba (2023) for detecting Alzheimer's disease.

    Three times convolution, batch normalisation, max pooling and ReLU, in this order, then one linear layer. Singh &
    Dyrba (2023), Comparison of CNN architectures for detecting Alzheimer's disease using relevance maps, BVM 2023,
    doi:10.1007/978-3-658-41657-7_51; ``model_Alex2`` in Source/util.py of github.com/martindyrba/VisualAiD.

    Made for grey-matter maps of 179 x 169 x 208 voxels, one channel, scaled to 0..1, and two classes (control; mild
    cognitive impairment or Alzheimer's disease). There it has 121 682 stored values: 121 652 trainable parameters and
    30 statistics. Each side of a volume must have at least 8 voxels.

    Args:
        filters: Output channels of each convolution.
        dropout: Probability of dropping a feature before the linear layer, in [0, 1).
    """

    label = "singh2023-alexnet"
    smallest = 8

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        filters=filters(5), dropout=dropout(0.3, "a feature before the linear layer")
    )

    def __init__(self, *, filters: int = 5, dropout: float = 0.3) -> None:
        self.filters = filters
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from ._sequential import alexnet

        return alexnet(input_shape, outputs, self.filters, self.dropout)


class Singh2023VGG(BrainModel):
    """The VGG of Singh & Dyrba (2023) for detecting Alzheimer's disease.

    Blocks of 2, 2, 3 and 3 convolutions with ReLU, each closed by max pooling and batch normalisation, then three
    linear layers. Singh & Dyrba (2023), BVM 2023, doi:10.1007/978-3-658-41657-7_51; ``model_VGG`` in Source/util.py of
    github.com/martindyrba/VisualAiD. The original also adds 0.01 times the squared weights of the last two layers to
    the loss; that is the trainer's part (``weight_decay`` comes close), not the network's.

    Made for grey-matter maps of 179 x 169 x 208 voxels, one channel, scaled to 0..1, and two classes. There it has
    750 346 stored values: 750 282 trainable parameters and 64 statistics. Each side of a volume must have at least 16
    voxels.

    Args:
        filters: Output channels of each convolution.
        spatial_dropout: Probability of dropping a whole channel after the last block, in [0, 1).
        dropout: Probability of dropping a feature before each linear layer, in [0, 1).
    """

    label = "singh2023-vgg"
    smallest = 16

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        filters=filters(8),
        spatial_dropout=dropout(0.5, "a whole channel after the last block"),
        dropout=dropout(0.1, "a feature before each linear layer"),
    )

    def __init__(self, *, filters: int = 8, spatial_dropout: float = 0.5, dropout: float = 0.1) -> None:
        self.filters = filters
        self.spatial_dropout = spatial_dropout
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from ._sequential import vgg

        return vgg(input_shape, outputs, self.filters, self.spatial_dropout, self.dropout)


class Singh2023ResNet(BrainModel):
    """The ResNet of Singh & Dyrba (2023) for detecting Alzheimer's disease.

    Two residual blocks whose shortcuts are max pooling; the first shortcut is the pooled volume itself, added to every
    channel. Singh & Dyrba (2023), BVM 2023, doi:10.1007/978-3-658-41657-7_51; ``model_Resnet`` in Source/util.py of
    github.com/martindyrba/VisualAiD.

    Made for grey-matter maps of 179 x 169 x 208 voxels, one channel, scaled to 0..1, and two classes. There it has
    20 642 stored values: 20 602 trainable parameters and 40 statistics. Each side of a volume must have at least 16
    voxels; a volume has one channel, or as many as ``filters``.

    Args:
        filters: Output channels of each convolution.
        dropout: Probability of dropping a feature before the linear layer, in [0, 1).
    """

    label = "singh2023-resnet"
    smallest = 16

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        filters=filters(5), dropout=dropout(0.3, "a feature before the linear layer")
    )

    def __init__(self, *, filters: int = 5, dropout: float = 0.3) -> None:
        self.filters = filters
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape.

        Raises:
            InputError: The volumes' channels can be added neither to all nor to each of the first block's.
        """
        from ._resnet import ResNet

        if input_shape[0] not in (1, self.filters):
            raise InputError(
                f"{self.label}: the volumes have {input_shape[0]} channels, and the first shortcut adds them to the "
                f"{self.filters} channels of the first block: give volumes of one channel, or set filters to "
                f"{input_shape[0]}."
            )
        return ResNet(input_shape, outputs, self.filters, self.dropout)


class Singh2023DenseNet(BrainModel):
    """The DenseNet of Singh & Dyrba (2023) for detecting Alzheimer's disease.

    A convolution of size 7 and max pooling with stride 2, two dense blocks of three layers with a transition between
    them, then max pooling, ReLU and one linear layer. 'Same' padding is TensorFlow's: asymmetric where a side is even.
    Singh & Dyrba (2023), BVM 2023, doi:10.1007/978-3-658-41657-7_51; ``DenseNet`` in Source/util.py of
    github.com/martindyrba/VisualAiD. The transition that this code makes behind the last block is not connected to the
    output there, and left out here.

    Made for grey-matter maps of 179 x 169 x 208 voxels, one channel, scaled to 0..1, and two classes. There it has
    145 363 stored values: 144 941 trainable parameters and 422 statistics. Each side of a volume must have at least 9
    voxels.

    Args:
        initial_filters: Output channels of the first convolution.
        growth: Channels that a layer of a dense block adds; also those of its first convolution, of size 1.
        blocks: Number of layers of each of the two dense blocks.
        dropout: Probability of dropping a feature before the linear layer, in [0, 1).
    """

    label = "singh2023-densenet"
    smallest = 9

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        initial_filters={
            "type": "integer",
            "minimum": 1,
            "default": 10,
            "description": "Output channels of the first convolution; 10 in the publication.",
        },
        growth={
            "type": "integer",
            "minimum": 1,
            "default": 8,
            "description": "Channels that a layer of a dense block adds; 8 in the publication.",
        },
        blocks={
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 2,
            "maxItems": 2,
            "default": [3, 3],
            "description": "Number of layers of each of the two dense blocks; 3 and 3 in the publication.",
        },
        dropout=dropout(0.4, "a feature before the linear layer"),
    )

    def __init__(
        self, *, initial_filters: int = 10, growth: int = 8, blocks: Sequence[int] = (3, 3), dropout: float = 0.4
    ) -> None:
        self.initial_filters = initial_filters
        self.growth = growth
        self.blocks = blocks
        self.dropout = dropout

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network for volumes of exactly this shape."""
        from ._densenet import DenseNet

        return DenseNet(input_shape, outputs, self.initial_filters, self.growth, self.blocks, self.dropout)
