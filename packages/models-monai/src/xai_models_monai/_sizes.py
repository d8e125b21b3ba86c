"""Finds out whether a volume is large enough for a network, without computing anything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from xai_core import InputError

__all__ = ["require_room"]

Shape = tuple[int, int, int, int]

_LARGEST_SIDE = 1024


def require_room(label: str, make: Callable[[Shape], nn.Module], shape: Shape) -> None:
    """Refuse a volume that the network cannot take.

    Network and volume are made on the meta device, where layers check and pass on shapes but hold no values.

    Args:
        label: Name of the component, for the message.
        make: Returns the network for (C, D, H, W).
        shape: (C, D, H, W) of one volume.

    Raises:
        InputError: The network does not run; the message holds the smallest cube for which it does.
    """
    reason = _failure(make, shape)
    if reason is None:
        return
    given = " x ".join(str(side) for side in shape[1:])
    side = _smallest_cube(make, shape[0])
    if side is None:
        raise InputError(f"{label}: a network with these parameters cannot take volumes of {given} voxels: {reason}.")
    raise InputError(
        f"{label}: volumes of {given} voxels are too small for a network with these parameters; the smallest cube "
        f"that it takes is {side} x {side} x {side}. Give larger volumes (less cropping, a finer grid, or padding "
        f"with the transform crop-or-pad), or choose parameters that reduce the resolution less. ({reason})"
    )


def _failure(make: Callable[[Shape], nn.Module], shape: Shape) -> str | None:
    """Return why the network does not run in evaluation mode, or None."""
    try:
        with torch.device("meta"):
            network = make(shape).eval()
        with torch.no_grad():
            network(torch.empty(1, *shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        return str(error).split("\n", 1)[0].rstrip(".")
    return None


def _smallest_cube(make: Callable[[Shape], nn.Module], channels: int) -> int | None:
    """Return the smallest side of a cube for which the network runs; larger ones then run too."""
    too_small, enough = 0, 1
    while _failure(make, (channels, enough, enough, enough)) is not None:
        too_small, enough = enough, 2 * enough
        if enough > _LARGEST_SIDE:
            return None
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if _failure(make, (channels, middle, middle, middle)) is None:
            enough = middle
        else:
            too_small = middle
    return enough
