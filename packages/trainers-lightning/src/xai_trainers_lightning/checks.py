"""What parameters of the trainer ``lightning`` contradict each other. Light: no data are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.types import Task

    from .plugin import LightningTrainer

__all__ = ["CLASSIFICATION_LOSSES", "contradictions", "misfits", "unfreezing_epochs"]

CLASSIFICATION_LOSSES = ("cross-entropy", "focal")
REGRESSION_LOSSES = ("mse", "mae", "huber")


def unfreezing_epochs(params: LightningTrainer) -> list[int | None]:
    """Return the epoch from which each entry of ``freeze`` is trained; None: never."""
    when = params.unfreeze_at_epoch
    return [*when] if isinstance(when, Sequence) else [when] * len(params.freeze)


def contradictions(p: LightningTrainer) -> list[str]:
    """Return what is wrong with the parameters whatever the study."""
    return [f"lightning: {problem}" for found in (_stopping(p), _timing(p), _layers(p), _rest(p)) for problem in found]


def _stopping(p: LightningTrainer) -> Iterator[str]:
    if p.min_delta > 0 and p.early_stopping is None:
        yield (
            f"min_delta ({p.min_delta:g}) belongs to early stopping, which is off. Give early_stopping (a "
            "number of epochs), or leave min_delta out."
        )


def _timing(p: LightningTrainer) -> Iterator[str]:
    if p.head_epochs >= p.epochs and p.head_epochs:
        yield (
            f"head_epochs ({p.head_epochs}) leaves none of the {p.epochs} epochs for the other layers. Give more "
            "epochs, or fewer head_epochs; freeze trains the head alone for good."
        )
    elif p.warmup_epochs and p.warmup_epochs >= p.epochs - p.head_epochs:
        after = f" after head_epochs ({p.head_epochs})" if p.head_epochs else ""
        yield (
            f"warmup_epochs ({p.warmup_epochs}) is as long as the training ({p.epochs - p.head_epochs} epochs{after}) "
            "or longer. Give more epochs, or a shorter warm-up."
        )
    if p.warmup_epochs and p.scheduler == "one-cycle":
        yield (
            "scheduler one-cycle has a warm-up of its own. Leave warmup_epochs out, or take cosine with warmup_epochs."
        )
    if p.head_learning_rate is not None and not p.head_epochs:
        yield "head_learning_rate belongs to head_epochs, which is 0. Give head_epochs, or leave it out."


def _layers(p: LightningTrainer) -> Iterator[str]:
    if p.unfreeze_at_epoch is not None and not p.freeze:
        yield "unfreeze_at_epoch belongs to freeze, which is empty. Name the layers in freeze, or leave it out."
    elif isinstance(p.unfreeze_at_epoch, Sequence) and len(p.unfreeze_at_epoch) != len(p.freeze):
        yield (
            f"unfreeze_at_epoch has {len(p.unfreeze_at_epoch)} epochs for the {len(p.freeze)} entries of freeze. Give "
            "one for each, or a single one for all."
        )
    late = sorted({epoch for epoch in unfreezing_epochs(p) if epoch is not None and epoch >= p.epochs})
    if late:
        yield (
            f"unfreeze_at_epoch ({', '.join(map(str, late))}) is never reached: epochs are counted from 0 to "
            f"{p.epochs - 1}. Give an earlier epoch, or null to keep the layers frozen."
        )
    if p.initial_head == "keep" and p.initial_weights is None:
        yield "initial_head: keep needs initial_weights. Name a checkpoint there, or leave initial_head out."


def _rest(p: LightningTrainer) -> Iterator[str]:
    if p.label_smoothing and p.loss not in ("auto", "cross-entropy"):
        yield f"label_smoothing belongs to cross-entropy, not to loss: {p.loss}. Leave one of them out."
    if p.batch_size < p.devices:
        yield (
            f"batch_size ({p.batch_size}) is the batch of all devices together and smaller than devices "
            f"({p.devices}). Give a batch_size of at least {p.devices}, better {2 * p.devices}, or fewer devices."
        )
    if "mlflow" in p.loggers and _absent("mlflow"):
        yield "loggers: mlflow is not installed. Run: pip install 'xai-trainers-lightning[mlflow]'"
    if p.mlflow_uri is not None and "mlflow" not in p.loggers:
        yield "mlflow_uri belongs to the logger mlflow. Add mlflow to loggers, or leave it out."


def _absent(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is None


def misfits(p: LightningTrainer, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> list[str]:
    """Return what of the parameters a study does not fit; arguments as those of ``Trainer.check_study``."""
    found = [*_loss(p, task), *_class_weights(p, classes), *_sample_weights(p, table)]
    return [f"training.params.{problem}" for problem in found]


def _loss(p: LightningTrainer, task: Task) -> Iterator[str]:
    fitting = CLASSIFICATION_LOSSES if task == "classification" else REGRESSION_LOSSES
    if p.loss != "auto" and p.loss not in fitting:
        yield f"loss: {p.loss} does not fit a {task}. Use {', '.join(fitting)}, or auto."
    if p.label_smoothing and task == "regression":
        yield "label_smoothing: a regression has no classes to spread a target over. Leave it out."


def _class_weights(p: LightningTrainer, classes: Sequence[str] | None) -> Iterator[str]:
    if not isinstance(p.class_weights, str):
        if classes is None:
            yield "class_weights: a regression has no classes. Leave it out; sample_weights weights scans."
        elif set(p.class_weights) != set(classes):
            yield (
                f"class_weights names {', '.join(p.class_weights)}, but the classes are {', '.join(classes)}. Give "
                "each of them a weight."
            )


def _sample_weights(p: LightningTrainer, table: pd.DataFrame) -> Iterator[str]:
    if p.sample_weights is None:
        return
    columns = [p.sample_weights] if isinstance(p.sample_weights, str) else p.sample_weights
    unknown = [column for column in columns if column not in table.columns]
    if unknown:
        known = [str(name) for name in table.columns if name not in ("image", "ground_truth", "scan_id")]
        yield f"sample_weights: the study has no column {', '.join(unknown)}. It has {', '.join(known)}."
        return
    if isinstance(p.sample_weights, str):
        numbers = table[p.sample_weights].map(_positive)
        wrong = table.loc[~numbers, "scan_id"].tolist()
        what = "has no positive number in the column"
    else:
        wrong = table.loc[table[list(columns)].isna().any(axis=1), "scan_id"].tolist()
        what = "has no value in one of the columns"
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        yield (
            f"sample_weights: {what} {', '.join(columns)}: {', '.join(wrong[:10])}{more}. Fill it in, or leave these "
            "scans out of the study."
        )


def _positive(value: object) -> bool:
    # Real: NumPy's numbers, too.
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < float("inf")
