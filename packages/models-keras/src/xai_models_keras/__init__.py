"""Trained Keras networks, read into PyTorch without TensorFlow or Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch.fx import GraphModule

__version__ = "0.1.0"
__all__ = ["read"]


def read(path: str | Path, input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None) -> GraphModule:
    """Return a stored Keras network as a network of plain torch layers, in evaluation mode and on the CPU.

    It maps float32 [N, C, D, H, W] (channels first, where Keras has them last) to what Keras' network returns before a
    final softmax, or before the sigmoid of a single final unit; several outputs are a tuple. An activation module's
    attribute ``keras_class`` says which Keras layer it was.

    Args:
        path: A ``.h5`` or ``.hdf5`` file of Keras 2.2 to 2.15 (or of Keras 3), a ``.keras`` archive, or a folder made
            by ``xai import-keras``.
        input_shape: (C, D, H, W) of one volume, or one such shape for each input. Needed only where the file leaves
            sizes open; else it must be the stored one.

    Raises:
        InputError: The file is missing or damaged, or holds a layer that cannot be read; the message names layer, class
            and file. No code in the file is ever run.
    """
    from ._guard import start

    start(path)
    from ._read import read as _read

    return _read(path, input_shape)
