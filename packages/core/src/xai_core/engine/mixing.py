"""Whether what a network says of a volume depends on the other volumes of its batch."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["apart", "mixes_batch"]

_AGREEMENT = 1e-4  # of the outputs alone and in a batch, relative to the largest

_known: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def mixes_batch(model: nn.Module, volume: Tensor) -> bool:
    """Whether a network must be run on one volume at a time; tried once for each network.

    A forward may divide by the largest voxel of the batch, or normalise by the statistics of all that is in it (batch
    normalisation without stored ones). Noisy copies, points on a line or occluded volumes, which are run several at
    once, would then change each other. One that fails on a batch of two counts as well.

    Args:
        model: Maps [N, C, D, H, W] to [N, outputs], in evaluation mode.
        volume: [1, C, D, H, W]. Where the network does not run on it, the answer is no.
    """
    if model in _known:
        return _known[model]
    with torch.no_grad():
        try:
            alone = model(volume.clone())
        except Exception:  # whatever the user's network raises; who runs it next reports it
            return False
        if not isinstance(alone, Tensor) or alone.ndim != 2 or not alone.any():
            return False  # nothing is learnt of outputs that are all zero, such as before training
        _known[model] = not _same_beside_another(model, volume, alone)
    return _known[model]


def apart(model: nn.Module, volumes: Tensor) -> Sequence[Tensor]:
    """Return volumes [N, C, D, H, W] as they may be run: all at once, or each alone if the network mixes its batch."""
    return volumes.split(1) if len(volumes) > 1 and mixes_batch(model, volumes[:1]) else (volumes,)


def _same_beside_another(model: nn.Module, volume: Tensor, alone: Tensor) -> bool:
    try:
        together = model(torch.cat([volume, 1.5 * volume.flip(2, 3, 4) + 1]))
    except Exception:  # whatever the user's network raises on two volumes
        return False
    if not isinstance(together, Tensor) or together.shape != (2, alone.shape[1]):
        return True  # no output for each volume: whoever runs it on several refuses it
    return bool((together[:1] - alone).abs().max() <= _AGREEMENT * alone.abs().max())
