"""The choice: for each outer fold the combination with the best validation score of that fold, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ..errors import RunError
from ..types import Fold
from .progress import log
from .sweeptrial import FoldScore

__all__ = ["Choice", "Trial", "best_single", "choose", "outer_folds"]


@dataclass
class Trial:
    """A combination and what came of it.

    Attributes:
        number: Its number, and the name of its folder.
        values: The combination.
        folds: Indices of the folds that it is tried in.
        results: What came of each fold.
    """

    number: int
    values: dict[str, Any]
    folds: tuple[int, ...]
    results: dict[int, FoldScore] = field(default_factory=dict)

    def score(self, group: Sequence[int]) -> float | None:
        """Return the mean score over the inner folds of an outer fold; None where one failed or is not defined."""
        found = [self.results.get(index, {}).get("score") for index in group]
        return None if None in found else fmean(float(score) for score in found if score is not None)


@dataclass(frozen=True)
class Choice:
    """What an outer fold has chosen.

    Attributes:
        outer: Number of the outer fold.
        folds: Indices of its folds, one for each inner division.
        trial: Number of the chosen trial.
        values: Its combination.
        score: Mean validation score of ``folds``.
        tried: How many trials have a score here.
        ties: How many of them have this same score; the first is chosen.
    """

    outer: int
    folds: tuple[int, ...]
    trial: int
    values: Mapping[str, Any]
    score: float
    tried: int
    ties: int


def outer_folds(folds: Sequence[Fold]) -> list[tuple[int, ...]]:
    """Return the indices of the folds that test the same people: inner divisions of one outer fold."""
    groups: dict[frozenset[str], list[int]] = {}
    for index, fold in enumerate(folds):
        groups.setdefault(frozenset(fold.test), []).append(index)
    return [tuple(group) for group in groups.values()]


def choose(trials: Sequence[Trial], groups: Sequence[tuple[int, ...]], metric: str, sign: int) -> list[Choice]:
    """Choose for each outer fold on its own.

    Args:
        trials: What was tried.
        groups: Indices of each outer fold's folds.
        metric: Name of the score, for messages.
        sign: 1 where a greater score is better, else -1.

    Raises:
        RunError: In an outer fold no trial has a score; the message says what went wrong there.
    """
    choices = []
    problems = []
    for outer, group in enumerate(groups):
        scored = [(trial, score) for trial in trials if (score := trial.score(group)) is not None]
        if not scored:
            problems.append(_nothing(outer, group, trials, metric))
            continue
        best, score = max(scored, key=lambda pair: sign * pair[1])  # the first of equal ones
        ties = sum(other == score for _, other in scored)
        choices.append(Choice(outer, group, best.number, best.values, score, len(scored), ties))
    if problems:
        raise RunError("No combination can be chosen:\n  " + "\n  ".join(problems))
    _tell_ties(choices, metric)
    return choices


def _nothing(outer: int, group: Sequence[int], trials: Sequence[Trial], metric: str) -> str:
    results = [trial.results[index] for trial in trials for index in group if index in trial.results]
    errors = list(dict.fromkeys(result["error"] for result in results if "error" in result))
    undefined = sum("error" not in result and result["score"] is None for result in results)
    reasons = [f"failed: {error}" for error in errors[:3]]
    if len(errors) > 3:
        reasons.append(f"and {len(errors) - 3} other errors, see sweep.tsv")
    if undefined:
        reasons.append(f"{metric} of the validation people is not defined ({undefined} times)")
    return f"outer fold {outer}: {'; '.join(reasons) or 'nothing was tried'}"


def _tell_ties(choices: Sequence[Choice], metric: str) -> None:
    tied = [choice for choice in choices if choice.ties > 1]
    if tied:
        log.warning(
            "several combinations have the best %s in outer fold %s; the first of them is chosen. Small validation "
            "parts do this: nested-kfold has larger ones",
            metric, ", ".join(f"{choice.outer} ({choice.ties} of {choice.tried})" for choice in tied),
        )  # fmt: skip


def best_single(trials: Sequence[Trial], groups: Sequence[tuple[int, ...]], sign: int) -> dict[str, Any] | None:
    """Return the combination with the best mean validation score of all outer folds; None where none has them all."""
    found = []
    for trial in trials:
        scores = [score for group in groups if (score := trial.score(group)) is not None]
        if len(scores) == len(groups):
            found.append((trial, fmean(scores)))
    if not found:
        return None
    best, score = max(found, key=lambda pair: sign * pair[1])
    return {"trial": best.number, "parameters": dict(best.values), "validation": score}
