"""What is refused of the folds that a splitter made: people in two parts, parts without a class."""

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

__all__ = ["check_fold", "check_held_out", "check_tested_once", "check_training_parts", "warn_of_lacking_classes"]


def check_fold(index: int, fold: Fold, people: set[str], splitter: str) -> None:
    """Refuse a fold with somebody in two parts, somebody unknown, or nobody to train on or to test.

    Raises:
        InputError: It is so; the message names fold, splitter and people.
    """
    parts = {"train": set(fold.train), "validation": set(fold.val), "test": set(fold.test)}
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        both = sorted(parts[first] & parts[second])
        if both:
            problems = [f"{person} is in the {first} part and in the {second} part" for person in both]
            raise InputError(
                several(problems, "people are in two parts") + f" (fold {index}). The splitter {splitter} leaks."
            )
    unknown = sorted(map(str, set().union(*parts.values()) - people))
    if unknown:
        raise InputError(
            f"The splitter {splitter} names people whom the study does not have: {', '.join(unknown[:5])}."
        )
    for part in ("train", "test"):
        if not parts[part]:
            raise InputError(f"Fold {index} of the splitter {splitter} has nobody in the {part} part.")


def check_held_out(folds: Sequence[Fold], people: set[str], splitter: str) -> None:
    """Refuse held-out people who are unknown, in another part of any fold, or not the same in every fold.

    Raises:
        InputError: It is so.
    """
    held_out = set(folds[0].held_out)
    unknown = sorted(map(str, held_out - people))
    if unknown:
        raise InputError(f"The splitter {splitter} holds out people whom the study does not have: {unknown[0]}.")
    for index, fold in enumerate(folds):
        if set(fold.held_out) != held_out:
            raise InputError(f"The splitter {splitter} holds out other people in fold {index} than in fold 0.")
        both = sorted(held_out & {*fold.train, *fold.val, *fold.test})
        if both:
            raise InputError(
                f"The splitter {splitter} leaks: {both[0]} is held out, but takes part in fold {index} "
                f"({len(both)} such people)."
            )


def check_tested_once(folds: Sequence[Fold], splitter: str) -> None:
    """Refuse two tests of a person in one repetition: its scores would count two independent people.

    Raises:
        InputError: It is so.
    """
    first: dict[tuple[int, str], int] = {}
    for index, fold in enumerate(folds):
        for person in fold.test:
            if first.setdefault((fold.repeat, person), index) != index:
                raise InputError(
                    f"The splitter {splitter} tests {person} in fold {first[fold.repeat, person]} and in fold {index}, "
                    f"both of repeat {fold.repeat}: the person would count twice in its scores. A splitter that "
                    "divides the people several times gives each division its own Fold.repeat."
                )


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
