"""Weights of another training to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xai_core import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .plugin import LightningTrainer

__all__ = ["checkpoint_of", "load_initial", "read_state"]

# Where frameworks put the weights in a checkpoint, and the names of wrappers around a network.
_NESTED = ("state_dict", "model_state_dict", "model", "weights", "network", "net")
_WRAPPERS = ("module.", "model.", "net.", "network.", "backbone.", "encoder.", "_orig_mod.")


def checkpoint_of(path: Path) -> Path:
    """Return the file that ``initial_weights`` means: itself, or ``checkpoint.pt`` of a fold's folder.

    Raises:
        InputError: There is none.
    """
    if path.is_file():
        return path
    if (path / "checkpoint.pt").is_file():
        return path / "checkpoint.pt"
    what = f"training.params.initial_weights: {path}"
    if not path.exists():
        raise InputError(f"{what} does not exist. Give a checkpoint file, or the folder of a fold of another run.")
    folds = sorted(each.parent.name for each in path.glob("fold-*/checkpoint.pt"))
    if folds:
        raise InputError(f"{what} is a run. Name one of its folds, such as {path / folds[0]}; it has {len(folds)}.")
    raise InputError(f"{what} has no checkpoint.pt. Give a checkpoint file, or the folder of a trained fold.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name. Pickled code is never run.

    Raises:
        InputError: It cannot be read, or holds no tensors.
    """
    try:
        content = _read(path)
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(
            f"training.params.initial_weights: {path} cannot be read ({type(error).__name__}: {cause}). Give a file of "
            "torch.save(model.state_dict()) or of safetensors; a file that needs pickled code is not opened."
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = content if isinstance(content, Mapping) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise InputError(
            f"training.params.initial_weights: {path} holds no tensors by name but a {type(content).__name__}. Give a "
            "file of torch.save(model.state_dict())."
        )
    return tensors


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def load_initial(params: LightningTrainer, model: nn.Module, head: str) -> dict[str, Any]:
    """Load ``params.initial_weights`` into a network, matching tensors by name and shape.

    Args:
        params: The trainer.
        model: The network, which is changed.
        head: Name of its last layer, left as it is where ``initial_head`` is ``new``.

    Returns:
        What was done, for training.json: the file, the number of tensors taken, ``not_loaded`` (of the network) and
        ``not_used`` (of the file).

    Raises:
        InputError: The file is of another network, or lacks the head that is to be kept.
    """
    path = checkpoint_of(Path(str(params.initial_weights)))
    own = model.state_dict()
    stored = _unwrapped(read_state(path), own)
    fitting = {n for n, value in own.items() if n in stored and stored[n].shape == value.shape}
    of_head = {name for name in own if name.startswith(f"{head}.")}
    if params.initial_head == "new":
        fitting -= of_head
    elif of_head - fitting:
        raise InputError(f"{_where(path)} has no head that fits: {_shapes(of_head - fitting, own, stored)}. Use "
                         "initial_head: new.")  # fmt: skip
    needed = {name for name, _ in model.named_parameters()} - of_head
    found = needed & fitting
    if len(found) < len(needed) / 2 or (needed and not found):
        raise InputError(
            f"{_where(path)} is of another network: {len(found)} of {len(needed)} weights before the last layer agree "
            f"in name and shape ({_shapes(needed - found, own, stored)}). Choose the model that it was trained with."
        )
    model.load_state_dict({name: stored[name].to(own[name].dtype) for name in fitting}, strict=False)
    return {
        "file": str(path),
        "loaded": len(fitting),
        "not_loaded": sorted(set(own) - fitting),
        "not_used": sorted(set(stored) - fitting),
    }


def _where(path: Path) -> str:
    return f"training.params.initial_weights: {path}"


def _unwrapped(stored: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take names of wrappers (``module.``, ``model.``) off until most names are the network's."""
    best, candidate = stored, stored
    while True:
        prefix = next((w for w in _WRAPPERS if sum(n.startswith(w) for n in candidate) * 2 > len(candidate)), None)
        if prefix is None:
            return best
        candidate = {name.removeprefix(prefix): value for name, value in candidate.items()}
        if len(candidate.keys() & own.keys()) > len(best.keys() & own.keys()):
            best = candidate


def _shapes(names: set[str], own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str:
    def shown(name: str) -> str:
        there = f"stored as {list(stored[name].shape)}" if name in stored else "not there"
        return f"{name} {list(own[name].shape)} is {there}"

    listed = [shown(name) for name in own if name in names]
    return "; ".join(listed[:3]) + (f"; and {len(listed) - 3} more" if len(listed) > 3 else "")
