"""Occlusion by cubes that do not overlap (Zeiler and Fergus, ECCV 2014). Heavy: loaded when a volume is explained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError


def attribute(model: nn.Module, volumes: Tensor, target: Tensor | None, size: int) -> Attribution:
    """Give every voxel of a cube the fall of the output when the cube takes the volume's least intensity.

    Args:
        model: In evaluation mode.
        volumes: float32 [N, C, D, H, W].
        target: int64 [N], or None for the predicted class.
        size: Edge of a cube in voxels; the last cube along an axis may be smaller.

    Raises:
        InputError: The volumes are no finite [N, C, D, H, W], the model does not return [N, outputs], or it has no
            output of that index.
    """
    if volumes.ndim != 5 or not bool(torch.isfinite(volumes).all()):
        raise InputError(f"volumes must be finite and [N, C, D, H, W]; these are {list(volumes.shape)}. Check for NaN.")
    with torch.no_grad():
        outputs = _outputs(model, volumes)
        chosen = outputs.argmax(1) if target is None else target.to(outputs.device)
        if bool(((chosen < 0) | (chosen >= outputs.shape[1])).any()):
            raise InputError(f"The target {chosen.tolist()} is not in 0 to {outputs.shape[1] - 1}.")
        output = outputs.gather(1, chosen[:, None])[:, 0]
        background = volumes.amin(dim=(1, 2, 3, 4), keepdim=True).expand_as(volumes)
        relevance = torch.zeros_like(volumes)
        for cube in _cubes(volumes.shape[2:], size):
            if torch.equal(volumes[cube], background[cube]):
                continue  # nothing to take away, so the output cannot fall
            occluded = volumes.clone()
            occluded[cube] = background[cube]
            fall = output - _outputs(model, occluded).gather(1, chosen[:, None])[:, 0]
            relevance[cube] = fall[:, None, None, None, None]
    return Attribution(relevance, output, chosen)


def _outputs(model: nn.Module, volumes: Tensor) -> Tensor:
    outputs = model(volumes)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise InputError("The model must return one tensor [N, outputs] to be explained by cube-occlusion.")
    return outputs


def _cubes(grid: torch.Size, size: int) -> Iterator[tuple[slice, ...]]:
    """Yield the cubes that tile the grid (D, H, W), as indices into [N, C, D, H, W]."""
    starts = [range(0, length, size) for length in grid]
    for corner in product(*starts):
        yield (slice(None), slice(None), *(slice(start, start + size) for start in corner))
