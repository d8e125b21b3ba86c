"""What was done and what came of it, as texts and rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xai_core.engine.results import ENSEMBLE

from ._docstrings import summary
from ._reading import Notes, read_json
from ._texts import catalogue, counted, listed, plain

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = [
    "NOT_SCORES",
    "between",
    "class_name",
    "components",
    "NONE",
    "described",
    "is_nested",
    "evaluation_rows",
    "metric_rows",
    "number",
    "score_name",
    "who",
]

NONE = "\N{EN DASH}"
NOT_SCORES = ("scan_id", "subject_id", "session_id", "explainer", "fold", "repeat")
"""Columns of an evaluator's table that say what was scored."""
_SLOTS = (
    ("role.data", "dataset", "data"),
    ("role.split", "splitter", "split"),
    ("role.model", "model", "model"),
    ("role.training", "trainer", "training"),
)
_LISTS = (
    ("role.transforms", "transform", "transforms"),
    ("role.explainer", "explainer", "explainers"),
    ("role.evaluator", "evaluator", "evaluators"),
    ("role.analysis", "analysis", "analyses"),
)


def number(value: object, digits: int = 3) -> str:
    """Return a number for reading; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if 0.01 <= abs(value) < 10000 or value == 0 else f"{value:.{digits}g}"


def class_name(value: object, classes: Sequence[str]) -> str:
    """Return the class that a table's cell means: a class called ``01`` comes out of a table as the number 1."""
    text = str(value)
    if text in classes or isinstance(value, str):
        return text
    for name in classes:
        try:
            if float(name) == value:
                return name
        except ValueError:
            continue
    return text


def between(low: object, high: object) -> str:
    """Return the ends of an interval or a range for reading."""
    return plain("score.between", low=number(low), high=number(high))


def who(run: RunResults) -> list[str]:
    """Return sentences on the people, who was left out, and the division, as plain text."""
    info, subjects = run.info, run.subjects()
    people, scans = counted("count.people", subjects["subject_id"].nunique()), counted("count.scans", len(subjects))
    if info.get("classes"):
        classes = [str(name) for name in info["classes"]]
        each = ", ".join(_of_class(subjects, name, classes) for name in classes)
        opening = plain("done.classes", people=people, scans=scans, counts=each)
    else:
        target = subjects["target"].astype(float)
        low, high, mean = (f"{value:.4g}" for value in (target.min(), target.max(), target.mean()))
        opening = plain("done.values", people=people, scans=scans, low=low, high=high, mean=mean)
    return [opening, *_left_out(run), _division(run), *_members(run), *_by_fold(run)]


def _of_class(subjects: pd.DataFrame, name: str, classes: Sequence[str]) -> str:
    """Say how many people are of a class, and where they have several, how many scans."""
    theirs = subjects[subjects["target"].map(lambda value: class_name(value, classes)) == name]
    people = theirs["subject_id"].nunique()
    return f"{name} {people}" if people == len(theirs) else f"{name} {people} ({counted('count.scans', len(theirs))})"


def described(run: RunResults) -> list[str]:
    """Return sentences on the data, the division, the training and the explanation, as plain text."""
    config = run.config
    model, training = config.get("model", {}), config.get("training", {})
    trained = plain("done.trained", model=model.get("name", "?"), trainer=training.get("name", "?"))
    sentences = [*who(run), trained]
    names = [str(slot.get("id", slot.get("name", "?"))) for slot in config.get("explainers") or []]
    said = "done.explained" if run.classes is not None else "done.explained_value"
    return [*sentences, plain(said, explainers=listed(names))] if names else sentences


def _members(run: RunResults) -> list[str]:
    """Say of an ensemble that it is one: the resolved configuration is that of its first member."""
    about = read_json(run.folder / ENSEMBLE, Notes()) or {}  # what is wrong with it is noted where its table is made
    members = about.get("members")
    names = [str(one.get("name")) for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    return [plain("done.ensemble", n=len(names), members=listed(names), first=names[0])] if names else []


def _left_out(run: RunResults) -> list[str]:
    rows = run.left_out()
    if rows.empty:
        return []
    counts = rows["reason"].astype(str).value_counts()
    reasons = [f"{count} {reason}" for reason, count in counts.head(4).items()]
    more = len(rows) - int(counts.head(4).sum())
    reasons += [plain("done.other_reasons", n=more)] if more else []
    return [counted("done.left_out", len(rows), reasons=listed(reasons))]


def _division(run: RunResults) -> str:
    splits = run.splits()
    folds = int(splits["fold"].nunique())
    counts = splits.groupby(["fold", "part"])["subject_id"].nunique()
    parts = []
    for part in ("train", "val", "test"):
        sizes = [int(counts.get((fold, part), 0)) for fold in sorted(splits["fold"].unique())]
        low, high = min(sizes), max(sizes)
        parts.append(plain(f"done.to_{part}", n=low if low == high else plain("done.from_to", low=low, high=high)))
    repeats = int(splits["repeat"].nunique()) if "repeat" in splits.columns else 1
    into = plain("done.once") if folds == 1 else plain("done.into", folds=folds)
    if is_nested(splits):
        into = plain("done.nested", n=repeats, folds=counted("count.folds", folds // repeats))
    elif repeats > 1:
        into = plain("done.repeats", n=repeats, folds=counted("count.folds", folds // repeats))
    how = run.config.get("split", {}).get("name", "?")
    key = "done.divided_folds" if folds > 1 else "done.divided"
    return plain(key, into=into, how=how, parts=listed(parts))


def is_nested(splits: pd.DataFrame) -> bool:
    """Whether repeats differ in their validation people only, as in a nested cross-validation."""
    if "repeat" not in splits.columns or splits["repeat"].nunique() < 2:
        return False
    tests = splits[splits["part"] == "test"].groupby(["repeat", "fold"])["subject_id"].agg(frozenset)
    of_repeats = [frozenset(part) for _, part in tests.groupby(level=0)]
    return len(set(of_repeats)) == 1


def _by_fold(run: RunResults) -> list[str]:
    """Say that a sweep chose other parameters for other folds: those of the configuration are one fold's."""
    of_folds = run.config.get("per_fold") or []
    return [plain("done.per_fold")] if any(of_folds) else []


def components(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each chosen component: role, id, name, summary, parameters as text."""
    rows = [_component(role, kind, config[key]) for role, kind, key in _SLOTS if config.get(key)]
    for role, kind, key in _LISTS:
        slots = config.get("data", {}).get(key) if key == "transforms" else config.get(key)
        rows += [_component(role, kind, slot) for slot in slots or []]
    return rows


def _component(role: str, kind: str, slot: Mapping[str, Any]) -> dict[str, Any]:
    params = [(name, json.dumps(value, ensure_ascii=False)) for name, value in (slot.get("params") or {}).items()]
    return {
        "role": plain(role),
        "name": slot["name"],
        "id": slot.get("id", slot["name"]),
        "summary": summary(kind, slot["name"]),
        "params": params,
    }


def score_name(key: str) -> str:
    """Return the name of a score for reading."""
    for suffix in ("_corrected", "_calibrated"):
        if key.endswith(suffix):
            return plain(f"score.{suffix}", name=score_name(key.removesuffix(suffix)))
    return catalogue().get(f"score.{key}", key.replace("auc_", "AUC ").replace("_", " "))


def metric_rows(metrics: Mapping[str, Any], together: str = "test") -> list[dict[str, Any]]:
    """Return a row for each score: name, value, interval, mean and SD over the folds, and the values of the folds.

    Args:
        metrics: ``folds``, and the scores of all.
        together: What the scores of all are called: ``test``, or ``ensemble`` in those of a held-out cohort.
    """
    rows = []
    for key, score in metrics.get(together, {}).items():
        if not (isinstance(score, Mapping) and "value" in score):
            continue
        low, high = score.get("low"), score.get("high")
        folds = [fold.get(key, {}).get("value") for fold in metrics.get("folds", [])]
        over = metrics.get("across_folds", {}).get(key, {})
        rows.append(
            {
                "key": key,
                "name": score_name(key),
                "value": number(score["value"]) if score["value"] is not None else plain("score.undefined"),
                "interval": between(low, high) if low is not None and high is not None else NONE,
                "folds": [number(value) for value in folds],
                "mean": f"{number(over.get('mean'))} ± {number(over.get('sd'))}"
                if over.get("sd") is not None
                else NONE,
                "mean_interval": between(over["low"], over["high"]) if over.get("low") is not None else NONE,
            }
        )
    return rows


def evaluation_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each explainer and score of an evaluator: n, mean, standard deviation, median, range."""
    if "explainer" not in table:
        return []
    scores = [name for name in table.columns if name not in NOT_SCORES]
    rows = []
    for explainer, part in table.groupby("explainer", sort=True):
        for name in scores:
            values = _numbers(part[name])
            if values is None:
                continue
            rows.append(
                {
                    "explainer": str(explainer),
                    "score": name.replace("_", " "),
                    "n": len(values),
                    "mean": number(float(values.mean())),
                    "sd": number(float(values.std(ddof=1))) if len(values) > 1 else NONE,
                    "median": number(float(values.median())),
                    "range": between(float(values.min()), float(values.max())),
                }
            )
    return rows


def _numbers(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """The numbers of a column of scores, or None where it holds none or something else."""
    try:
        values = column.astype(float).dropna()
    except (TypeError, ValueError):
        return None
    return values if len(values) else None
