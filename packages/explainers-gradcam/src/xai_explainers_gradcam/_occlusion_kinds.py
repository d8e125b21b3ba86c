"""The kinds of operations of a network that can be computed again for a part of their output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._occlusion_geometry import Boxes, Extent, Grid, Stencil, as_grid, union

__all__ = ["Convolution", "GlobalMean", "Pointwise", "Rule", "ShiftedConvolution", "Sliding", "Source"]


class Source(Protocol):
    """What a rule may ask of a feature map of which a part was computed again."""

    boxes: Boxes

    def crop(self, boxes: Boxes, fill: float = 0.0) -> Tensor:
        """Return the map with its new part, in these boxes [B, C, *size]; ``fill`` where they leave the map."""

    def before(self) -> Tensor:
        """Return the map without the change, in its own boxes [B, C, *size]."""


class Rule(ABC):
    """One operation that acts locally."""

    @abstractmethod
    def affected(self, extents: list[Extent], grid: Grid) -> Extent:
        """Return what of the output, on a grid of this size, depends on these parts of the inputs."""

    @abstractmethod
    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:
        """Return the output in the boxes, [B, C, *size]."""

    @property
    def reads_beyond(self) -> bool:
        """Whether it may read inputs outside of the part that was computed again."""
        return True


@dataclass(frozen=True)
class Sliding(Rule):
    """A pooling or a padding.

    Attributes:
        stencil: What it reads.
        function: Maps the inputs that boxes of outputs read to these outputs. It does not pad.
        fill: Value of what is read outside of the grid.
    """

    stencil: Stencil
    function: Callable[[Tensor, Boxes], Tensor]
    fill: float = 0.0

    def affected(self, extents: list[Extent], grid: Grid) -> Extent:
        """See ``Rule``."""
        return self.stencil.affected(extents[0], grid)

    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:
        """See ``Rule``."""
        return self.function(sources[0].crop(self.stencil.read(boxes), self.fill), boxes)


@dataclass(frozen=True)
class Convolution(Rule):
    """A convolution that pads with zeros.

    Along an axis on which the boxes span the whole output it pads by itself, which skips the products with zeros:
    about half of them in the last layers.

    Attributes:
        module: The convolution.
        stencil: What it reads.
        before: Grid of its input.
        after: Grid of its output.
    """

    module: nn.Conv3d
    stencil: Stencil
    before: Grid
    after: Grid

    def affected(self, extents: list[Extent], grid: Grid) -> Extent:
        """See ``Rule``."""
        return self.stencil.affected(extents[0], grid)

    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:
        """See ``Rule``."""
        module = self.module
        read = self.stencil.read(boxes)
        # "same" may pad by one more behind than before, which a convolution cannot be asked to do.
        spans = np.asarray(boxes.size) == self.after if not isinstance(module.padding, str) else np.zeros(3, bool)
        padding = as_grid(np.where(spans, self.stencil.padding, 0))
        read = Boxes(np.where(spans, 0, read.start), as_grid(np.where(spans, self.before, read.size)))
        inputs = sources[0].crop(read)
        return F.conv3d(inputs, module.weight, module.bias, module.stride, padding, module.dilation, module.groups)


@dataclass(frozen=True)
class ShiftedConvolution(Convolution):
    """A convolution with a bias that may differ from voxel to voxel (canonical form: batch normalisation before it).

    Attributes:
        bias: [1, C, *size] of the output.
    """

    bias: Tensor

    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:
        """See ``Rule``."""
        parts = [self.bias[0][(slice(None), *map(slice, start, start + boxes.size))] for start in boxes.start]
        return super().compute(sources, boxes) + torch.stack(parts)


@dataclass(frozen=True)
class Pointwise(Rule):
    """An operation in which each voxel of the output depends on the same voxel of the inputs only."""

    function: Callable[..., Tensor]
    inputs: int

    def affected(self, extents: list[Extent], grid: Grid) -> Extent:  # noqa: ARG002
        """See ``Rule``."""
        return union(extents)

    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:
        """See ``Rule``."""
        return self.function(*[source.crop(boxes) for source in sources])

    @property
    def reads_beyond(self) -> bool:
        """See ``Rule``. Of several inputs, each may have been computed again in another part."""
        return self.inputs > 1


@dataclass(frozen=True)
class GlobalMean(Rule):
    """The mean over the feature map: the mean before the change, and the mean of what the change adds.

    Attributes:
        mean: [1, C, 1, 1, 1], without the change.
        voxels: Number of voxels of the map.
    """

    mean: Tensor
    voxels: int

    def affected(self, extents: list[Extent], grid: Grid) -> Extent:  # noqa: ARG002
        """See ``Rule``."""
        return Extent(np.zeros_like(extents[0].first), np.ones_like(extents[0].last))

    def compute(self, sources: Sequence[Source], boxes: Boxes) -> Tensor:  # noqa: ARG002
        """See ``Rule``."""
        (source,) = sources
        added = (source.crop(source.boxes) - source.before()).sum(dim=(2, 3, 4), keepdim=True)
        return self.mean + added / self.voxels
