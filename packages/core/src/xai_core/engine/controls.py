"""The mean of the healthy controls in a fold's training part, for explainers that compare people with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import registry
from ..errors import InputError
from .folds import FoldModel, training_key
from .preprocessing import volume
from .progress import track
from .seeding import seeded
from .study import Study
from .tensorfile import save_tensors
from .units import Units, content_key

__all__ = ["CONTROLS", "check_controls", "with_controls"]

CONTROLS = "controls.pt"


def with_controls(study: Study, units: Units, model: FoldModel, slots: Sequence[Mapping[str, Any]]) -> FoldModel:
    """Return a trained fold with the mean of its controls where one of the explainers asks for it.

    Computed once for each fold, from training scans only, and kept beside its checkpoint.
    """
    if not _asking(slots):
        return model
    index = model.index
    name, key = f"fold-{index}/controls", content_key(training=training_key(study, study.folds[index]))
    if not units.is_done(name, key):
        with units.make(name, key, f"fold-{index}") as folder, seeded(0):
            save_tensors(_mean(study, model), folder / CONTROLS)
    return replace(model, controls=torch.load(study.folder / f"fold-{index}" / CONTROLS, weights_only=True))


def check_controls(study: Study, index: int) -> None:
    """Refuse, before training, a fold without controls where an explainer asks for their mean.

    Raises:
        InputError: Nobody of the first class is in the training part.
    """
    asking = _asking(study.config["explainers"])
    if asking and not _controls(study, index):
        name = study.classes[0] if study.classes is not None else "everybody"
        raise InputError(
            f"explainer {asking[0]}: it compares with the mean of the controls ({name}), and the training part of fold "
            f"{index} has none. Choose another split, another order of classes, or another baseline."
        )


def _asking(slots: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the explainers that ask for the mean of the controls."""
    return [
        slot["id"] for slot in slots if registry.create("explainer", slot["name"], **slot["params"]).uses_controls()
    ]


def _controls(study: Study, index: int) -> list[int]:
    """Return the positions of the training scans of the first class, or of everybody in a regression."""
    train = study.part(study.folds[index].train)
    return [i for i in train if study.task == "regression" or study.target_value(i) == 0]


def _mean(study: Study, model: FoldModel) -> Tensor:
    """Return the mean volume of the controls, float32 [C, D, H, W]."""
    controls = _controls(study, model.index)
    total: Tensor | None = None
    for i in track(controls, f"fold {model.index}: mean of the controls"):
        scan = volume(model.preprocessing.cached(i, study.subjects[i])).double()
        total = scan if total is None else total + scan
    assert total is not None  # see ``check_controls``
    return (total / len(controls)).float()
