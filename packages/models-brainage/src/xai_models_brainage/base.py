"""What the components of this package share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from xai_core import InputError, Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["BrainModel", "dropout", "filters", "parameters"]


def parameters(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a component with these parameters."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def filters(default: int) -> Mapping[str, Any]:
    """Return the schema of the number of channels of each convolution."""
    return {
        "type": "integer",
        "minimum": 1,
        "default": default,
        "description": f"Output channels of each convolution; {default} in the publication.",
    }


def dropout(default: float, where: str) -> Mapping[str, Any]:
    """Return the schema of a probability of dropping a value in training."""
    return {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": default,
        "description": f"Probability of dropping {where} in training; {default} in the publication.",
    }


class BrainModel(Model):
    """Base of the components: checks what is asked for, then has the network made.

    Attributes:
        label: The registry name, for messages.
        smallest: Smallest side of a volume, in voxels, that the layers take; it is the same for all three axes.
    """

    label: ClassVar[str]
    smallest: ClassVar[int]

    @abstractmethod
    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network with initial weights, mapping [N, C, D, H, W] to [N, outputs].

        Args:
            input_shape: (C, D, H, W) with C at least 1 and sides of at least ``smallest``.
            outputs: At least 1.
        """

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return the network, on the CPU, mapping float32 [N, C, D, H, W] to [N, outputs].

        The last layer gives logits or values: the softmax that ends the published classifiers is left out.

        Args:
            input_shape: (C, D, H, W) of one volume.
            outputs: Number of logits or values. None is refused, as no weights are stored that would tell it.

        Raises:
            InputError: The shape is no (C, D, H, W), the volume is too small (the message says which side is enough),
                ``outputs`` is None or below 1, or a parameter does not suit them.
        """
        if len(input_shape) != 4 or any(size < 1 for size in input_shape):
            raise InputError(
                f"{self.label}: input_shape is {tuple(input_shape)}; give (channels, depth, height, width), each at "
                "least 1."
            )
        if min(input_shape[1:]) < self.smallest:
            given = " x ".join(str(side) for side in input_shape[1:])
            raise InputError(
                f"{self.label}: volumes of {given} voxels are too small: each side must have at least {self.smallest} "
                "voxels, or nothing is left after the pooling. Give larger volumes (less cropping, a finer grid, or "
                "padding with the transform crop-or-pad)."
            )
        if outputs is None:
            raise InputError(
                f"{self.label}: the number of outputs is not given, and this network comes without weights to take it "
                "from. Give the number of classes, or 1 for a regression."
            )
        if outputs < 1:
            raise InputError(f"{self.label}: outputs is {outputs}; give the number of classes, or 1 for a regression.")
        return self.network(input_shape, outputs)
