"""The learning rate over time, a plain function of epoch and batch, so that an interrupted training can go on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ._pl import pl

if TYPE_CHECKING:
    from .plugin import LightningTrainer

__all__ = ["RateSchedule", "one_cycle"]


def one_cycle(step: int, steps: int) -> tuple[float, float]:
    """Return learning rate (a share of the peak) and momentum at a step of one cycle (Smith & Topin 2018).

    The shape is that of ``torch.optim.lr_scheduler.OneCycleLR``: cosines from 1/25 to 1 in 30 % of the steps, then to
    1/250000; momentum goes the other way, from 0.95 to 0.85 and back.
    """
    peak, end = 0.3 * steps - 1, steps - 1
    if step <= peak:
        done = step / peak
        return _cosine(1 / 25, 1, done), _cosine(0.95, 0.85, done)
    done = (step - peak) / (end - peak)
    return _cosine(1, 1 / 250_000, done), _cosine(0.85, 0.95, done)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


class RateSchedule(pl.Callback):
    """Sets the optimizer's learning rate before each batch.

    Args:
        params: The trainer.
        rate: Full learning rate.
        batches: Batches in an epoch.

    Attributes:
        reduction: What the scheduler ``plateau`` multiplies the rate by so far.
    """

    def __init__(self, params: LightningTrainer, rate: float, batches: int) -> None:
        self.params, self.full = params, rate
        self.steps = max(1, math.ceil(batches / params.accumulate))
        self.reduction = 1.0
        self._best, self._waits = -math.inf, 0

    def rate(self, epoch: int, batch: int = 0) -> float:
        """Return the learning rate of a batch, both counted from 0."""
        p = self.params
        if epoch < p.head_epochs:
            return p.head_learning_rate if p.head_learning_rate is not None else self.full
        since = epoch - p.head_epochs
        step = batch // p.accumulate
        if p.scheduler == "one-cycle":
            return self.full * one_cycle(since * self.steps + step, self._steps_of_all_layers)[0]
        if since < p.warmup_epochs:
            return self.full * (since * self.steps + step + 1) / (p.warmup_epochs * self.steps)
        since -= p.warmup_epochs
        if p.scheduler == "cosine":
            return self.full * _cosine(1, 0, since / (p.epochs - p.head_epochs - p.warmup_epochs))
        if p.scheduler == "step":
            return float(self.full * p.scheduler_factor ** (since // p.scheduler_epochs))
        return self.full * self.reduction

    @property
    def _steps_of_all_layers(self) -> int:
        return (self.params.epochs - self.params.head_epochs) * self.steps

    def on_train_batch_start(self, trainer: pl.Trainer, _module: object, _batch: object, batch_idx: int) -> None:
        epoch = trainer.current_epoch
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate(epoch, batch_idx)
            if self.params.scheduler == "one-cycle" and epoch >= self.params.head_epochs:
                step = (epoch - self.params.head_epochs) * self.steps + batch_idx // self.params.accumulate
                _set_momentum(group, one_cycle(step, self._steps_of_all_layers)[1])

    def end_epoch(self, epoch: int, good: float) -> None:
        """Let ``plateau`` see how good an epoch was (higher is better; -inf: the monitor is not defined)."""
        p = self.params
        if p.scheduler != "plateau" or epoch < p.head_epochs + p.warmup_epochs:
            return
        self._waits = 0 if good > self._best else self._waits + 1
        self._best = max(self._best, good)
        if self._waits >= p.scheduler_epochs:
            self.reduction *= p.scheduler_factor
            self._waits = 0

    def state(self) -> dict[str, float]:
        """Return what ``restore`` needs to go on."""
        return {"reduction": self.reduction, "best": self._best, "waits": self._waits}

    def restore(self, state: dict[str, float]) -> None:
        """Go on where ``state`` was taken."""
        self.reduction, self._best, self._waits = state["reduction"], state["best"], int(state["waits"])


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum
