"""Is one run better than another? Everything is paired: both predicted the same people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..schemas import did_you_mean
from ..statistics import delong
from ..statistics.counts import mcnemar
from ..statistics.overfolds import corrected_t_test
from ..statistics.weighted import person_weights
from .pairing import Pair, paired
from .pairscores import score_names, weighted_scores
from .verdicts import verdict

if TYPE_CHECKING:
    import pandas as pd

    from .results import RunResults

    Array = np.ndarray[Any, Any]

__all__ = ["compare"]

_SEED = 20031
_OTHER_SPLITS = (
    "The runs divide the people differently, so a difference may be one of the divisions: there is no test over folds. "
    "Give both runs the same split and seed to compare models."
)


def compare(
    first: RunResults, second: RunResults, metrics: Sequence[str] = (), *, shared: bool = False, resamples: int = 2000
) -> dict[str, Any]:
    """Compare the test predictions of two runs.

    * Every score: ``A``, ``B``, ``difference`` (B less A) and the 95 % percentile interval of it over resampled people,
      the same ones in both runs. In a repeated cross-validation a score is the mean over the repeats.
    * ``auc`` of two classes: ``delong``, the paired test of DeLong et al. 1988 (a person's scans together, Obuchowski
      1997). ``accuracy``: ``mcnemar``, exact; only where everybody has one scan, which each run tested once.
    * ``over_folds``, where both runs have the same divisions: the corrected resampled t-test (Nadeau & Bengio 2003),
      whose variance allows for the overlap of the folds' training parts. The other tests take the networks as they are
      and ask about other people; this one asks about other training parts, too.

    Args:
        first: Run A.
        second: Run B.
        metrics: Scores to compare; default: all.
        shared: Compare the scans that both tested, though others were tested by one only.
        resamples: Of the bootstrap.

    Returns:
        JSON-serialisable: ``scans``, ``people``, ``same_splits``, ``notes`` and ``metrics``, a mapping for each score;
        ``verdict`` says it in words. What is not defined is None.

    Raises:
        InputError: The runs cannot be compared, or there is no such score.
    """
    pair = paired(first, second, shared=shared)
    names = _chosen(metrics, score_names(pair.classes))
    ratio = _same_splits(first, second)
    people, index = np.unique(pair.people), dict(zip(pair.scans, pair.people, strict=True))
    weights = np.vstack([np.ones(len(people)), person_weights(people, resamples, _SEED)])
    a, b = (_scores(pair, repeats, index, people, weights) for repeats in pair.repeats)
    found = {name: _difference(a[name], b[name]) for name in names}
    if "auc" in found:
        found["auc"]["delong"] = _delong(pair)
    if "accuracy" in found:
        found["accuracy"]["mcnemar"] = _mcnemar(pair)
    for name in names:
        found[name]["over_folds"] = None if ratio is None else _over_folds(pair, name, ratio)
        found[name]["verdict"] = verdict(name, found[name])
    return {
        "A": str(first.folder), "B": str(second.folder), "scans": len(pair.scans), "people": len(people),
        "same_splits": ratio is not None, "notes": [*pair.notes, *([_OTHER_SPLITS] if ratio is None else [])],
        "metrics": found,
    }  # fmt: skip


def _chosen(metrics: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in metrics:
        if name not in known:
            raise InputError(
                f"There is no score {name!r} to compare.{did_you_mean(name, known)} Scores: {', '.join(known)}."
            )
    return [name for name in known if not metrics or name in metrics]


def _same_splits(first: RunResults, second: RunResults) -> float | None:
    """The folds' mean n_test / n_train, people, where both runs have the same divisions; else None."""
    tables = [run.splits() for run in (first, second)]
    parts = [{(r["fold"], r["part"], r["subject_id"]) for r in table.to_dict("records")} for table in tables]
    if parts[0] != parts[1]:
        return None
    counts = tables[0].groupby(["fold", "part"])["subject_id"].nunique().unstack(fill_value=0)
    return fmean(counts["test"] / counts["train"])


def _scores(
    pair: Pair, repeats: Sequence[pd.DataFrame], person: dict[str, str], people: Array, weights: Array
) -> dict[str, Array]:
    """Each score [1 + B], the mean over the repeats; the first is that of everybody."""
    found = []
    for rows in repeats:
        columns = np.searchsorted(people, [person[scan] for scan in rows["scan_id"]])
        found.append(weighted_scores(rows, pair.classes, weights[:, columns]))
    return {name: np.mean([scores[name] for scores in found], axis=0) for name in found[0]}


def _difference(a: Array, b: Array) -> dict[str, Any]:
    resampled = (b - a)[1:]
    defined = resampled[np.isfinite(resampled)]
    low = high = None
    if np.isfinite(b[0] - a[0]) and len(defined) and 2 * len(defined) >= len(resampled):
        low, high = map(float, np.percentile(defined, [2.5, 97.5]))
    value = {"A": _number(a[0]), "B": _number(b[0]), "difference": _number(b[0] - a[0])}
    return {**value, "low": low, "high": high}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _delong(pair: Pair) -> dict[str, float | None] | None:
    """None with more than two classes, with one class only, or where repeats do not test the same people."""
    if pair.classes is None or len(pair.classes) != 2:
        return None
    positive_class = pair.classes[1]
    complete = all(list(rows["scan_id"]) == pair.scans for repeats in pair.repeats for rows in repeats)
    positive = (pair.repeats[0][0]["target"].astype(str) == positive_class).to_numpy()
    if not complete or positive.all() or not positive.any():
        return None
    means = [
        delong.components(
            positive, np.stack([rows[f"probability_{positive_class}"].to_numpy(float) for rows in repeats])
        )
        for repeats in pair.repeats
    ]
    return delong.paired_test(delong.from_components(positive, np.stack([m.mean(axis=0) for m in means]), pair.people))


def _mcnemar(pair: Pair) -> dict[str, float | int] | None:
    once = all(len(repeats) == 1 for repeats in pair.repeats)
    if not once or len(np.unique(pair.people)) < len(pair.scans):
        return None
    right = [(rows["target"].astype(str) == rows["prediction"].astype(str)).to_numpy() for (rows,) in pair.repeats]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return {"only_A_right": only[0], "only_B_right": only[1], "p": mcnemar(*only)}


def _over_folds(pair: Pair, name: str, ratio: float) -> dict[str, float | int | None] | None:
    """None with a single fold, or where a fold does not define the score."""
    values = [_of_folds(pair, repeats, name) for repeats in pair.repeats]
    differences = [b - a for a, b in zip(*values, strict=True)]
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    return corrected_t_test(differences, ratio)


def _of_folds(pair: Pair, repeats: Sequence[pd.DataFrame], name: str) -> list[float]:
    return [
        float(weighted_scores(fold, pair.classes, np.ones((1, len(fold))))[name][0])
        for rows in repeats
        for _, fold in rows.groupby("fold", sort=True)
    ]
