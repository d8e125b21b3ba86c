"""The shapes of a network's inputs: as stored, completed by what the user says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._expand import Graph
from ._layer import File, Layer

__all__ = ["input_shapes"]

Shape = tuple[int, ...]


def input_shapes(file: File, graph: Graph, given: Sequence[Shape] | None) -> list[Shape]:
    """Return the shape of each input, channels last.

    Args:
        file: For messages.
        graph: The network.
        given: Shapes channels first, one for each input; needed where the file leaves sizes open.

    Raises:
        InputError: They do not fit what is stored, or sizes stay open.
    """
    if given is not None and len(given) != len(graph.inputs):
        file.fail(
            f"the network has {len(graph.inputs)} inputs ({', '.join(layer.path[-1] for layer, _ in graph.inputs)}), "
            f"but input_shape gives {len(given)}."
        )
    shapes: Sequence[Shape | None] = given or [None] * len(graph.inputs)
    return [_shape(layer, shape) for (layer, _), shape in zip(graph.inputs, shapes, strict=True)]


def _shape(layer: Layer, given: Shape | None) -> Shape:
    stored = _stored(layer)
    if stored is None and given is None:
        layer.fail("the file does not say what shape the input has. Give input_shape (channels, depth, height, width).")
    last = None if given is None else (*given[1:], given[0])
    if stored is None:
        assert last is not None
        return last
    if last is not None and (
        len(last) != len(stored) or any(s not in (None, n) for s, n in zip(stored, last, strict=True))
    ):
        layer.fail(
            f"the network was made for volumes of the shape {_first(stored)} (channels, then axes; None: any size), "
            f"but input_shape is {given}. Prepare the volumes so."
        )
    if last is None and None in stored:
        layer.fail(
            f"the file leaves sizes open: {_first(stored)} (channels, then axes). Give input_shape, which decides the "
            "padding."
        )
    return tuple(last if last is not None else (size for size in stored if size is not None))


def _first(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    return (shape[-1], *shape[:-1])


def _stored(layer: Layer) -> tuple[int | None, ...] | None:
    for key in ("batch_input_shape", "batch_shape"):
        value: Any = layer.config.get(key)
        if value is not None:
            break
    else:
        return None
    whole = isinstance(value, list) and len(value) >= 2
    if not whole or not all(size is None or (type(size) is int and size > 0) for size in value):
        layer.fail(f"the shape of the input is stored as {str(value)[:60]}; sizes were expected.")
    return tuple(value[1:])
