"""What happens at the end of each epoch: history, best weights, early stopping, log and TensorBoard."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from ._pl import pl

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

    from xai_core import RunContext

    from ._module import Supervised
    from .plugin import LightningTrainer

__all__ = ["Watch"]

_HIGHER_IS_BETTER = {"val_balanced_accuracy", "val_auc", "val_r"}


class Watch(pl.Callback):
    """Keeps the history and the best weights and decides when to stop.

    Attributes:
        history: One row for each epoch; ``learning_rate`` is the one that it began with.
        best_epoch: Index of the best epoch so far, or of the last one where there is nothing to choose by.
        best_weights: Copy of the network's state at ``best_epoch`` on the CPU; None where there is nothing to choose
            by (no validation part).
        interrupted: Whether the user interrupted training, which Lightning turns into ``SystemExit``.
    """

    def __init__(self, params: LightningTrainer, context: RunContext, writer: SummaryWriter) -> None:
        self.params, self.context, self.writer = params, context, writer
        self.history: list[dict[str, float]] = []
        self.best_epoch = -1
        self.best_weights: dict[str, Tensor] | None = None
        self.interrupted = False
        self._best_score = (-math.inf, -math.inf)
        # With min_delta, what is to be beaten stays where the last gain above it left it: small gains add up (Keras).
        self._waits_since, self._to_beat = 0, -math.inf
        self._started = 0.0
        self._learning_rate = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self._started = time.monotonic()
        self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module: Supervised = pl_module  # type: ignore[assignment]
        epoch = trainer.current_epoch
        scalars = module.close_epoch()
        scalars["learning_rate"] = self._learning_rate
        self.history.append({"epoch": epoch, **scalars})
        self._keep_best(module, epoch, scalars)
        self._report(epoch, scalars)
        goes_on = self.context.on_epoch(epoch, dict(scalars))
        trainer.should_stop = goes_on is False or self._is_patience_over(epoch)

    def on_exception(self, _trainer: object, _module: object, exception: BaseException) -> None:
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def _keep_best(self, module: Supervised, epoch: int, scalars: dict[str, float]) -> None:
        if self.params.monitor not in scalars:  # no validation part
            self.best_epoch = epoch
            return
        value = scalars[self.params.monitor]
        good = value if self.params.monitor in _HIGHER_IS_BETTER else -value
        good = -math.inf if math.isnan(value) else good
        score = (good, -scalars.get("val_loss", 0.0))
        if self.best_weights is None or score > self._best_score:
            self.best_epoch, self._best_score = epoch, score
            self.best_weights = {k: v.detach().cpu().clone() for k, v in module.model.state_dict().items()}
        if self.params.min_delta == 0:
            self._waits_since = self.best_epoch
        elif good > self._to_beat + self.params.min_delta:
            self._waits_since, self._to_beat = epoch, good

    def _is_patience_over(self, epoch: int) -> bool:
        return self.params.early_stopping is not None and epoch - self._waits_since >= self.params.early_stopping

    def _report(self, epoch: int, scalars: dict[str, Any]) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, epoch)
        if not self.context.progress:
            shown = " ".join(f"{k} {v:.4g}" for k, v in scalars.items() if k != "learning_rate" and not math.isnan(v))
            seconds = time.monotonic() - self._started
            self.context.log(
                f"fold {self.context.fold} epoch {epoch + 1}/{self.params.epochs} {shown} ({seconds:.1f} s)"
            )
