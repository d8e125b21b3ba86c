"""Builds a component's network: checks what is asked for, then makes it, then reads weights into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from xai_core import InputError

from ._sizes import require_room
from ._weights import load, read_state, stored_outputs

if TYPE_CHECKING:
    from .base import MonaiModel

__all__ = ["build"]


def build(component: MonaiModel, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
    """Return the component's network as ``MonaiModel.build`` promises it.

    Raises:
        InputError: Shape, number of outputs or weights are wrong.
    """
    _check_shape(component.label, input_shape)
    state = None if component.pretrained is None else read_state(Path(component.pretrained), component.label)
    wanted = _number_of_outputs(component, state, outputs)
    require_room(component.label, lambda shape: component.network(shape, wanted), input_shape)
    network = component.network(input_shape, wanted)
    _undo_in_place(network)
    if state is not None:
        load(network, state, component, with_head=outputs is None)
    return network


def _check_shape(label: str, shape: tuple[int, int, int, int]) -> None:
    if len(shape) != 4 or any(size < 1 for size in shape):
        raise InputError(
            f"{label}: input_shape is {tuple(shape)}; give (channels, depth, height, width), each at least 1."
        )


def _number_of_outputs(component: MonaiModel, state: dict[str, Tensor] | None, outputs: int | None) -> int:
    if outputs is None:
        return stored_outputs(state, component)
    if outputs < 1:
        raise InputError(f"{component.label}: outputs is {outputs}; give the number of classes, or 1 for a regression.")
    return outputs


def _undo_in_place(network: nn.Module) -> None:
    """Have activations leave their input as it was, so that a hook on the layer before sees what it computed."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
