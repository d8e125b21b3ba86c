"""Standardised regression targets whose scale ends up in the network's last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TargetScale", "fold_into_head", "find_head"]

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class TargetScale:
    """Converts targets to z-scores and back: ``target = z * std + mean``."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = mean, std

    def to_z(self, targets: Tensor) -> Tensor:
        """Return the z-scores of values in the target's units."""
        return (targets - self.mean) / self.std

    def to_units(self, z: Tensor) -> Tensor:
        """Return values in the target's units."""
        return z * self.std + self.mean

    def inverse(self) -> TargetScale:
        """Return the scale that takes values in the target's units for z-scores of this one."""
        return TargetScale(-self.mean / self.std, 1 / self.std)


# A ReLU or a clamp after the layer is the identity for one sign or near zero only: outputs far away tell.
_TRIALS = (TargetScale(3.0, 2.0), TargetScale(1000.0, 2.0), TargetScale(-1000.0, 2.0))


def find_head(model: nn.Module, volume: Tensor) -> nn.Module | None:
    """Return the layer that gives the single output as an affine function, or None.

    The last registered affine layer with one output and a bias is tried: the network's output on ``volume``
    [1, C, D, H, W] must follow a change of that layer exactly, which fails where anything but a reshape comes
    after it. The model is left as it was.
    """
    layers = [m for m in model.modules() if isinstance(m, _AFFINE) and m.weight.shape[0] == 1 and m.bias is not None]
    if not layers:
        return None
    head = layers[-1]
    return head if all(_follows(model, head, volume, trial) for trial in _TRIALS) else None


def _follows(model: nn.Module, head: nn.Module, volume: Tensor, trial: TargetScale) -> bool:
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()  # type: ignore[operator]
    expected = trial.to_units(_output(model, volume))
    fold_into_head(head, trial)
    follows = torch.allclose(_output(model, volume), expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        head.weight.copy_(weight)  # type: ignore[operator]
        head.bias.copy_(bias)  # type: ignore[operator]
    return follows


def fold_into_head(head: nn.Module, scale: TargetScale) -> None:
    """Change an affine layer that gives z-scores to one that gives the target's units."""
    assert isinstance(head, _AFFINE)
    assert head.bias is not None
    with torch.no_grad():
        head.weight.mul_(scale.std)
        head.bias.mul_(scale.std).add_(scale.mean)


def _output(model: nn.Module, volume: Tensor) -> Tensor:
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        output: Tensor = model(volume)
    for module, training in was_training.items():
        module.training = training
    return output
