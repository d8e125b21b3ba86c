"""Tests maps of occlusion and feature ablation by plain full passes of the network."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from xai_core import Attribution

__all__ = ["check_regions", "check_windows_at"]

_TOLERANCE = 1e-4  # of the largest value of the map
_ROUNDING = 1e-5  # of the output: what float32 leaves of a small difference of two outputs


def check_windows_at(
    model: nn.Module,
    volume: Tensor,
    baseline: Tensor,
    found: Attribution,
    window: tuple[int, ...],
    stride: tuple[int, ...],
) -> str:
    """Compute a few voxels of an occlusion map again, from their windows, and compare.

    Args:
        model: In evaluation mode.
        volume: [1, C, D, H, W].
        baseline: The same shape.
        found: What was explained for this volume.
        window: Voxels along each axis.
        stride: The same.

    Raises:
        AssertionError: They differ.
    """
    worst = 0.0
    voxels = _voxels(found.relevance[0, 0])
    for voxel in voxels:
        masks = []
        for corner in itertools.product(
            *(_starts(*axis) for axis in zip(voxel, volume.shape[2:], window, stride, strict=True))
        ):
            mask = torch.zeros_like(volume[0, 0], dtype=torch.bool)
            mask[tuple(slice(first, first + width) for first, width in zip(corner, window, strict=True))] = True
            masks.append(mask)
        drops = [_drop(model, volume, baseline, mask, int(found.target[0])) for mask in masks]
        expected = sum(drops) / len(drops) if drops else 0.0
        worst = max(worst, abs(float(found.relevance[0, 0][voxel]) - expected))
    return _verdict(worst, found, f"{len(voxels)} voxels")


def check_regions(model: nn.Module, volume: Tensor, baseline: Tensor, found: Attribution, labels: Tensor) -> str:
    """Compute the drop of a few regions [D, H, W] again and compare; see ``check_windows_at``."""
    worst = 0.0
    voxels = _voxels(found.relevance[0, 0])
    for voxel in voxels:
        label = int(labels[voxel])
        expected = _drop(model, volume, baseline, labels == label, int(found.target[0])) if label else 0.0
        worst = max(worst, abs(float(found.relevance[0, 0][voxel]) - expected))
    return _verdict(worst, found, f"{len(voxels)} regions")


def _voxels(relevance: Tensor) -> list[tuple[int, ...]]:
    """Return the places of the largest and the least value, and the middle of the volume."""
    ends = (int(relevance.argmax()), int(relevance.argmin()))
    chosen = [tuple(int(each) for each in torch.unravel_index(torch.tensor(end), relevance.shape)) for end in ends]
    return [*chosen, tuple(size // 2 for size in relevance.shape)]


def _starts(voxel: int, size: int, window: int, stride: int) -> list[int]:
    """Return where the windows begin that hold a voxel, along one axis."""
    starts, first = [], 0
    while True:
        if first <= voxel < first + window:
            starts.append(first)
        if first + window >= size:
            return starts
        first += stride


def _drop(model: nn.Module, volume: Tensor, baseline: Tensor, mask: Tensor, target: int) -> float:
    with torch.no_grad():
        before, after = model(volume.clone()), model(torch.where(mask, baseline, volume))
    return float(before[0, target].double() - after[0, target].double())


def _verdict(worst: float, found: Attribution, what: str) -> str:
    scale = float(found.relevance.abs().max())
    allowed = _TOLERANCE * scale + _ROUNDING * float(found.output.abs().max())
    text = f"{what} computed again by full passes: off by {worst:.1e}, the largest value is {scale:.1e}"
    assert worst <= allowed, text
    return text
