"""Reads a network from any of the forms it is stored in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from xai_core import InputError

from ._build import build
from ._folder import is_folder, load

__all__ = ["Network", "network", "read"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network as read: its description (JSON) and its weights (a ``state_dict``)."""

    path: str
    description: dict[str, Any]
    state: dict[str, Tensor]

    def module(self) -> fx.GraphModule:
        """Return the torch network; weights are shared with ``state``."""
        return build(self.path, self.description, self.state)


def read(path: str | Path, input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None) -> fx.GraphModule:
    """See ``xai_models_keras.read``."""
    return network(path, input_shape).module()


def network(path: str | Path, input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None) -> Network:
    """Return description and weights of a stored network, without building it.

    Args:
        path: A ``.h5``, ``.hdf5`` or ``.keras`` file, or a folder made by ``xai import-keras`` or its ``model.json``.
        input_shape: As for ``read``.

    Raises:
        InputError: The file is missing, damaged, or holds what cannot be read; the message names it, and the layer.
    """
    path = Path(path)
    given = _given(path, input_shape)
    if is_folder(path):
        description, state = load(path)
        _compare(path, description, given)
        return Network(str(path), description, state)
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file. Give a Keras model (.h5, .hdf5 or .keras) or a folder made by "
            "'xai import-keras'."
        )
    return _from_keras(path, given)


def _given(path: Path, shape: Sequence[Any] | None) -> list[Shape] | None:
    if shape is None:
        return None
    shapes = [tuple(shape)] if all(isinstance(size, int) for size in shape) else [tuple(each) for each in shape]
    if not shapes or not all(each and all(isinstance(n, int) and n > 0 for n in each) for each in shapes):
        raise InputError(
            f"{path}: input_shape is {tuple(shape)}; give (channels, depth, height, width), each at least 1, or one "
            "such shape for each input."
        )
    return shapes


def _compare(path: Path, description: dict[str, Any], given: list[Shape] | None) -> None:
    stored = [tuple(each["shape"]) for each in description["inputs"]]
    if given is not None and given != stored:
        raise InputError(
            f"{path}: was made for volumes of the shape {_listed(stored)} (channels, then axes), but input_shape is "
            f"{_listed(given)}. Prepare the volumes so, or import the Keras model again with another --input-shape."
        )


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(str(tuple(shape)) for shape in shapes)


def _from_keras(path: Path, given: list[Shape] | None) -> Network:
    # Everything below needs h5py.
    from ._archive import archive
    from ._config import Model, model_of
    from ._convert import convert
    from ._expand import expand
    from ._guard import check
    from ._hdf5 import legacy, opened
    from ._inputs import input_shapes
    from ._weights import from_archive, from_legacy

    check(path)
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    model: Model
    if is_archive:
        file, config, content = archive(path)
        model = model_of(file, config)
        with opened(str(path), content) as weights:
            from_archive(model, weights)
    else:
        file, config, stored = legacy(path)
        model = model_of(file, config)
        from_legacy(model, stored)
    graph = expand(model)
    description, emit = convert(file, graph, input_shapes(file, graph, given))
    description["source"] = {"file": path.name, "sha256": digest}
    state = {key: torch.from_numpy(value) for key, value in emit.state.items()}
    return Network(str(path), description, state)
