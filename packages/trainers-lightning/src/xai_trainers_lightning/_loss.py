"""What is minimised: the loss of each scan, of a batch, of a whole part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from xai_core.types import Task

    from .plugin import LightningTrainer

__all__ = ["Objective", "focal_loss"]

_REGRESSION: dict[str, Callable[..., Any]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Return -(1 - p)^gamma log p [N], p the probability of the true class (Lin et al. 2017, ICCV, equation 4).

    Args:
        logits: [N, K].
        targets: int64 [N].
        gamma: 0 gives the cross entropy.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None])[:, 0]
    # 1 - p from the logarithm: p itself rounds to one for confident scans, and 0**gamma has no finite gradient
    # for gamma below one.
    miss = -torch.expm1(log_p)
    return -miss.clamp(min=torch.finfo(logits.dtype).tiny).pow(gamma) * log_p


class Objective(nn.Module):
    """The loss of a study.

    Args:
        params: The trainer.
        task: Which losses there are to choose among.
        class_weights: float32 [K], or None.
    """

    class_weights: Tensor | None

    def __init__(self, params: LightningTrainer, task: Task, class_weights: Tensor | None) -> None:
        super().__init__()
        self._is_regression = task == "regression"
        self.register_buffer("class_weights", class_weights)
        if self._is_regression:
            self._loss = partial(_REGRESSION["mse" if params.loss == "auto" else params.loss], reduction="none")
        elif params.loss == "focal":
            self._loss = partial(focal_loss, gamma=params.focal_gamma)
        else:
            self._loss = partial(F.cross_entropy, reduction="none", label_smoothing=params.label_smoothing)
        self._is_focal = params.loss == "focal"

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss [N] of each scan, times the weight of its class.

        Args:
            outputs: float32 logits [N, K], or values [N].
            targets: int64 class indices [N], or values [N].
        """
        losses: Tensor
        if self._is_regression or self.class_weights is None:
            losses = self._loss(outputs, targets)
        elif self._is_focal:
            losses = self._loss(outputs, targets) * self.class_weights[targets]
        else:  # label smoothing weights each class of a smoothed target by its own weight
            losses = self._loss(outputs, targets, weight=self.class_weights)
        return losses

    def of_batch(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the mean over scans, class and scan weights [N] included, 0-d.

        torch divides a weighted cross entropy by the sum of the weights in the batch, which takes away their
        effect in small batches (entirely so in a batch of one).
        """
        losses = self.each(outputs, targets)
        return (losses if weights is None else losses * weights).mean()

    def of_part(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted mean over a whole part, 0-d: divided by the sum of the weights."""
        losses, total = self.each(outputs, targets), torch.ones(len(targets), device=targets.device)
        if self.class_weights is not None and not self._is_regression:
            total = self.class_weights[targets]
        if weights is not None:
            losses, total = losses * weights, total * weights
        return losses.sum() / total.sum()
