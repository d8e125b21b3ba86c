"""Batch normalisation over the pieces of several CPU processes; torch's own ``SyncBatchNorm`` is for GPUs only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SharedBatchNorm", "share_batch_norms"]


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each one's loss depends on it, so that their gradients are summed, too."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def _summed(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm(_BatchNorm):
    """Mean and variance of the whole batch, of which each process holds a piece; the formulas of batch normalisation.

    Gradients flow through the statistics to the pieces of all processes (Ioffe & Szegedy 2015).
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the normalised piece, [N, C, ...]."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        axes = [0, *range(2, values.ndim)]
        shape = [1, -1, *[1] * (values.ndim - 2)]
        size = torch.tensor([values.numel() / values.shape[1]], device=values.device)
        sums = _summed(torch.cat([values.sum(axes), size]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _summed((centred**2).sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_batch_norms(model: nn.Module) -> None:
    """Have every batch normalisation of a network take its statistics over all processes."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            object.__setattr__(module, "__class__", SharedBatchNorm)  # names, parameters and buffers stay
