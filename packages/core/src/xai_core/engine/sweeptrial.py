"""One trial of a sweep: a run folder whose networks have predicted their validation people, and nobody else."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RunError, XaiError
from .controls import check_controls
from .folds import FoldModel, train_fold
from .hooks import Hooks
from .progress import log, log_to
from .runfolder import prepare_folder, run_lock
from .scoring import scores_of
from .skipping import settle_scans
from .stages import save_study
from .study import Study
from .units import Units
from .validation import predict_validation, save_validation, validation_rows

__all__ = ["FoldScore", "run_trial", "trial_config", "validation_scores"]

FoldScore = dict[str, Any]  # {"score": float | None} or {"error": text}


def trial_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration of a trial's run folder: no executor in it, no pages of image quality."""
    kept = {key: value for key, value in config.items() if key != "executor"}
    return {**kept, "output": str(folder.parent), "name": folder.name, "quality": False}


def run_trial(config: dict[str, Any], scans: str, folds: Sequence[int], metric: str) -> dict[int, FoldScore]:
    """Train folds and score their validation people; what is done already is not done again.

    Test people are not predicted. A fold that fails does not stop the others, and no fold's failure is another's:
    what happens in one outer fold must not decide the choice of another.

    Args:
        config: From ``trial_config``, with the trial's run folder.
        scans: Folder with ``scans.json`` and ``skipped.json`` of the sweep.
        folds: Which folds.
        metric: The score.

    Returns:
        For each fold its score, None where it is not defined, or what went wrong.
    """
    path = prepare_folder(config)
    with run_lock(path), log_to(path / "log.txt"):
        for name in ("scans.json", "skipped.json"):
            with suppress(FileNotFoundError):
                shutil.copy(Path(scans, name), path / ".xai" / name)
        units, hooks = Units(path), Hooks()
        units.clear_scratch()
        try:
            study = settle_scans(Study(config, path), skip_bad=False)
            save_study(study, path)
        except XaiError as error:
            return {index: {"error": str(error)} for index in folds}
        found = {index: _fold(study, units, hooks, index, metric) for index in folds}
        if all(_is_trained(path, index) for index in range(len(study.folds))):
            save_validation(study, units)
    return found


def _is_trained(folder: Path, index: int) -> bool:
    return (folder / ".xai" / "validation" / f"fold-{index}.json").is_file()


def _fold(study: Study, units: Units, hooks: Hooks, index: int, metric: str) -> FoldScore:
    try:
        check_controls(study, index)
        train_fold(study, units, hooks, index)
        predict_validation(
            study, units, index, partial(FoldModel.load, study.config, study.folder, index, study.classes)
        )
        return {"score": validation_scores(study, index, validation_rows(study, index), metric)}
    except Exception as error:  # out of memory for one width, say: the other combinations go on
        message = str(error) if isinstance(error, XaiError) else f"{type(error).__name__}: {error}"
        log.warning("fold %d failed: %s", index, message)
        return {"error": message}


def validation_scores(study: Study, index: int, rows: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """Return the score of predictions of a fold's validation people; None where it is not defined.

    Raises:
        RunError: The trainer has no such score.
    """
    import pandas as pd

    scores = scores_of(study, [study.with_covariates(pd.DataFrame(rows))])[0]
    score = scores.get(metric)
    if not isinstance(score, Mapping) or "value" not in score:
        known = [name for name, one in scores.items() if isinstance(one, Mapping) and "value" in one]
        raise RunError(f"fold {index}: {study.config['training']['name']} has no score {metric!r}, only {known}.")
    value = score["value"]
    return float(value) if value is not None and math.isfinite(value) else None
