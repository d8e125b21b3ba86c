"""The transpose of a strided convolution as one convolution without stride."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["transpose_by_phases"]


def transpose_by_phases(
    s: Tensor, weight: Tensor, size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Return the gradient of a convolution's input, for one with few input channels, dilation 1 and no groups.

    Voxels that lie alike to the stride (a phase) are reached through the same part of the kernel, so each phase is a
    convolution of ``s`` with that part, and all phases together are one with as many output channels. PyTorch's own
    transpose is several times slower for one input channel: it leaves most of the processor's vector units idle.

    Args:
        s: [N, O, *out], in place of the output.
        weight: [O, C, *kernel].
        size: Sides of the input.
        stride: Of the convolution, by axis.
        padding: Zeros on both sides, by axis.

    Returns:
        [N, C, *size].
    """
    axes = range(len(size))
    kernel = weight.shape[2:]
    parts = [-(-kernel[a] // stride[a]) for a in axes]
    places = [-(-(size[a] + padding[a]) // stride[a]) for a in axes]
    # Axes: O, C, then for each axis the position in the part (turned round) and the phase.
    filled = F.pad(weight, [n for a in reversed(axes) for n in (0, parts[a] * stride[a] - kernel[a])])
    split = filled.reshape(*weight.shape[:2], *(n for a in axes for n in (parts[a], stride[a])))
    turned = split.flip([2 + 2 * a for a in axes])
    by_phase = turned.permute(1, *(3 + 2 * a for a in axes), 0, *(2 + 2 * a for a in axes))
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(size) - 1]
    phases = convolution(s, by_phase.reshape(-1, weight.shape[0], *parts), padding=[part - 1 for part in parts])
    # A place too many at the end, or too few where the stride left the last voxels out: these get nothing.
    phases = F.pad(phases, [n for a in reversed(axes) for n in (0, places[a] - phases.shape[2 + a])])
    apart = phases.reshape(len(s), weight.shape[1], *stride, *places)
    order = [n for a in axes for n in (2 + len(size) + a, 2 + a)]
    whole = apart.permute(0, 1, *order).reshape(len(s), weight.shape[1], *(places[a] * stride[a] for a in axes))
    for a in axes:
        whole = whole.narrow(2 + a, padding[a], size[a])
    return whole.contiguous()
