"""The component ``keras``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xai_core import InputError, Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["Keras"]


class Keras(Model):
    """A trained Keras network, read into plain PyTorch layers; predicts what it predicted in Keras.

    The network gives logits: a final softmax is left out, and so is the sigmoid of a single final unit, except
    where one output is asked for (a regression), which gets the value that Keras predicts.

    Args:
        path: A ``.h5``, ``.hdf5`` or ``.keras`` file, or a folder made by ``xai import-keras``.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["path"],
        "properties": {
            "path": {
                "type": "string",
                "format": "path",
                "description": "A Keras model saved whole (.h5, .hdf5, .keras), or what 'xai import-keras' made of it.",
            },
        },
    }

    def __init__(self, *, path: str | Path) -> None:
        self.path = path

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return the network with its stored weights, in evaluation mode and on the CPU.

        Args:
            input_shape: (C, D, H, W); must be the stored shape, where the file tells one.
            outputs: Number of logits, as stored; 1: a regression; 2 for a stored single unit with a sigmoid: the logits
                [0, z], whose softmax is that sigmoid. None: as stored; a network that gives volumes (a U-Net) then
                maps to [N, channels, D, H, W] as Keras predicts them, its final activation included.

        Raises:
            InputError: The file cannot be read, or shape or outputs are others than the stored ones.
        """
        if len(input_shape) != 4 or any(size < 1 for size in input_shape):
            raise InputError(
                f"keras: input_shape is {tuple(input_shape)}; give (channels, depth, height, width), each at least 1."
            )
        from ._guard import start

        start(self.path)
        from ._outputs import with_outputs
        from ._read import network

        found = network(self.path, input_shape)
        return with_outputs(found, outputs).module()
