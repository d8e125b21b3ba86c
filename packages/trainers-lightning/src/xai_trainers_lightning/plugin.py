"""The trainer ``lightning``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import ConfigError, RunContext, Trainer, TrainingResult
from xai_core.types import Task

from .parameters import PROPERTIES
from .scoring import SCORING

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

__all__ = ["LightningTrainer"]


class LightningTrainer(Trainer):
    """Supervised training on PyTorch Lightning, with early stopping, best weights and bootstrap intervals."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": PROPERTIES,
    }
    scoring_params: ClassVar[frozenset[str]] = frozenset(SCORING)

    def __init__(
        self,
        *,
        epochs: int = 30,
        batch_size: int = 4,
        learning_rate: float = 1e-4,
        weight_decay: float = 0,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        scheduler: Literal["none", "cosine", "one-cycle"] = "none",
        loss: Literal["mse", "mae", "huber"] = "mse",
        class_weights: Literal["balanced", "none"] = "balanced",
        target_scaling: Literal["standardise", "none"] = "standardise",
        monitor: str = "val_loss",
        early_stopping: int | None = None,
        min_delta: float = 0,
        accumulate: int = 1,
        gradient_clip: float | None = None,
        workers: int = 0,
        precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
        bootstrap: int = 1000,
        pairwise: Mapping[str, Any] | None = None,
    ) -> None:
        if min_delta > 0 and early_stopping is None:
            raise ConfigError(
                f"lightning: min_delta ({min_delta:g}) belongs to early stopping, which is off. Give early_stopping (a "
                "number of epochs), or leave min_delta out."
            )
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loss = loss
        self.class_weights = class_weights
        self.target_scaling = target_scaling
        self.monitor = monitor
        self.early_stopping = early_stopping
        self.min_delta = min_delta
        self.accumulate = accumulate
        self.gradient_clip = gradient_clip
        self.workers = workers
        self.precision = precision
        self.bootstrap = bootstrap
        self.pairwise = pairwise

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse a study that ``pairwise`` does not fit; see ``Trainer.check_study``."""
        if self.pairwise is not None:
            from ._pairwise import finer_pairs

            finer_pairs(table, classes, **self.pairwise)

    def train(
        self,
        model: nn.Module,
        train: TorchDataset[tuple[Tensor, Tensor]],
        validation: TorchDataset[tuple[Tensor, Tensor]] | None,
        context: RunContext,
    ) -> TrainingResult:
        """Train ``model`` in place; it ends on the CPU, in evaluation mode, with the best validation weights.

        Args:
            model: The network, freshly built, on the CPU.
            train: Sized; items are (volume float32 [C, D, H, W], target: int64 class index or float32 value,
                0-d). Its targets are taken from an attribute ``targets`` where there is one (a sequence of
                numbers), otherwise every scan is read once for them.
            validation: The same for the validation part. None or empty: the model keeps the last epoch's
                weights, unless ``monitor`` is ``train_loss``.
            context: ``curves.png`` and ``tensorboard/`` are written to its folder.

        Raises:
            InputError: The training part or the network does not fit the study, or the monitor is not
                defined.
            RunError: The loss is no longer a number.
        """
        from ._train import fit

        return fit(self, model, train, validation, context)

    def metrics(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> dict[str, Any]:
        """Return the scores of the test people with 95 % percentile bootstrap intervals over people.

        Classification: ``balanced_accuracy``, ``accuracy``, ``auc``, ``sensitivity``, ``specificity``, ``f1``,
        ``mcc`` (two classes: the last one is positive; more: each class against the rest, averaged over classes),
        ``auc_<first>_vs_<second>`` for each pair of more than two classes, ``confusion_matrix`` (rows: true class,
        columns: predicted class, in the order of ``classes``). Regression: ``mae``, ``rmse`` (target's units), ``r``
        (Pearson), ``r2`` (coefficient of determination). Both: ``n`` scans of ``people``.

        With ``pairwise`` two classes are scored once more for each group of the column against one: among the scans of
        these two groups only, with names such as ``auc_AD_vs_CN``, and their number ``n_AD_vs_CN``. Scans without a
        group are in none of them.

        A score is ``{"value": v, "low": l, "high": h}``; each is None where it is not defined (an AUC of test
        people of one class, say). People are resampled, not scans, so that the scans of one person stay
        together (Efron & Tibshirani 1993, An Introduction to the Bootstrap).

        Raises:
            InputError: A target or prediction is not among ``classes``, or ``pairwise`` does not fit the study.
        """
        from ._metrics import scores

        return scores(predictions, task, classes, seed, self.bootstrap, self.pairwise)
