"""What was done and what came of it, as texts and rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xai_core import registry

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = [
    "class_name",
    "components",
    "NONE",
    "described",
    "evaluation_rows",
    "metric_rows",
    "number",
    "plural",
    "score_name",
]

NONE = "\N{EN DASH}"
_SLOTS = (
    ("Data", "dataset", "data"),
    ("Split", "splitter", "split"),
    ("Model", "model", "model"),
    ("Training", "trainer", "training"),
)
_LISTS = (
    ("Preprocessing", "transform", "transforms"),
    ("Explainer", "explainer", "explainers"),
    ("Evaluator", "evaluator", "evaluators"),
    ("Analysis", "analysis", "analyses"),
)
_NAMES = {
    "auc": "AUC", "f1": "F1", "mcc": "Matthews correlation", "mae": "mean absolute error", "r": "Pearson's r",
    "rmse": "root mean squared error", "r2": "R²", "auc_delong": "AUC (DeLong interval)", "brier": "Brier score",
    "ece": "expected calibration error", "gap": "mean gap", "gap_sd": "SD of the gap", "gap_r": "r of gap and truth",
}  # fmt: skip


def plural(count: int, one: str, many: str) -> str:
    """Return ``1 person`` or ``3 people``."""
    return f"{count} {one if count == 1 else many}"


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


def described(run: RunResults) -> list[str]:
    """Return sentences on the data, the division, the training and the explanation."""
    config, info, subjects = run.config, run.info, run.subjects()
    people = int(subjects["subject_id"].nunique())
    opening = f"The study has {plural(people, 'person', 'people')} with {plural(len(subjects), 'scan', 'scans')}"
    if info.get("classes"):
        classes = [str(name) for name in info["classes"]]
        counts = subjects["target"].map(lambda value: class_name(value, classes)).value_counts()
        opening += ": " + ", ".join(f"{name} {int(counts.get(name, 0))}" for name in classes)
    else:
        target = subjects["target"].astype(float)
        opening += f", whose target goes from {target.min():.4g} to {target.max():.4g} (mean {target.mean():.4g})"
    sentences = [f"{opening}.", *_left_out(run), _division(run)]
    model, training = config.get("model", {}), config.get("training", {})
    sentences.append(
        f"The network {model.get('name', '?')} was trained by the trainer {training.get('name', '?')}; test people "
        "were seen by neither training nor the choice of the weights."
    )
    names = [slot.get("id", slot.get("name", "?")) for slot in config.get("explainers") or []]
    if names:
        sentences.append(f"The decision on each test scan was explained by {_listed(names)}.")
    return sentences


def _left_out(run: RunResults) -> list[str]:
    rows = run.left_out()
    if rows.empty:
        return []
    counts = rows["reason"].astype(str).value_counts()
    reasons = [f"{count} {reason}" for reason, count in counts.head(4).items()]
    more = len(rows) - int(counts.head(4).sum())
    reasons += [f"{more} for other reasons"] if more else []
    what = plural(len(rows), "scan or person of the sources is", "scans or people of the sources are")
    return [f"{what} left out ({_listed(reasons)}; left-out.tsv names them)."]


def _division(run: RunResults) -> str:
    splits = run.splits()
    folds = int(splits["fold"].nunique())
    how = run.config.get("split", {}).get("name", "?")
    counts = splits.groupby(["fold", "part"])["subject_id"].nunique()
    parts = []
    for part, word in (("train", "train"), ("val", "validate"), ("test", "test")):
        sizes = [int(counts.get((fold, part), 0)) for fold in sorted(splits["fold"].unique())]
        low, high = min(sizes), max(sizes)
        parts.append(f"{low if low == high else f'{low} to {high}'} to {word}")
    repeats = int(splits["repeat"].nunique()) if "repeat" in splits.columns else 1
    into = "once" if folds == 1 else f"into {folds} folds"
    if repeats > 1:
        into = f"{repeats} times into {plural(folds // repeats, 'fold', 'folds')}"
    return f"People were divided {into} by {how} ({_listed(parts)}); no person is in two parts{_of_a(folds)}."


def _of_a(folds: int) -> str:
    return " of a fold" if folds > 1 else ""


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def components(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each chosen component: role, id, name, summary, parameters as text."""
    rows = [_component(role, kind, config[key]) for role, kind, key in _SLOTS if config.get(key)]
    for role, kind, key in _LISTS:
        slots = config.get("data", {}).get(key) if key == "transforms" else config.get(key)
        rows += [_component(role, kind, slot) for slot in slots or []]
    return rows


def _component(role: str, kind: str, slot: Mapping[str, Any]) -> dict[str, Any]:
    try:
        summary = (registry.get(kind, slot["name"]).__doc__ or "").strip().split("\n")[0]
    except Exception:  # the plugin may no longer be installed where the report is written anew
        summary = ""
    params = [(name, json.dumps(value, ensure_ascii=False)) for name, value in (slot.get("params") or {}).items()]
    return {
        "role": role,
        "name": slot["name"],
        "id": slot.get("id", slot["name"]),
        "summary": summary,
        "params": params,
    }


def score_name(key: str) -> str:
    """Return the name of a score for reading."""
    for suffix in ("_corrected", "_calibrated"):
        if key.endswith(suffix):
            return f"{score_name(key.removesuffix(suffix))}, {suffix[1:]}"
    return _NAMES.get(key, key.replace("auc_", "AUC ").replace("_", " "))


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
                "value": number(score["value"]) if score["value"] is not None else "not defined",
                "interval": f"{number(low)} to {number(high)}" if low is not None and high is not None else NONE,
                "folds": [number(value) for value in folds],
                "mean": f"{number(over.get('mean'))} ± {number(over.get('sd'))}"
                if over.get("sd") is not None
                else NONE,
                "mean_interval": f"{number(over['low'])} to {number(over['high'])}"
                if over.get("low") is not None
                else NONE,
            }
        )
    return rows


def evaluation_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each explainer and score of an evaluator: n, mean, standard deviation, median, range."""
    if "explainer" not in table:
        return []
    scores = [name for name in table.columns if name not in ("scan_id", "explainer", "fold", "subject_id")]
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
                    "range": f"{number(float(values.min()))} to {number(float(values.max()))}",
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
