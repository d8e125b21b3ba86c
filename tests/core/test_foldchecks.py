"""A training part without one of the classes is refused, a test part without one is told of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from xai_core import Fold, InputError
from xai_core.engine.foldchecks import check_training_parts, warn_of_lacking_classes


def study(targets: Sequence[Any], folds: Sequence[Fold] = (), classes: Sequence[str] | None = ("CN", "AD")) -> Any:
    """People p0, p1, ... with these targets, as far as the checks look at a study."""
    return SimpleNamespace(
        classes=classes,
        folds=folds,
        subjects=[{"target": target} for target in targets],
        part=lambda people: [int(person[1:]) for person in people],
    )


def fold(train: str, val: str, test: str) -> Fold:
    return Fold(*(tuple(f"p{n}" for n in part.split()) for part in (train, val, test)))


TARGETS = ["CN", "CN", "CN", "AD", "AD", "AD"]


def test_all_folds_that_cannot_be_trained_are_listed() -> None:
    folds = [fold("0 1", "2 3", "4 5"), fold("0 3", "1 4", "2 5"), fold("4 5", "3", "0 1 2")]
    with pytest.raises(InputError) as caught:
        check_training_parts(study(TARGETS), folds, "given")
    text = str(caught.value)
    assert text.startswith("2 folds cannot be trained:\n")
    assert "fold 0: nobody in the training part is AD; there is CN (2)" in text
    assert "fold 2: nobody in the training part is CN; there is AD (2)" in text
    assert "The splitter given" in text
    check_training_parts(study(TARGETS), folds[1:2], "given")


def test_regression_needs_two_values() -> None:
    people = study([60.0, 60.0, 61.0, 70.0], classes=None)
    check_training_parts(people, [fold("0 2", "1", "3")], "given")
    with pytest.raises(InputError, match=r"fold 0: the target is 60\.0 for everybody in the training part"):
        check_training_parts(people, [fold("0 1", "2", "3")], "given")


def test_test_part_without_a_class_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folds = [fold("0 3", "1 4", "5"), fold("0 3", "1", "2 5"), fold("0 3", "", "2")]
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    warn_of_lacking_classes(study(TARGETS, folds))
    assert list(dict.fromkeys(record.getMessage().partition(":")[0] for record in caplog.records)) == [
        "the validation part lacks a class in fold 1",
        "the test part lacks a class in fold 0, 2",
    ]
    caplog.clear()
    warn_of_lacking_classes(study([1.0] * 6, folds, classes=None))
    warn_of_lacking_classes(study(TARGETS, [fold("0 3", "1 4", "2 5")]))
    assert not caplog.records
