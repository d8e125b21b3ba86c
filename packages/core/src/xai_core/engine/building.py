"""Networks from the model of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from .. import registry
from ..errors import InputError, PluginError
from .calls import at_work
from .paramfiles import param_files
from .seeding import seeded
from .units import file_hash

if TYPE_CHECKING:
    from ..interfaces import Trainer
    from .study import Study

__all__ = ["build_model", "check_own", "check_stored", "check_unchanged", "own_files"]

_OWN = ("checkpoint.pt", "transforms.pt")


def build_model(slot: Mapping[str, Any], shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
    """Return the network that a ``{name, params}`` builds for volumes of a shape (C, D, H, W).

    Raises:
        PluginError: It is none.
    """
    with at_work("model", slot["name"], f"building a network for {tuple(shape)}"):
        model = registry.create("model", slot["name"], **slot["params"]).build(shape, outputs)
    if not isinstance(model, nn.Module):
        raise PluginError(f"The model {slot['name']} built a {type(model).__name__}, not a torch.nn.Module.")
    return model


def check_stored(study: Study, shape: tuple[int, int, int, int], model: nn.Module, seed: int) -> None:
    """Refuse a trainer that does not train where the network's weights are drawn at random.

    Raises:
        InputError: Two networks that the model builds differ.
    """
    name, slot = study.config["training"]["name"], study.config["model"]
    if cast("type[Trainer]", registry.get("trainer", name)).trains:
        return
    with seeded(seed ^ 1):
        other = build_model(slot, shape, study.outputs).state_dict()
    drawn = [key for key, value in model.state_dict().items() if not torch.equal(value, other[key])]
    if drawn:
        raise InputError(
            f"The trainer {name} leaves the network as it is, but {slot['name']} begins with random weights "
            f"({drawn[0]}). Give a model with stored weights (keras, or params.weights), or train it."
        )


def check_unchanged(slot: Mapping[str, Any], files: Mapping[str, str], fold: Path) -> None:
    """Refuse a fold whose network cannot be built again, because a file that the model reads is another one now.

    Args:
        slot: ``{name, params}`` of the model.
        files: What ``param_files`` returned when the fold was trained.
        fold: Its folder, for the message.

    Raises:
        InputError: A file differs. One that is gone is the model's to complain of.
    """
    now = param_files("model", slot)
    for key, was in files.items():
        if now.get(key, was) != was:
            raise InputError(
                f"{slot['params'][key]} (model.params.{key}) is another file than when {fold} was made. Run 'xai run' "
                "again, or bring the file back."
            )


def own_files(fold: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a fold's folder that make its network: weights and fitted transforms."""
    return {name: file_hash(fold / name) for name in _OWN if (fold / name).is_file()}


def check_own(fold: Path, files: Mapping[str, str] | None) -> None:
    """Refuse a fold whose network or fitted transforms are not those that were trained there.

    Those of another fold fit as well, and have seen the people whom this one tests.

    Args:
        fold: Its folder.
        files: What ``own_files`` returned when the fold was trained; None: not known.

    Raises:
        InputError: A file differs, is gone, or is there and was not.
    """
    now = own_files(fold) if files is not None else {}
    changed = [name for name in _OWN if now.get(name) != (files or {}).get(name)]
    if changed:
        raise InputError(
            f"{fold / changed[0]} is another file than when this fold was trained (training.json). Bring it back, or "
            f"remove {fold} and run 'xai run' again."
        )
