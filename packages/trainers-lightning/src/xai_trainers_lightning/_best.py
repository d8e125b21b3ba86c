"""Which epoch is the best so far, and whether waiting for a better one is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from .plugin import LightningTrainer

__all__ = ["BestEpoch"]

_HIGHER_IS_BETTER = {"val_balanced_accuracy", "val_auc", "val_r"}


class BestEpoch:
    """Chooses by ``params.monitor`` and stops by ``params.early_stopping``.

    Attributes:
        epoch: Index of the best epoch so far, or of the last one where there is nothing to choose by.
        weights: State of the network after ``epoch``; None where there is nothing to choose by (no validation part).
        good: How good the last epoch was, higher is better; -inf where the monitor was not defined.
    """

    def __init__(self, params: LightningTrainer) -> None:
        self.params = params
        self.epoch = -1
        self.weights: dict[str, Tensor] | None = None
        self.good = -math.inf
        self._score = (-math.inf, -math.inf)
        # With min_delta, what is to be beaten stays where the last gain above it left it: small gains add up (Keras).
        self._waits_since, self._to_beat = 0, -math.inf

    def take(self, epoch: int, scalars: Mapping[str, float], weights: Callable[[], dict[str, Tensor]]) -> None:
        """Take an epoch's scalars into account; ``weights`` gives a copy of the network's state."""
        if self.params.monitor not in scalars:  # no validation part
            self.epoch, self.good = epoch, -scalars["train_loss"]
            return
        value = scalars[self.params.monitor]
        good = value if self.params.monitor in _HIGHER_IS_BETTER else -value
        self.good = good = -math.inf if math.isnan(value) else good
        score = (good, -scalars.get("val_loss", 0.0))
        if self.weights is None or score > self._score:
            self.epoch, self._score = epoch, score
            self.weights = weights()
        if self.params.min_delta == 0:
            self._waits_since = self.epoch
        elif good > self._to_beat + self.params.min_delta:
            self._waits_since, self._to_beat = epoch, good

    def is_patience_over(self, epoch: int) -> bool:
        """Whether training is to stop after an epoch; waiting begins when the whole network trains."""
        patience = self.params.early_stopping
        return patience is not None and epoch - max(self._waits_since, self.params.head_epochs - 1) >= patience

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs to go on."""
        numbers = [self.epoch, *self._score, self._waits_since, self._to_beat]
        return {"numbers": numbers, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.epoch, first, second, self._waits_since, self._to_beat = state["numbers"]
        self._score, self.weights = (first, second), state["weights"]
