"""An exponential moving average of the weights, which is what is validated and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._pl import pl

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage(pl.Callback):
    """Averages weights and floating-point buffers over the steps of the optimizer (Polyak & Juditsky 1992).

    Running means and variances of batch normalisation are averaged like weights: those of the last step belong to
    other weights than the averaged ones. Counters are taken over as they are.

    Args:
        model: The network; its state now is where the average starts.
        decay: Of the average; after n steps at most (1 + n) / (10 + n), so that the random start is forgotten.

    Attributes:
        average: The averaged state of the network.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.average: dict[str, Tensor] = {}
        self.updates = 0
        self._stepped = 0

    def on_fit_start(self, *_: Any) -> None:
        if not self.average:  # now that the network is on its device
            self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step != self._stepped:  # with accumulate, not every batch is a step
            self._stepped = trainer.global_step
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present state into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's state and the average."""
        for name, value in self.model.state_dict().items():
            kept = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)

    def on_validation_start(self, *_: Any) -> None:
        self.swap()

    def on_validation_end(self, *_: Any) -> None:
        self.swap()

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs to go on."""
        return {"average": self.average, "updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.average = {name: state["average"][name].to(value) for name, value in self.average.items()}
        self.updates = state["updates"]
