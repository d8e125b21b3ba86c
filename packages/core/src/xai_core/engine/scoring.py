"""Scores of what the folds predicted: of all test people, of each fold, over the folds, and the tables beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import PluginError
from ..statistics.overfolds import across
from .calls import at_work
from .repeats import averaged, is_repeated, numbered, repeats_of
from .seeding import unit_seed
from .tables import predictions_path, tsv
from .units import Units, content_key, write_text
from .validation import calibrated, save_validation
from .versions import slot_identity

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ..interfaces import Trainer
    from .facts import StudyFacts
    from .study import Study

__all__ = ["across_folds", "finish_training", "overlap", "save_metrics", "save_tables", "scores_of"]

Scores = Mapping[str, Any]


def finish_training(study: Study, units: Units) -> None:
    """Write predictions of test and validation people, ``metrics.json``, ``metrics.tsv`` and the trainer's tables."""
    import pandas as pd

    save_validation(study, units)
    indices = range(len(study.folds))
    rows = [json.loads(predictions_path(study.folder, i).read_text(encoding="utf-8")) for i in indices]
    parts = [calibrated(study, index, found) for index, found in enumerate(rows)]
    predictions = numbered(study.folds, pd.concat(parts, ignore_index=True))
    write_text(study.folder / "predictions.tsv", tsv(predictions))
    described = study.with_covariates(predictions)
    key = content_key(
        rows=rows, table=tsv(described), classes=study.classes, seed=study.config["seed"],
        trainer=slot_identity("trainer", study.config["training"]), overlap=overlap(study),
    )  # fmt: skip
    if units.is_done("metrics", key):
        return
    with units.make("metrics", key, ".") as temporary:
        together = repeats_of(described)
        of_folds = [described[described["fold"] == index] for index in indices]
        scores = scores_of(study, [*together, *of_folds])
        repeats, folds = scores[: len(together)], scores[len(together) :]
        several = {"repeats": repeats} if is_repeated(study.folds) else {}
        metrics = {"test": averaged(repeats), "folds": folds, **several}
        save_metrics(temporary, {**metrics, "across_folds": across_folds(folds, overlap(study))}, "all")
        save_tables(study, temporary, together)


def overlap(study: Study) -> float:
    """Return n_test / n_train of the folds, people: how much the training parts of a cross-validation share."""
    return fmean(len(fold.test) / len(fold.train) for fold in study.folds)


def across_folds(folds: Sequence[Scores], ratio: float | None) -> dict[str, Any]:
    """Return mean, standard deviation and interval over the folds of every score that each of them defines.

    Args:
        folds: What a trainer's ``metrics`` returned for each fold.
        ratio: n_test / n_train; None where all folds test the same people.
    """
    names = [name for name, score in (folds[0] if folds else {}).items() if _is_score(score)]
    found: dict[str, Any] = {}
    for name in names:
        values = [fold[name]["value"] if _is_score(fold.get(name)) else None for fold in folds]
        defined = [float(value) for value in values if value is not None]
        found[name] = across(defined, ratio if len(defined) == len(folds) else None)
    return found


def _is_score(score: object) -> bool:
    return isinstance(score, Mapping) and "value" in score


def scores_of(study: StudyFacts, parts: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the trainer's metrics of each table of predictions, which hold the covariates."""
    trainer, classes, seed = _trainer(study)
    with at_work("trainer", study.config["training"]["name"], "computing metrics"):
        return [trainer.metrics(part.reset_index(drop=True), study.task, classes, seed) for part in parts]


def _trainer(study: StudyFacts) -> tuple[Trainer, list[str] | None, int]:
    slot = study.config["training"]
    trainer: Trainer = registry.create("trainer", slot["name"], **slot["params"])
    classes = list(study.classes) if study.classes is not None else None
    return trainer, classes, unit_seed(study.config["seed"], "metrics")


def save_tables(study: StudyFacts, folder: Path, together: Sequence[pd.DataFrame]) -> None:
    """Write the trainer's tables, ``roc.tsv`` and the like; with several repeats their column ``repeat`` comes first.

    Args:
        study: The study.
        folder: Where to write them.
        together: Predictions with covariates, of each repeat.

    Raises:
        PluginError: The trainer gave something else than tables, or one the name of which is no file's.
    """
    import pandas as pd

    trainer, classes, seed = _trainer(study)
    name, tables = study.config["training"]["name"], {}
    with at_work("trainer", name, "computing tables of scores"):
        found = [trainer.tables(part.reset_index(drop=True), study.task, classes, seed) for part in together]
    for title in dict.fromkeys(title for tables_of in found for title in tables_of):
        parts = [tables_of[title] for tables_of in found if title in tables_of]
        plain = title.replace("-", "").isalnum() and title not in ("metrics", "predictions", "subjects", "splits")
        if not (plain and all(isinstance(part, pd.DataFrame) for part in parts)):
            raise PluginError(
                f"The trainer {name} returned {title!r} from tables: it must be a DataFrame, and no other's file."
            )
        if len(found) > 1:
            parts = [part.assign(repeat=r)[["repeat", *part.columns]] for r, part in enumerate(parts)]
        tables[title] = pd.concat(parts, ignore_index=True)
    for title, table in tables.items():
        (folder / f"{title}.tsv").write_text(tsv(table), encoding="utf-8", newline="")


def save_metrics(folder: Path, metrics: Mapping[str, Any], label: str) -> None:
    """Write ``metrics.json`` and ``metrics.tsv``: all together (called ``label``), each fold, mean and SD of the folds.

    Args:
        folder: Where to write them.
        metrics: ``test`` or ``ensemble``, ``folds``, ``across_folds``, perhaps ``repeats``.
        label: What the column ``fold`` holds for the scores of all together.
    """
    import pandas as pd

    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    together = metrics["test" if "test" in metrics else "ensemble"]
    rows = _metric_rows([(label, together), *((str(index), fold) for index, fold in enumerate(metrics["folds"]))])
    for name, score in metrics["across_folds"].items():
        rows.append(
            {"fold": "mean", "metric": name, "value": score["mean"], "low": score["low"], "high": score["high"]}
        )
        rows.append({"fold": "sd", "metric": name, "value": score["sd"], "low": None, "high": None})
    table = pd.DataFrame(rows, columns=["fold", "metric", "value", "low", "high"])
    (folder / "metrics.tsv").write_text(tsv(table), encoding="utf-8", newline="")


def _metric_rows(parts: Sequence[tuple[str, Scores]]) -> list[dict[str, Any]]:
    return [
        {"fold": part, "metric": name, "value": score["value"], "low": score.get("low"), "high": score.get("high")}
        for part, scores in parts
        for name, score in scores.items()
        if _is_score(score)
    ]
