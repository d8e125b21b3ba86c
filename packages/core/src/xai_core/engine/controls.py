"""The mean of the healthy controls in a fold's training part, for explainers that compare people with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import registry
from .folds import FoldModel, training_key
from .preprocessing import volume
from .progress import track
from .seeding import seeded
from .study import Study
from .units import Units, content_key

__all__ = ["CONTROLS", "with_controls"]

CONTROLS = "controls.pt"


def with_controls(study: Study, units: Units, model: FoldModel, slots: Sequence[Mapping[str, Any]]) -> FoldModel:
    """Return a trained fold with the mean of its controls where one of the explainers asks for it.

    Computed once for each fold, from training scans only, and kept beside its checkpoint.
    """
    if not any(registry.create("explainer", slot["name"], **slot["params"]).uses_controls() for slot in slots):
        return model
    index = model.index
    name, key = f"fold-{index}/controls", content_key(training=training_key(study, study.folds[index]))
    if not units.is_done(name, key):
        with units.make(name, key, f"fold-{index}") as folder, seeded(0):
            torch.save(_mean(study, model), folder / CONTROLS)
    return replace(model, controls=torch.load(study.folder / f"fold-{index}" / CONTROLS, weights_only=True))


def _mean(study: Study, model: FoldModel) -> Tensor:
    """Return the mean volume, float32 [C, D, H, W], of the first class, or of everybody in a regression."""
    train = study.part(study.folds[model.index].train)
    controls = [i for i in train if study.task == "regression" or study.target_value(i) == 0]
    total: Tensor | None = None
    for i in track(controls, f"fold {model.index}: mean of the controls"):
        scan = volume(model.preprocessing.cached(i, study.subjects[i])).double()
        total = scan if total is None else total + scan
    assert total is not None  # a class without people is refused when the folds are made
    return (total / len(controls)).float()
