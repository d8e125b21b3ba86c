"""One fold's training."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, cast

from xai_core import InputError, TrainingResult

from ._curves import draw_curves
from ._data import seed_generators, targets_of
from ._finder import find_rate
from ._freezing import Freezing
from ._head import last_layer
from ._initial import load_initial
from ._lightning import Job
from ._lightning import train as train_here
from ._loss import Objective
from ._ranks import check_devices, train_together
from ._scaling import TargetScale, find_head, fold_into_head
from ._shards import Share
from ._state import load_state
from ._weights import Weighted, absent_classes, class_weights, sample_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xai_core import RunContext

    from ._data import TensorData
    from .plugin import LightningTrainer

__all__ = ["fit"]

_CLASSIFICATION_MONITORS = {"val_loss", "val_balanced_accuracy", "val_auc", "train_loss"}
_REGRESSION_MONITORS = {"val_loss", "val_mae", "val_r", "train_loss"}


def fit(
    params: LightningTrainer,
    model: nn.Module,
    train: TensorData,
    validation: TensorData | None,
    context: RunContext,
) -> TrainingResult:
    """Train ``model`` in place; see ``LightningTrainer.train``."""
    validation = validation if _size(validation) else None
    targets = targets_of(train, context.seed)
    check_devices(params.devices, _size(validation), context)
    _check_monitor(params, validation, context)
    info: dict[str, Any] = {"scans": {"train": len(targets), "val": _size(validation)}}
    scans = sample_weights(params, train, context)
    weights = class_weights(params, targets, scans, context)
    if weights is not None:
        info["class_weights"] = weights.tolist()
    head = _begin(params, model, train, info, context)
    Freezing(params, model, head, distributed=False)  # refuses what does not fit before anything long
    scaled, scale = _target_scale(params, model, train, targets, context)
    if scaled is not None:
        info["target_scaling"] = {"mean": scale.mean, "std": scale.std}
        if params.initial_head == "keep":  # it gives the target's units; the loss is of z-scores
            fold_into_head(scaled, scale.inverse())
    objective = Objective(params, context.task, weights)
    items = train if scans is None else Weighted(train, scans)
    job = Job(params, model, head, objective, scale, items, validation, 0.0, load_state(context))
    info["learning_rate"] = job.rate = _rate(job, context)
    seed_generators(context.seed)
    if params.devices == 1:
        outcome = train_here(job, context, Share())
    else:
        info["devices"] = params.devices
        outcome = train_together(job, context, params.devices)
    model.load_state_dict(outcome.weights)
    if scaled is not None:
        fold_into_head(scaled, scale)
    model.eval().cpu().zero_grad(set_to_none=True)
    draw_curves(outcome.history, outcome.best_epoch, context.folder / "curves.png")
    return TrainingResult(history=outcome.history, best_epoch=outcome.best_epoch, info=info)


def _begin(
    params: LightningTrainer, model: nn.Module, train: TensorData, info: dict[str, Any], context: RunContext
) -> str | None:
    """Load the initial weights and return the name of the last layer where any parameter asks for it."""
    if params.initial_weights is None and not params.head_epochs:
        return None
    head = last_layer(model, train[0][0][None])
    if params.initial_weights is not None:
        info["initial_weights"] = load_initial(params, model, head)
        about = info["initial_weights"]
        lacking = [name for name in about["not_loaded"] if not name.startswith(f"{head}.")]
        also = f"; not there: {', '.join(lacking[:5])}{' ...' if len(lacking) > 5 else ''}" if lacking else ""
        context.log(
            f"fold {context.fold}: {about['loaded']} tensors taken from {about['file']}, last layer {head} "
            f"{'new' if params.initial_head == 'new' else 'kept'}{also}"
        )
    return head


def _rate(job: Job, context: RunContext) -> float:
    if job.params.learning_rate != "auto":
        return float(job.params.learning_rate)
    # Also of a training that goes on: the curve belongs to its files.
    found = find_rate(job, context)
    return found if job.state is None else float(job.state["full_rate"])


def _size(items: TensorData | None) -> int:
    return 0 if items is None else len(cast(Sized, items))


def _check_monitor(params: LightningTrainer, validation: TensorData | None, context: RunContext) -> None:
    known = _CLASSIFICATION_MONITORS if context.task == "classification" else _REGRESSION_MONITORS
    if params.monitor not in known:
        raise InputError(
            f"training.params.monitor: {params.monitor} is not defined for a {context.task}. "
            f"Use one of {', '.join(sorted(known))}."
        )
    if params.monitor == "train_loss":
        return
    if validation is None:
        asked = [f"early_stopping: {params.early_stopping}"] if params.early_stopping is not None else []
        asked += [f"monitor: {params.monitor}"] if params.monitor != "val_loss" else []
        if asked:
            raise InputError(
                f"training.params.{asked[0]} needs validation people, but fold {context.fold} has none. Give "
                f"the split a validation part, leave {asked[0].split(':')[0]} at its default, or use "
                "monitor: train_loss."
            )
    elif params.monitor == "val_auc" and context.classes is not None:
        missing = absent_classes(targets_of(validation, context.seed), context.classes)
        if missing:
            raise InputError(
                f"training.params.monitor: val_auc is not defined in fold {context.fold}: no validation scan "
                f"is of class {', '.join(missing)}. Use a larger or stratified validation part, or val_loss."
            )


def _target_scale(
    params: LightningTrainer, model: nn.Module, train: TensorData, targets: Tensor, context: RunContext
) -> tuple[nn.Module | None, TargetScale]:
    """The layer that will take up the targets' scale, and the scale; (None, identity) where there is none."""
    if context.task == "classification" or params.target_scaling == "none":
        return None, TargetScale()
    values = targets.double()
    std = float(values.std(correction=0))
    if std == 0:
        raise InputError(
            f"All {len(values)} training targets of fold {context.fold} are {float(values[0]):g}: there is "
            "nothing to learn. Check the target column."
        )
    head = find_head(model, train[0][0][None])
    if head is None:
        context.log(
            f"fold {context.fold}: the model does not end with a linear layer of one output with a bias, so "
            "the targets are not standardised; reaching their mean may take many epochs"
        )
        return None, TargetScale()
    return head, TargetScale(float(values.mean()), std)
