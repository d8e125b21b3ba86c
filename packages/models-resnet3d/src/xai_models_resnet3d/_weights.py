"""Reads checkpoints in MedicalNet's layout into a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_core import InputError

__all__ = ["load", "read_state", "stored_outputs"]

_HEADS = ("fc.", "conv_seg.")
_LISTED = 6


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by MedicalNet's keys, on the CPU.

    Both a plain ``state_dict`` and one below the key ``state_dict`` are read; the prefix ``module.`` that
    ``DataParallel`` leaves is taken off. Nothing but tensors is unpickled.

    Raises:
        InputError: The file is missing, unreadable or no checkpoint.
    """
    if not path.is_file():
        raise InputError(f"resnet3d: weights: {path} is no file. Give the path of a MedicalNet checkpoint (.pth).")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"resnet3d: weights: {path} cannot be read as a PyTorch checkpoint of tensors "
            f"({type(error).__name__}: {reason}). Download it again, or save it with "
            "torch.save(model.state_dict(), path)."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"resnet3d: weights: {path} holds no state_dict (a mapping of names to tensors, or one below the "
            f"key 'state_dict') but {_described(content)}."
        )
    prefixed = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if prefixed else key: value for key, value in state.items()}


def stored_outputs(state: Mapping[str, Tensor] | None, source: str | Path | None) -> int:
    """Return how many outputs the stored ``fc`` layer has.

    Raises:
        InputError: There are no weights, or they have no such layer.
    """
    if state is None:
        raise InputError("resnet3d: the number of outputs is not given and there are no weights to take it from.")
    if "fc.weight" not in state:
        raise InputError(
            f"resnet3d: weights: {source} has no classification head (fc.weight), so the number of outputs "
            "is unknown. A MedicalNet checkpoint is a start for training; give the number of outputs."
        )
    return int(state["fc.weight"].shape[0])


def load(network: nn.Module, state: Mapping[str, Tensor], *, source: str, with_head: bool) -> None:
    """Copy a checkpoint into ``network``; every key but the head's must be there and fit.

    A first convolution stored for one channel fits a network of C channels: its kernel is repeated C times
    and divided by C, so that C equal channels give the response of the one.

    Args:
        network: A ``ResNet``; changed in place, untouched where an error is raised.
        state: Tensors by key.
        source: The file, for messages.
        with_head: Whether ``fc`` is loaded too; else the network's own stays.

    Raises:
        InputError: Keys are missing, unexpected or of another shape; the message lists them.
    """
    own = network.state_dict()
    ignored = tuple(head for head in _HEADS if not (with_head and head == "fc."))
    given = {key: value for key, value in state.items() if not key.startswith(ignored)}
    wanted = {key: value for key, value in own.items() if not key.startswith(ignored)}
    # Checkpoints of early versions of PyTorch lack the counters, which evaluation does not use.
    given = {key: own[key] for key in wanted if key.endswith("num_batches_tracked")} | given
    if "conv1.weight" in given:
        given["conv1.weight"] = _for_channels(given["conv1.weight"], own["conv1.weight"].shape[1])
    problems = _problems(given, wanted)
    if problems:
        raise InputError(
            f"resnet3d: weights: {source} does not fit this network: {'; '.join(problems)}. Check depth, "
            "width and shortcut (MedicalNet: width 64; shortcut A for resnet_18 and resnet_34, B for "
            "resnet_10 and resnet_50)."
        )
    network.load_state_dict({**own, **given})


def _for_channels(kernel: Tensor, channels: int) -> Tensor:
    if kernel.ndim != 5 or kernel.shape[1] != 1 or channels == 1:
        return kernel
    return kernel.repeat(1, channels, 1, 1, 1) / channels


def _problems(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{key} is {tuple(given[key].shape)} in the file, {tuple(wanted[key].shape)} in the network"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    lists = (
        ("missing in the file", [key for key in wanted if key not in given]),
        ("not in the network", [key for key in given if key not in wanted]),
        ("other shapes", shapes),
    )
    return [f"{title} ({len(keys)}): {_some(keys)}" for title, keys in lists if keys]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest


def _described(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a mapping with the keys {_some(map(repr, content))}" if content else "an empty mapping"
    return f"a {type(content).__name__}"
