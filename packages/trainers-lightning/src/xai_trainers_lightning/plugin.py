"""The trainer ``lightning``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import ConfigError, RunContext, Trainer, TrainingResult
from xai_core.types import Task

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

__all__ = ["SCORING", "LightningTrainer"]

# How test scores are made; of every trainer of this package.
SCORING: Mapping[str, Any] = {
    "bootstrap": {
        "anyOf": [{"type": "integer", "minimum": 100}, {"const": 0}],
        "default": 1000,
        "description": "Resamples of the people behind each 95 % interval of the test scores; 0: none.",
    },
    "pairwise": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "column": {"type": "string", "minLength": 1, "description": "Covariate with the finer groups."},
            "against": {"type": ["string", "integer"], "description": "The group that the others are compared with."},
        },
        "required": ["column", "against"],
        "default": None,
        "description": "Test scores of two classes also for each finer group against one, such as {column: diagnosis, "
        "against: CN}: those of AD against CN, of MCI against CN.",
    },
}
_PROPERTIES: Mapping[str, Any] = {
    "epochs": {"type": "integer", "minimum": 1, "default": 30, "description": "Most epochs to train for."},
    "batch_size": {
        "type": "integer",
        "minimum": 1,
        "default": 4,
        "description": "Scans in a batch. A last training batch of one scan is left out of its epoch: batch "
        "normalisation has no statistics of one.",
    },
    "learning_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 1e-4,
        "description": "Step size of the optimizer; the peak where a scheduler varies it.",
    },
    "weight_decay": {
        "type": "number",
        "minimum": 0,
        "default": 0,
        "description": "L2 penalty (adamw: decoupled).",
    },
    "optimizer": {
        "enum": ["adam", "adamw", "sgd"],
        "default": "adam",
        "description": "Optimizer; sgd has Nesterov momentum 0.9.",
    },
    "scheduler": {
        "enum": ["none", "cosine", "one-cycle"],
        "default": "none",
        "description": "Learning rate over time: constant, cosine to zero at the last epoch, or one cycle "
        "with warm-up.",
    },
    "loss": {
        "enum": ["mse", "mae", "huber"],
        "default": "mse",
        "description": "Loss of a regression; a classification uses cross entropy.",
    },
    "class_weights": {
        "enum": ["balanced", "none"],
        "default": "balanced",
        "description": "balanced: cross entropy weights each class by n / (classes * n of the class) of the "
        "training part.",
    },
    "target_scaling": {
        "enum": ["standardise", "none"],
        "default": "standardise",
        "description": "Regression. standardise: train on z-scores of the training targets and fold their "
        "mean and standard deviation into the last layer afterwards, so that the network itself gives the "
        "target's units. none: train in these units, as for fine-tuning a network that gives them already.",
    },
    "monitor": {
        "enum": ["val_loss", "val_balanced_accuracy", "val_auc", "val_mae", "val_r", "train_loss"],
        "default": "val_loss",
        "description": "What the best epoch is chosen by; a tie goes to the lower val_loss, then to the earlier epoch. "
        "train_loss needs no validation part and does not notice overfitting; some earlier studies used it.",
    },
    "early_stopping": {
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
        "default": None,
        "description": "Stop after this many epochs without a better monitor; null: train for all epochs.",
    },
    "min_delta": {
        "type": "number",
        "minimum": 0,
        "default": 0,
        "description": "Early stopping: only a monitor that is better by more than this counts as better. The best "
        "weights are kept whatever the difference.",
    },
    "accumulate": {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "Batches whose gradients are added up before each step of the optimizer.",
    },
    "gradient_clip": {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
        "default": None,
        "description": "Largest norm of the gradient; null: no clipping.",
    },
    "workers": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Processes that load scans; 0: the main process. Results do not depend on it.",
    },
    "precision": {
        "enum": ["32-true", "bf16-mixed", "16-mixed"],
        "default": "32-true",
        "description": "Floating-point precision of training. The weights are float32 in all three.",
    },
    **SCORING,
}


class LightningTrainer(Trainer):
    """Supervised training on PyTorch Lightning, with early stopping, best weights and bootstrap intervals."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": _PROPERTIES,
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
