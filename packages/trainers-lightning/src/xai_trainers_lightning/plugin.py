"""The trainer ``lightning``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import ConfigError, InputError, RunContext, TrainingResult

from .checks import contradictions, misfits
from .parameters import PROPERTIES
from .scoring import BiasCorrection, Calibration, ScoredTrainer

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

    from xai_core.types import Task

__all__ = ["LightningTrainer"]


class LightningTrainer(ScoredTrainer):
    """Supervised training on PyTorch Lightning, with early stopping, best weights and bootstrap intervals."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": PROPERTIES,
    }

    def __init__(
        self,
        *,
        epochs: int = 30,
        batch_size: int = 4,
        learning_rate: float | Literal["auto"] = 1e-4,
        weight_decay: float = 0,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        scheduler: Literal["none", "cosine", "one-cycle", "step", "plateau"] = "none",
        scheduler_epochs: int = 10,
        scheduler_factor: float = 0.1,
        warmup_epochs: int = 0,
        loss: Literal["auto", "cross-entropy", "focal", "mse", "mae", "huber"] = "auto",
        focal_gamma: float = 2.0,
        label_smoothing: float = 0,
        class_weights: Literal["balanced", "none"] | Mapping[str, float] = "balanced",
        sample_weights: str | Sequence[str] | None = None,
        target_scaling: Literal["standardise", "none"] = "standardise",
        monitor: str = "val_loss",
        early_stopping: int | None = None,
        min_delta: float = 0,
        accumulate: int = 1,
        gradient_clip: float | None = None,
        ema_decay: float | None = None,
        freeze: Sequence[str] = (),
        unfreeze_at_epoch: int | Sequence[int] | None = None,
        initial_weights: str | None = None,
        initial_head: Literal["new", "keep"] = "new",
        head_epochs: int = 0,
        head_learning_rate: float | None = None,
        devices: int = 1,
        loggers: Sequence[Literal["tensorboard", "mlflow"]] = ("tensorboard",),
        mlflow_uri: str | None = None,
        workers: int = 0,
        precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
        bootstrap: int = 1000,
        pairwise: Mapping[str, Any] | None = None,
        by: Sequence[str] | None = None,
        permutations: int = 1000,
        calibration: Calibration = "none",
        bias_correction: BiasCorrection = "none",
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_epochs = scheduler_epochs
        self.scheduler_factor = scheduler_factor
        self.warmup_epochs = warmup_epochs
        self.loss = loss
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.sample_weights = sample_weights
        self.target_scaling = target_scaling
        self.monitor = monitor
        self.early_stopping = early_stopping
        self.min_delta = min_delta
        self.accumulate = accumulate
        self.gradient_clip = gradient_clip
        self.ema_decay = ema_decay
        self.freeze = freeze
        self.unfreeze_at_epoch = unfreeze_at_epoch
        self.initial_weights = initial_weights
        self.initial_head = initial_head
        self.head_epochs = head_epochs
        self.head_learning_rate = head_learning_rate
        self.devices = devices
        self.loggers = loggers
        self.mlflow_uri = mlflow_uri
        self.workers = workers
        self.precision = precision
        self.bootstrap = bootstrap
        self.pairwise = pairwise
        self.by = by
        self.permutations = permutations
        self.calibration = calibration
        self.bias_correction = bias_correction
        if problems := contradictions(self):
            raise ConfigError(problems)

    def covariates(self) -> Sequence[str]:
        """Return the columns of ``sample_weights``."""
        return [self.sample_weights] if isinstance(self.sample_weights, str) else list(self.sample_weights or ())

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse a study that losses, weights, checkpoint or scores do not fit; see ``Trainer.check_study``."""
        super().check_study(table, task, classes)
        if problems := misfits(self, table, task, classes):
            raise InputError("\n".join(problems))
        if self.initial_weights is not None:
            from ._initial import checkpoint_of, read_state

            read_state(checkpoint_of(Path(self.initial_weights)))

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
                numbers), otherwise every scan is read once for them; ``sample_weights`` needs its ``covariates``
                (a mapping for each scan).
            validation: The same for the validation part. None or empty: the model keeps the last epoch's
                weights, unless ``monitor`` is ``train_loss``.
            context: ``curves.png`` and ``tensorboard/`` are written to its folder. After each epoch the whole
                state is written to its ``scratch``, from which a killed training goes on to the same bytes.

        Raises:
            InputError: The training part, the network or a parameter does not fit the study.
            RunError: The loss is no longer a number, or one of several processes died.
        """
        from ._train import fit

        return fit(self, model, train, validation, context)
