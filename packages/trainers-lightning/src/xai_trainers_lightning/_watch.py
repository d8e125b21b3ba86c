"""What happens at the end of each epoch: history, best weights, early stopping, loggers, the state on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._best import BestEpoch
from ._data import seed_generators
from ._pl import pl
from ._state import save_state

if TYPE_CHECKING:
    from torch import Tensor

    from xai_core import RunContext

    from ._ema import MovingAverage
    from ._loggers import Logger
    from ._module import Supervised
    from ._schedule import RateSchedule

__all__ = ["Outcome", "Watch"]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves behind.

    Attributes:
        history: One row for each epoch; ``learning_rate`` is the one that it began with.
        best_epoch: Index of the epoch whose weights are kept: the best one, or the last where there is nothing to
            choose by (no validation part).
        weights: State of the network to keep, on the CPU.
    """

    history: list[dict[str, float]]
    best_epoch: int
    weights: dict[str, Tensor]


class Watch(pl.Callback):
    """Keeps the history and the best weights, decides when to stop, and writes the whole state to disk.

    Args:
        module: What is trained.
        context: Of the fold.
        schedule: Of the learning rate.
        average: The moving average of the weights, where it is validated and kept in their place.
        loggers: Where scalars go; none on devices but the first.

    Attributes:
        interrupted: Whether the user interrupted training, which Lightning turns into ``SystemExit``.
        is_over: Whether there is nothing left to train.
    """

    def __init__(
        self,
        module: Supervised,
        context: RunContext,
        schedule: RateSchedule,
        average: MovingAverage | None,
        loggers: Sequence[Logger],
    ) -> None:
        self.module, self.context, self.schedule = module, context, schedule
        self.params, self.average, self.loggers = module.params, average, loggers
        self.interrupted = self.is_over = False
        self._history: list[dict[str, float]] = []
        self._best = BestEpoch(module.params)
        self._started = 0.0
        self._resumed: Mapping[str, Any] = {}

    def outcome(self) -> Outcome:
        """Return what the training left behind."""
        weights = self._best.weights if self._best.weights is not None else self._weights()
        return Outcome(self._history, self._best.epoch, weights)

    def _weights(self) -> dict[str, Tensor]:
        """A copy of what would be kept now, on the CPU."""
        state = self.average.average if self.average is not None else self.module.model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def on_train_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self._resumed:
            trainer.optimizers[0].load_state_dict(self._resumed["optimizer"])
            trainer.precision_plugin.load_state_dict(self._resumed["precision"])
            if self.average is not None:
                self.average.restore(self._resumed["average"])
            self._resumed = {}  # its tensors are in place

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self._started = time.monotonic()
        # An epoch's random numbers (dropout) follow from its number, so that a resumed training draws the same.
        rank = [self.module.share.rank] if self.module.share.ranks > 1 else []
        seed_generators(self.context.seed, trainer.current_epoch, *rank)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: object) -> None:
        epoch = trainer.current_epoch
        rate = self.schedule.rate(epoch)
        scalars = self.module.close_epoch()
        scalars["learning_rate"] = rate
        self._history.append({"epoch": epoch, **scalars})
        self._best.take(epoch, scalars, self._weights)
        self.schedule.end_epoch(epoch, self._best.good)
        self._report(epoch, scalars)
        goes_on = True
        if trainer.is_global_zero:
            goes_on = self.context.on_epoch(epoch, dict(scalars)) is not False
        goes_on = trainer.strategy.broadcast(goes_on)
        self.is_over = not goes_on or self._best.is_patience_over(epoch) or epoch + 1 >= self.params.epochs
        trainer.should_stop = self.is_over
        if trainer.is_global_zero:
            save_state(self.context, self._state(trainer))

    def on_exception(self, _trainer: object, _module: object, exception: BaseException) -> None:
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def _report(self, epoch: int, scalars: dict[str, Any]) -> None:
        for logger in self.loggers:
            logger.write(epoch, scalars)
        if not self.context.progress:
            shown = " ".join(f"{k} {v:.4g}" for k, v in scalars.items() if k != "learning_rate" and not math.isnan(v))
            seconds = time.monotonic() - self._started
            self.context.log(
                f"fold {self.context.fold} epoch {epoch + 1}/{self.params.epochs} {shown} ({seconds:.1f} s)"
            )

    def _state(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Everything that the next epochs depend on: tensors, numbers, lists and mappings only."""
        return {
            "full_rate": self.schedule.full,
            "history": self._history,
            "is_over": self.is_over,
            "best": self._best.state(),
            "model": self.module.model.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "schedule": self.schedule.state(),
            "average": None if self.average is None else self.average.state(),
        }

    def resume(self, trainer: pl.Trainer, state: Mapping[str, Any]) -> None:
        """Go on where ``_state`` was taken; before ``trainer.fit``."""
        self._history = [dict(row) for row in state["history"]]
        self.is_over = state["is_over"]
        self._best.restore(state["best"])
        self.module.model.load_state_dict(state["model"])
        self.schedule.restore(state["schedule"])
        self._resumed = state
        if self.is_over and self.average is not None:  # nothing will be fitted, so ``on_train_start`` is not called
            self.average.average = dict(state["average"]["average"])
        done = len(self._history)
        progress: Any = trainer.fit_loop.epoch_progress.current
        progress.processed = progress.completed = done
        for row in self._history:
            for logger in self.loggers:
                logger.write(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})
        self.context.log(f"fold {self.context.fold}: going on after epoch {done} of {self.params.epochs}")
