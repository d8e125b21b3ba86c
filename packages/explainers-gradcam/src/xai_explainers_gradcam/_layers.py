"""Finds the layer that a class activation map is made of, by running the network once on one volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_core.canonical import canonical_form
from xai_core.engine.requests import logits
from xai_core.schemas import did_you_mean

__all__ = ["Layer", "find_layer"]

_LISTED = 20


@dataclass(frozen=True)
class Layer:
    """A layer with one feature map.

    Attributes:
        name: Dotted name.
        module: The module.
        grid: Size of its feature map along the three axes.
        following: Name of the feature map that is made next; None behind the last one.
    """

    name: str
    module: nn.Module
    grid: tuple[int, int, int]
    following: str | None


@dataclass(frozen=True)
class _Call:
    """One call of a module in a forward pass: what it returned, with the autograd node of a tensor."""

    module: nn.Module
    shape: tuple[int, ...] | None
    returned: str
    node: Any


def find_layer(model: nn.Module, volumes: Tensor, name: str | None) -> Layer:
    """Return the layer of that dotted name, or the last convolution.

    Args:
        model: In evaluation mode, with gradients on.
        volumes: [N, C, D, H, W]; only the first is used.
        name: Dotted name, or None.

    Raises:
        InputError: There is no such layer, or no map can be made of it; the message lists those that it can.
    """
    calls, output = _trace(model, volumes[:1])
    names = {module: found for found, module in model.named_modules() if found}
    usable = _usable(calls, names)
    module = (
        _last_convolution(_main_convolutions(model, volumes[:1], calls), output)
        if name is None
        else _named(model, name, usable)
    )
    name = names[module] if name is None else name
    made = [call for call in calls if call.module is module]
    if len(made) != 1:
        times = "is not run in the forward pass" if not made else f"is run {len(made)} times in one forward pass"
        raise InputError(
            f"A class activation map needs a layer that is run once, but {name!r} {times}. {_listed(usable)}"
        )
    shape = made[0].shape
    if not _is_feature_map(shape):
        raise InputError(
            f"A class activation map needs a layer whose output is a feature map [N, K, d, h, w], but {name!r} "
            f"returns {made[0].returned} for one volume. {_listed(usable)}"
        )
    assert shape is not None
    behind = usable[usable.index(names[module]) + 1 :]
    return Layer(name, module, (shape[2], shape[3], shape[4]), behind[0] if behind else None)


def _trace(model: nn.Module, volume: Tensor) -> tuple[list[_Call], Tensor]:
    """Return the calls of all submodules in the order in which they ended, and the output."""
    calls: list[_Call] = []

    def record(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.append(_Call(module, tuple(output.shape), f"a tensor {list(output.shape)}", output.grad_fn))
        else:
            calls.append(_Call(module, None, type(output).__name__, None))

    # A part in TorchScript takes no hooks; its layers cannot be named.
    modules = [m for m in model.modules() if m is not model and not isinstance(m, torch.jit.ScriptModule)]
    hooks = [module.register_forward_hook(record) for module in modules]
    try:
        output = logits(model, volume)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, output


def _is_feature_map(shape: tuple[int, ...] | None) -> bool:
    # A network that stacks patches or time points along the batch axis has no map of the whole volume there.
    return shape is not None and len(shape) == 5 and shape[0] == 1


def _usable(calls: Sequence[_Call], names: dict[nn.Module, str]) -> list[str]:
    counts: dict[nn.Module, int] = {}
    for call in calls:
        counts[call.module] = counts.get(call.module, 0) + 1
    return [names[call.module] for call in calls if counts[call.module] == 1 and _is_feature_map(call.shape)]


def _named(model: nn.Module, name: str, usable: Sequence[str]) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if not name or name not in modules:
        raise InputError(f"The model has no layer {name!r}.{did_you_mean(name, usable)} {_listed(usable)}")
    return modules[name]


def _main_convolutions(model: nn.Module, volume: Tensor, calls: Sequence[_Call]) -> list[_Call]:
    """Return the calls of convolutions without those that only make a gate, or a map of a single voxel.

    The convolution of an attention block may be the last to run, but its map says how much of each feature passes, not
    where the features are; one behind the global pooling is a linear layer.
    """
    made = [call for call in calls if isinstance(call.module, nn.Conv3d)]
    try:
        canonical = canonical_form(model, volume.detach(), passed=("*",))
    except InputError:
        on_the_way = made
    else:
        own = set(canonical.names.values())
        names = {module: name for name, module in model.named_modules()}
        on_the_way = [call for call in made if names[call.module] in own]
    of_voxels = [call for call in on_the_way if call.shape is not None and max(call.shape[2:]) > 1]
    return of_voxels or on_the_way or made


def _last_convolution(made: Sequence[_Call], output: Tensor) -> nn.Module:
    """Return the convolution with the most convolutions before it on its way; of several, the last to run.

    In a residual network the convolution of the last block's shortcut may run last, but it stands beside the
    block: its feature maps lack what the block itself sees.
    """
    if not made:
        raise InputError(
            "By default the last convolution is taken, but no torch.nn.Conv3d is run in this model. "
            "Name a layer: params: {layer: ...}."
        )
    depths = _depths(output.grad_fn, lambda node: any(node is call.node for call in made))
    depth_of = [depths.get(call.node, 0) for call in made]
    if max(depth_of) == 0:
        raise InputError("No gradient leads from the model's output to any of its convolutions. Name another layer.")
    deepest = max(range(len(made)), key=lambda index: (depth_of[index], index))
    return made[deepest].module


def _depths(root: Any, counted: Callable[[Any], bool]) -> dict[Any, int]:
    """Return for each autograd node below ``root`` the most counted nodes on a path from it to a leaf."""
    depths: dict[Any, int] = {}
    pending = [root] if root is not None else []
    while pending:
        node = pending[-1]
        below = [child for child, _ in node.next_functions if child is not None]
        missing = [child for child in below if child not in depths]
        if missing:
            pending.extend(missing)
            continue
        pending.pop()
        depths[node] = int(counted(node)) + max((depths[child] for child in below), default=0)
    return depths


def _listed(usable: Sequence[str]) -> str:
    """Say which layers can be named: all of a few, else the outermost, of which there are at most 20."""
    if not usable:
        return "This model has no layer that gives a feature map."
    shown: list[str] = []
    for level in sorted({name.count(".") for name in usable}):
        wider = [name for name in usable if name.count(".") <= level]
        if len(wider) > _LISTED:
            # Even the outermost are too many: the last ones are what is mostly used.
            shown = shown or wider[-_LISTED:]
            break
        shown = wider
    rest = [name for name in usable if name not in shown]
    more = f" and {len(rest)} more, such as {rest[-1]}" if rest else ""
    return f"Layers that can be named: {', '.join(shown)}{more}."
