"""Reads a stored state_dict into one of MONAI's networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xai_core import InputError

if TYPE_CHECKING:
    from .base import MonaiModel

__all__ = ["load", "read_state", "stored_outputs"]

# Below these keys training scripts keep the state_dict beside the optimiser's state and the like.
_CONTAINERS = ("state_dict", "model", "net")
_LISTED = 6


def read_state(path: Path, label: str) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU, without the prefix ``module.`` of ``DataParallel``.

    Nothing but tensors and plain values is unpickled.

    Args:
        path: A ``state_dict`` as ``torch.save`` writes it, or a mapping that holds one below ``state_dict``,
            ``model`` or ``net``.
        label: Name of the component, for messages.

    Raises:
        InputError: The file is missing, unreadable or holds no such thing.
    """
    if not path.is_file():
        raise InputError(f"{label}: pretrained: {path} is no file. Give the path of a saved state_dict (.pt, .pth).")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"{label}: pretrained: {path} cannot be read as a PyTorch file of tensors "
            f"({type(error).__name__}: {reason}). Download it again, or save it with "
            "torch.save(network.state_dict(), path)."
        ) from error
    state = _unpacked(content)
    if state is None:
        raise InputError(
            f"{label}: pretrained: {path} holds no state_dict (a mapping of names to tensors, or one below "
            f"{', '.join(_CONTAINERS)}) but {_described(content)}."
        )
    prefixed = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in state.items()}


def stored_outputs(state: Mapping[str, Tensor] | None, component: MonaiModel) -> int:
    """Return how many outputs the stored last layer has.

    Raises:
        InputError: There are no weights, or they have no such layer.
    """
    if state is None:
        raise InputError(
            f"{component.label}: the number of outputs is not given, and MONAI's networks come without weights to take "
            "it from. Give the number of classes (1 for a regression), or a file with a last layer as pretrained."
        )
    key = f"{component.head}.weight"
    if key not in state:
        raise InputError(
            f"{component.label}: pretrained: {component.pretrained} has no last layer ({key}), so the number of "
            "outputs is unknown. Give the number of classes, or 1 for a regression."
        )
    return int(state[key].shape[0])


def load(network: nn.Module, state: Mapping[str, Tensor], component: MonaiModel, *, with_head: bool) -> None:
    """Copy stored tensors into ``network``; all but the last layer's must be there and fit.

    A kernel stored for one input channel fits one for C channels: it is repeated C times and divided by C, so
    that C equal channels give the response of the one.

    Args:
        network: Changed in place; untouched where an error is raised.
        state: Tensors by name.
        component: Says which layer is the last one and which keys have no use.
        with_head: Whether the last layer is loaded too; else the network's own stays.

    Raises:
        InputError: Names are missing, unexpected or of another shape; the message lists them.
    """
    own = network.state_dict()
    wanted = {name: value for name, value in own.items() if with_head or not _of_head(name, component)}
    given = {name: value for name, value in state.items() if name in wanted or not _has_no_use(name, component)}
    # Early versions of PyTorch stored no counters; evaluation does not use them.
    given = {name: own[name] for name in wanted if name.endswith("num_batches_tracked")} | given
    given = {name: _for_channels(value, own[name].shape) if name in own else value for name, value in given.items()}
    problems = _problems(given, wanted)
    if problems:
        raise InputError(
            f"{component.label}: pretrained: {component.pretrained} does not fit this network: "
            f"{'; '.join(problems)}. {component.weights_hint}"
        )
    network.load_state_dict({**own, **given})


def _of_head(name: str, component: MonaiModel) -> bool:
    return name.startswith(f"{component.head}.")


def _has_no_use(name: str, component: MonaiModel) -> bool:
    unused = component.unused_keys is not None and re.match(component.unused_keys, name) is not None
    return unused or _of_head(name, component)


def _unpacked(content: object) -> Mapping[str, Tensor] | None:
    """Return the state_dict in a file's content, or None."""
    if isinstance(content, Mapping):
        for candidate in (*(content.get(key) for key in _CONTAINERS), content):
            if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
                return candidate
    return None


def _for_channels(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Return a kernel stored for one channel as one for as many as ``shape`` [out, C, ...] has."""
    if kernel.ndim != 5 or kernel.shape[1] != 1 or len(shape) != 5 or shape[1] == 1:
        return kernel
    return kernel.repeat(1, shape[1], 1, 1, 1) / shape[1]


def _problems(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{name} is {tuple(given[name].shape)} in the file, {tuple(value.shape)} in the network"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    lists = (
        ("missing in the file", [name for name in wanted if name not in given]),
        ("not in the network", [name for name in given if name not in wanted]),
        ("other shapes", shapes),
    )
    return [f"{title} ({len(names)}): {_some(names)}" for title, names in lists if names]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest


def _described(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a mapping with the keys {_some(map(repr, content))}" if content else "an empty mapping"
    return f"a {type(content).__name__}"
