"""What the components of this package share."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xai_core import Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["DROPOUT", "MonaiModel", "PRETRAINED", "parameters", "whole_numbers"]

PRETRAINED: Mapping[str, Any] = {
    "type": ["string", "null"],
    "format": "path",
    "default": None,
    "description": "A file with the state_dict of such a network, on this computer; nothing is downloaded. Its last "
    "layer is left out where the number of outputs is given, everything else must fit. A file of a network "
    "with one channel also serves several: the first kernel is repeated and divided by their number.",
}

DROPOUT: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0,
    "exclusiveMaximum": 1,
    "default": 0.0,
    "description": "Probability of dropping a feature in training.",
}


def parameters(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a component with these parameters and ``pretrained``."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "pretrained": PRETRAINED},
    }


def whole_numbers(count: int | None = None) -> Mapping[str, Any]:
    """Return the schema of a list of integers of at least 1: ``count`` of them, or one or more."""
    length = {"minItems": 1} if count is None else {"minItems": count, "maxItems": count}
    return {"type": "array", "items": {"type": "integer", "minimum": 1}, **length}


class MonaiModel(Model):
    """Base of the components: says which network, and what its stored weights look like.

    Attributes:
        label: The registry name, for messages.
        head: Name of the last layer, a ``Linear`` that gives the outputs.
        unused_keys: Regular expression for the start of keys in published weights that this network has no
            use for; None: there are none.
        weights_hint: What to check where weights do not fit.
        pretrained: The file with weights, or None.
    """

    label: ClassVar[str]
    head: ClassVar[str]
    unused_keys: ClassVar[str | None] = None
    weights_hint: ClassVar[str]
    pretrained: str | Path | None

    @abstractmethod
    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return MONAI's network with initial weights, mapping [N, C, D, H, W] to [N, outputs].

        Args:
            input_shape: (C, D, H, W), each at least 1.
            outputs: At least 1.
        """

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return the network, on the CPU, mapping float32 [N, C, D, H, W] to [N, outputs].

        The last layer gives logits or values: no softmax, sigmoid or tanh follows it. No activation works in place.

        Args:
            input_shape: (C, D, H, W) of one volume.
            outputs: Number of logits or values; None: as many as the last layer stored in ``pretrained`` has,
                which is then loaded too.

        Raises:
            InputError: The shape is no (C, D, H, W), the volume is too small for the network (the message says
                from which size on it works), ``outputs`` is None and nothing says how many there are, or the
                weights cannot be read or do not fit (the message lists the keys).
        """
        from ._build import build

        return build(self, input_shape, outputs)
