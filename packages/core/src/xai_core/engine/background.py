"""Which value of a volume is background."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["background_value"]


def background_value(volumes: Tensor) -> Tensor:
    """Return the value of the voxels around the head, for each channel of each volume.

    It is the value that most of the volume's six faces have: 0 in a masked scan, also after a z-score that leaves the
    background at 0 amid the brain's values, and whatever a shift made of it otherwise. Where no value makes up half
    of the faces (air with noise, a head that is cut off), it is the least value of the channel.

    Args:
        volumes: [N, C, D, H, W].

    Returns:
        [N, C, 1, 1, 1].
    """
    n, c = volumes.shape[:2]
    values = volumes.flatten(0, 1)
    faces = torch.cat([values.select(axis, end).flatten(1) for axis in (1, 2, 3) for end in (0, -1)], dim=1)
    common = faces.mode(dim=1).values
    is_common = (faces == common[:, None]).double().mean(1) >= 0.5
    least = values.flatten(1).amin(1)
    return torch.where(is_common, common, least).reshape(n, c, 1, 1, 1)
