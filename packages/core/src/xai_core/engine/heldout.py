"""A cohort that is only ever tested: every fold's network predicts it; its scores stay apart from the test parts'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .ensemblevote import vote
from .folds import FoldModel, predict, rows_identity, training_key
from .progress import log
from .scoring import across_folds, save_metrics, save_tables, scores_of
from .seeding import seeded
from .study import Study
from .tables import tsv
from .units import Units, content_key
from .validation import calibrated
from .versions import slot_identity

__all__ = ["predict_held_out"]

_GROUP = "held-out"
Rows = list[dict[str, Any]]


def predict_held_out(study: Study, units: Units) -> None:
    """Write ``held-out/predictions.tsv``, ``ensemble.tsv``, ``metrics.json`` and ``metrics.tsv``.

    Without held-out people what an earlier state of the study left there is removed.
    """
    if not study.folds[0].held_out:
        units.keep_only(_GROUP, ())
        return
    keys: dict[str, str] = {}
    rows = [_predict(study, units, index, keys) for index in range(len(study.folds))]
    _score(study, units, rows, keys)
    units.keep_only(_GROUP, set(keys.items()))


def _predict(study: Study, units: Units, index: int, keys: dict[str, str]) -> Rows:
    """Return a fold's predictions, made where they are not there, and note the unit's key."""
    fold, name = study.folds[index], f"{_GROUP}/fold-{index}"
    indices = study.part(fold.held_out)
    keys[name] = content_key(
        training=training_key(study, fold), scans=rows_identity(study, index, indices), classes=study.classes
    )
    path = study.folder / ".xai" / _GROUP / f"fold-{index}.json"
    if not units.is_done(name, keys[name]):
        log.info("fold %d: predicting %d held-out scans", index, len(indices))
        with units.make(name, keys[name], f".xai/{_GROUP}") as temporary, seeded(0):
            model = FoldModel.load(study.config, study.folder, index, study.classes)
            text = json.dumps(predict(study, model, indices))
            (temporary / path.name).write_text(text, encoding="utf-8")
    found: Rows = json.loads(path.read_text(encoding="utf-8"))
    return found


def _score(study: Study, units: Units, rows: Sequence[Rows], keys: dict[str, str]) -> None:
    import pandas as pd

    predictions = pd.concat([calibrated(study, index, fold) for index, fold in enumerate(rows)], ignore_index=True)
    described = study.with_covariates(predictions)
    identity, name = slot_identity("trainer", study.config["training"]), f"{_GROUP}/metrics"
    keys[name] = content_key(
        rows=rows, covariates=tsv(described), classes=study.classes, trainer=identity, seed=study.config["seed"]
    )
    if units.is_done(name, keys[name]):
        return
    ensemble = vote(predictions, study.classes)
    with units.make(name, keys[name], _GROUP) as folder:
        for file, table in {"predictions.tsv": predictions, "ensemble.tsv": ensemble}.items():
            (folder / file).write_text(tsv(table), encoding="utf-8", newline="")
        parts = [described[described["fold"] == index] for index in range(len(rows))]
        merged = study.with_covariates(ensemble)
        together, *folds = scores_of(study, [merged, *parts])
        # All folds test the same people here, so nothing is known of an interval over folds.
        save_metrics(
            folder, {"ensemble": together, "folds": folds, "across_folds": across_folds(folds, None)}, "ensemble"
        )
        save_tables(study, folder, [merged])
