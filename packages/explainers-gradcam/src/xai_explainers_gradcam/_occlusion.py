"""Occlusion, and what it shares with the ablation of regions: the drops of the output for a list of changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_core import Attribution, ConfigError, InputError
from xai_core.canonical import canonical_form
from xai_core.engine.batching import run_batched
from xai_core.engine.progress import log
from xai_core.engine.requests import Explained, as_attribution, explaining

from ._occlusion_changes import Regions, Windows, everything
from ._occlusion_geometry import Grid, Positions, as_grid
from ._occlusion_local import LocalNetwork, NotLocalError

__all__ = ["Drops", "attribute", "check_windows", "drops"]

_CHECKED = 2  # changes of each volume that are computed by full passes as well
_AGREEMENT = 1e-4  # of both ways, relative to the largest output


@dataclass(frozen=True)
class Drops:
    """What changes of one volume do to the output that is explained.

    Attributes:
        values: float64 [W] on the CPU, output - output after the change.
        details: How they were found, JSON-serialisable.
    """

    values: Tensor
    details: dict[str, Any]


def attribute(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    baseline: Callable[[Tensor], Tensor],
    max_batch: int,
) -> Attribution:
    """Return the mean drop over the windows that hold each voxel; see ``plugin_perturbation.Occlusion``.

    Args:
        model: See ``Explainer.explain``.
        volumes: See ``Explainer.explain``.
        target: See ``Explainer.explain``.
        window: Voxels, for all axes or for each.
        stride: Voxels; None: the window.
        baseline: Returns the baseline of volumes [N, C, D, H, W], of the same shape.
        max_batch: Volumes at once.
    """
    with explaining(model, volumes, target, gradients=False) as explained, torch.no_grad():
        sizes = check_windows(as_grid(volumes.shape[2:]), window, stride)
        inputs = explained.volumes.detach()
        start = baseline(inputs)
        maps, details = [], []
        for position in range(len(inputs)):
            one = slice(position, position + 1)
            windows = Windows(inputs[one], start[one], *sizes)
            found = drops(model, explained, position, windows, max_batch, "occlusion")
            relevance = windows.mean_over_windows(found.values)
            maps.append(relevance.to(inputs.device, torch.float32).expand(inputs.shape[1:]))
            details.append({"windows": len(found.values), **found.details})
        return as_attribution(explained, torch.stack(maps), details)


def check_windows(grid: Grid, window: int | Sequence[int], stride: int | Sequence[int] | None) -> tuple[Grid, Grid]:
    """Return window and stride along each axis.

    Raises:
        ConfigError: The stride is larger than the window, so that voxels between windows would never be occluded.
        InputError: The window is larger than the volume.
    """
    wide = _three(window)
    steps = wide if stride is None else _three(stride)
    if any(step > size for step, size in zip(steps, wide, strict=True)):
        raise ConfigError(
            f"stride {list(steps)} is larger than window {list(wide)}: voxels between the windows would never be "
            "occluded. Give a stride of at most the window."
        )
    if any(size > length for size, length in zip(wide, grid, strict=True)):
        raise InputError(
            f"window {list(wide)} is larger than the volume {list(grid)} that the network sees. Give a window of at "
            "most the volume, such as a tenth of it."
        )
    return wide, steps


def _three(value: int | Sequence[int]) -> Grid:
    return (value, value, value) if isinstance(value, int) else as_grid(value)


def drops(
    model: nn.Module, explained: Explained, position: int, changes: Windows | Regions, max_batch: int, what: str
) -> Drops:
    """Return by how much each change of one volume lowers the output that is explained.

    A change that leaves every voxel as it is costs nothing. For the others the network is run again where they reach,
    if it can be followed and a few full passes of the network itself agree with that, or else in full.

    Args:
        model: What ``explained`` belongs to.
        explained: A checked request.
        position: Which of its volumes.
        changes: Changes of this volume.
        max_batch: Volumes at once; more changes where only a part is computed, in the same memory.
        what: Name of the work for the progress.

    Raises:
        InputError: The output is not finite for a change.
    """
    todo = np.flatnonzero(changes.changed)
    values = torch.zeros(len(changes.changed), dtype=torch.float64)
    details = {"unchanged": len(values) - len(todo), "recomputed": "the whole network"}
    if not len(todo):
        return Drops(values, details)
    volume, target = explained.volumes[position : position + 1].detach(), int(explained.target[position])

    def in_full(which: Tensor) -> Tensor:
        outputs = explained.forward(changes.crops(which.tolist(), everything(len(which), volume)))
        return explained.output[position].double() - outputs[:, target].double()

    function: Callable[[Tensor], Tensor] = in_full
    size = max_batch
    found = _local(model, volume, target, changes, todo, in_full)
    if found is not None:
        function, size = found.function, found.network.batch_size(changes, max_batch)
        todo = found.network.in_order(changes, todo)
        details |= {"recomputed": "what a change reaches", "difference_from_full_passes": found.difference}
    result = torch.cat(run_batched(function, torch.from_numpy(todo), size, what)).cpu()
    if not bool(torch.isfinite(result).all()):
        raise InputError(f"volumes[{position}]: the model's output is not finite for a part of the {what}.")
    values[torch.from_numpy(todo)] = result
    return Drops(values, details)


@dataclass(frozen=True)
class _Local:
    """A network that is run again for a part of its input, and its largest difference from full passes."""

    network: LocalNetwork
    function: Callable[[Tensor], Tensor]
    difference: float


def _local(
    model: nn.Module,
    volume: Tensor,
    target: int,
    changes: Windows | Regions,
    todo: Positions,
    in_full: Callable[[Tensor], Tensor],
) -> _Local | None:
    """Return the quick way to the drops, tried on a few changes, or None where there is none."""
    try:
        canonical = canonical_form(model, volume, passed=("*",))
        if canonical.depends_on_data:
            raise NotLocalError("its operations depend on the data")
        network = LocalNetwork(canonical.network, volume)
        before = network.output[0, target].double()

        def function(which: Tensor) -> Tensor:
            return before - network.outputs(changes, which.tolist())[:, target].double()

        tried = torch.from_numpy(todo[np.linspace(0, len(todo) - 1, min(_CHECKED, len(todo)), dtype=int)])
        quick, full = function(tried), torch.cat(run_batched(in_full, tried, 1))
    except (InputError, NotLocalError, RuntimeError, MemoryError) as reason:
        # A RuntimeError: the graph holds for a batch of one only, or there is no memory for the features.
        log.info("The whole network is run for each change of the volume: %s", str(reason).partition("\n")[0])
        return None
    difference = float((quick - full).abs().max())
    scale = max(float(network.output.abs().max()), float(full.abs().max()))
    if not difference <= _AGREEMENT * scale:
        log.warning("The whole network is run for each change: running a part of it differs by %.1e.", difference)
        return None
    return _Local(network, function, difference)
