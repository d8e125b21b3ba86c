"""Parts of a fold that lack a class: nothing could be learnt, or no AUC be computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from ..types import Fold
from .progress import log
from .scans import several

if TYPE_CHECKING:
    from .study import Study

__all__ = ["check_training_parts", "warn_of_lacking_classes"]


def check_training_parts(study: Study, folds: Sequence[Fold], splitter: str) -> None:
    """Refuse folds whose training part lacks a class, or in a regression has one value only.

    Raises:
        InputError: All such folds, in one message.
    """
    problems = []
    for index, fold in enumerate(folds):
        counts = _counts(study, fold.train)
        if study.classes is None:
            if len(counts) == 1:
                problems.append(f"fold {index}: the target is {next(iter(counts))} for everybody in the training part")
            continue
        lacking = [name for name in study.classes if not counts[name]]
        if lacking:
            there = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
            problems.append(f"fold {index}: nobody in the training part is {' or '.join(lacking)}; there is {there}")
    if problems:
        raise InputError(
            several(problems, "folds cannot be trained")
            + f". The splitter {splitter} made them so: divide by class (stratified-kfold), or make fewer folds."
        )


def warn_of_lacking_classes(study: Study) -> None:
    """Tell of validation and test parts without one of the classes: a site of patients only, say, is no fault."""
    if study.classes is None:
        return
    lacking: dict[str, list[str]] = {"validation": [], "test": []}
    for index, fold in enumerate(study.folds):
        for part, people in (("validation", fold.val), ("test", fold.test)):
            if people and set(study.classes) - set(_counts(study, people)):
                lacking[part].append(str(index))
    for part, indices in lacking.items():
        if indices:
            log.warning(
                "the %s part lacks a class in fold %s: its AUC and balanced accuracy are not defined there",
                part, ", ".join(indices),
            )  # fmt: skip


def _counts(study: Study, people: Sequence[str]) -> Counter[object]:
    return Counter(study.subjects[index]["target"] for index in study.part(people))
