"""Predictions of validation people, and what a trainer learns from them: calibration, correction of a bias with age.

Only a fold's validation people are used: its test people have no part in it, and its training people are predicted too
well to learn anything from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import InputError, PluginError
from .calls import at_work
from .foldconfig import fold_config
from .folds import FoldModel, predict, rows_identity, training_key
from .repeats import numbered
from .seeding import seeded
from .study import Study
from .tables import predictions_path, tsv
from .units import Units, content_key, write_text

if TYPE_CHECKING:
    import pandas as pd

    from ..interfaces import Trainer

__all__ = ["calibrated", "check_validation", "predict_validation", "save_validation", "validation_rows"]

FILE = "validation-predictions.tsv"
_GROUP = "validation"


def check_validation(study: Study, trainer: Trainer) -> None:
    """Refuse folds with fewer validation scans than the trainer's ``calibrate`` needs; called before any training.

    Raises:
        InputError: Which folds, and how many scans they have.
    """
    needed = trainer.validation_needed(study.task)
    if needed <= 0:
        return
    counts = [len(study.part(fold.val)) for fold in study.folds]
    short = [f"fold {index}: {count}" for index, count in enumerate(counts) if count < needed]
    if short:
        raise InputError(
            f"training ({study.config['training']['name']}) fits a correction to validation people and needs {needed} "
            f"of their scans in each fold, but there are fewer ({', '.join(short[:8])}). Give a larger validation part "
            "in split.params, or switch that correction off in training.params."
        )


def predict_validation(study: Study, units: Units, index: int, load: Callable[[], FoldModel]) -> None:
    """Predict a fold's validation people unless that is done, or there are none."""
    indices, (name, key) = study.part(study.folds[index].val), _unit(study, index)
    if not indices or units.is_done(name, key):
        return
    path = predictions_path(study.folder, index, "val")
    with units.make(name, key, path.parent.relative_to(study.folder).as_posix()) as temporary, seeded(0):
        (temporary / path.name).write_text(json.dumps(predict(study, load(), indices)), encoding="utf-8")


def _unit(study: Study, index: int) -> tuple[str, str]:
    """Name and key of a fold's predictions."""
    fold = study.folds[index]
    rows = rows_identity(study, index, study.part(fold.val))
    return f"{_GROUP}/fold-{index}", content_key(training=training_key(study, fold), part="val", scans=rows)


def validation_rows(study: Study, index: int) -> list[dict[str, Any]]:
    """Return a fold's predictions of its validation people; none where it has no validation part."""
    if not study.folds[index].val:
        return []
    found: list[dict[str, Any]] = json.loads(predictions_path(study.folder, index, "val").read_text(encoding="utf-8"))
    return found


def save_validation(study: Study, units: Units) -> None:
    """Write ``validation-predictions.tsv``, whose scores are no test scores: these people chose the weights.

    What an earlier state of the study left there for folds that have no validation part any more is removed.
    """
    import pandas as pd

    units.keep_only(_GROUP, {_unit(study, index) for index, fold in enumerate(study.folds) if fold.val})
    rows = [row for index in range(len(study.folds)) for row in validation_rows(study, index)]
    if rows:
        write_text(study.folder / FILE, tsv(numbered(study.folds, pd.DataFrame(rows))))
    else:
        (study.folder / FILE).unlink(missing_ok=True)


def calibrated(study: Study, index: int, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return a fold's predictions with the columns that its trainer adds.

    Args:
        study: The study, whose fold has predicted its validation people.
        index: Index of the fold.
        rows: Predictions by the fold's network, one for each scan.

    Raises:
        PluginError: The trainer returned other rows, or changed what was predicted.
    """
    import pandas as pd

    slot, predictions = fold_config(study.config, index)["training"], pd.DataFrame(rows)
    trainer: Trainer = registry.create("trainer", slot["name"], **slot["params"])
    columns = list(predictions.columns)
    validation = pd.DataFrame(validation_rows(study, index), columns=None if study.folds[index].val else columns)
    classes = list(study.classes) if study.classes is not None else None
    before = study.with_covariates(predictions)
    with at_work("trainer", slot["name"], f"calibrating fold {index}"):
        found = trainer.calibrate(study.with_covariates(validation), before.copy(), study.task, classes)
    if not isinstance(found, pd.DataFrame) or not _only_adds(before, found):
        raise PluginError(
            f"The trainer {slot['name']} changed predictions in calibrate. It may only add columns to the table that "
            "it is given, whose rows stay in their order."
        )
    added = [name for name in found.columns if name not in before.columns]
    return pd.concat([predictions, found[added]], axis=1)


def _only_adds(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    if not (set(before.columns) <= set(after.columns) and after.columns.is_unique):
        return False
    return bool(after[list(before.columns)].equals(before))
