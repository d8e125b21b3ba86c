"""What components hand to each other. Light: the classes only name torch's types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = ["Attribution", "Fold", "RunContext", "Task", "TrainingResult"]

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Attribution:
    """Relevance of every voxel of a batch of volumes.

    Attributes:
        relevance: float32 [N, C, D, H, W], the shape of the volumes that were explained.
        output: float32 [N], the model's output (logit or regression value) that was explained.
        target: int64 [N], the index of the explained output (0 for a single regression output).
        details: One JSON-serialisable mapping for each volume, written into the map's sidecar, or None.
    """

    relevance: Tensor
    output: Tensor
    target: Tensor
    details: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Fold:
    """One division of the people of a study. A person (``subject_id``) is in at most one part.

    Attributes:
        train: People whose scans the weights are fitted to; fitted transforms see only these.
        val: People used for early stopping and for the choice of the best weights. May be empty.
        test: People whom neither training nor selection has seen.
        held_out: People of a cohort that is only ever tested. The same in every fold, in no other part of any; each
            fold's network predicts all of them, and they are scored apart from the test parts.
        repeat: Number of the repetition of the whole division, from 0. Within one, a person is tested once at most;
            scores are computed in each and then averaged, since a person's rows are not independent.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    repeat: int = 0


@dataclass(frozen=True)
class RunContext:
    """What a trainer knows of the run around it.

    Attributes:
        folder: An empty folder for this fold's files (curves, logs). Published whole after training.
        device: Where to train.
        seed: This unit's seed. Python's, NumPy's and torch's generators have been seeded with it already.
        task: ``"classification"`` or ``"regression"``.
        classes: Class names in the order of the logits, or None for regression.
        fold: Index of the fold, from 0.
        progress: Whether a progress bar may be drawn (a terminal is attached).
        on_epoch: To be called after each epoch with its index and its scalars
            (``{"train_loss": 0.61, "val_loss": 0.64, ...}``); False asks to stop training.
        log: Writes one line to the run's log.
        scratch: A folder that a killed run leaves behind and the next one finds again, if the training is the same in
            every respect (it may not exist yet); removed when the fold is trained. None: nothing is kept.
    """

    folder: Path
    device: device
    seed: int
    task: Task
    classes: tuple[str, ...] | None
    fold: int = 0
    progress: bool = False
    on_epoch: Callable[[int, Mapping[str, float]], bool] = field(default=lambda _epoch, _scalars: True)
    log: Callable[[str], None] = field(default=lambda _line: None)
    scratch: Path | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What training leaves behind. The weights stay in the model that was trained.

    Attributes:
        history: One mapping of scalars for each epoch; ``epoch`` is one of them. Written to ``history.csv``.
        best_epoch: Index of the epoch whose weights the model holds.
        info: Anything else worth keeping in ``run.json`` (JSON-serialisable).
    """

    history: Sequence[Mapping[str, float]]
    best_epoch: int
    info: Mapping[str, Any] = field(default_factory=dict)
