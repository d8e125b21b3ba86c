"""One fold's training."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, cast

import torch

from xai_core import InputError, TrainingResult

from ._curves import draw_curves
from ._data import seed_generators, targets_of
from ._lightning import run
from ._module import Supervised
from ._scaling import TargetScale, find_head, fold_into_head

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
    _check_monitor(params, validation, context)
    info: dict[str, Any] = {"scans": {"train": len(targets), "val": _size(validation)}}
    weights = _class_weights(params, targets, context)
    if weights is not None:
        info["class_weights"] = weights.tolist()
    head, scale = _target_scale(params, model, train, targets, context)
    if head is not None:
        info["target_scaling"] = {"mean": scale.mean, "std": scale.std}
    seed_generators(context.seed)
    model.train()
    module = Supervised(params, model, context, weights, scale)
    watch = run(module, train, validation, context)
    if watch.best_weights is not None:
        model.load_state_dict(watch.best_weights)
    if head is not None:
        fold_into_head(head, scale)
    model.eval().cpu().zero_grad(set_to_none=True)
    draw_curves(watch.history, watch.best_epoch, context.folder / "curves.png")
    return TrainingResult(history=watch.history, best_epoch=watch.best_epoch, info=info)


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
        missing = _absent(targets_of(validation, context.seed), context.classes)
        if missing:
            raise InputError(
                f"training.params.monitor: val_auc is not defined in fold {context.fold}: no validation scan "
                f"is of class {', '.join(missing)}. Use a larger or stratified validation part, or val_loss."
            )


def _absent(targets: Tensor, classes: tuple[str, ...]) -> list[str]:
    counts = torch.bincount(targets.long(), minlength=len(classes))
    return [name for name, count in zip(classes, counts.tolist(), strict=False) if count == 0]


def _class_weights(params: LightningTrainer, targets: Tensor, context: RunContext) -> Tensor | None:
    """Balanced weights n / (K * n_k) [K] of the training part (King & Zeng 2001), or None."""
    if context.classes is None:
        return None
    missing = _absent(targets, context.classes)
    if missing:
        raise InputError(
            f"The training part of fold {context.fold} has no scan of class {', '.join(missing)}, so it "
            "cannot be learned. Use fewer folds or a stratified split, or leave the class out of the study."
        )
    if params.class_weights == "none":
        return None
    counts = torch.bincount(targets.long(), minlength=len(context.classes))
    return len(targets) / (len(context.classes) * counts.float())


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
