"""What the networks said of each test scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._summary import class_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decision", "all_calibrated", "decimals", "decisions"]


@dataclass(frozen=True)
class Decision:
    """One test scan as one fold's network sees it.

    Attributes:
        scan: ``sub-01`` or ``sub-01_ses-02``.
        fold: Whose network.
        repeat: Of a repeated cross-validation; 0 otherwise.
        subject: The person.
        session: The visit, or None.
        true: Class, or value of a regression.
        predicted: The same.
        error: Predicted less true value; None for a classification.
        corrected: The same after the correction for age, where the run has one.
        probabilities: Of each class, as the network says; empty for a regression.
        calibrated: The same after calibration; empty where the run has none.
        unsure: Whether the probability of the predicted class (calibrated where it is known) is below the limit.
        seen: Whether the network was trained or validated on the person.
    """

    scan: str
    fold: int
    repeat: int
    subject: str
    session: str | None
    true: str | float
    predicted: str | float
    error: float | None
    corrected: float | None
    probabilities: Mapping[str, float]
    calibrated: Mapping[str, float]
    unsure: bool
    seen: bool

    @property
    def key(self) -> tuple[str, int]:
        """Scan and fold: in a repeated cross-validation several networks test a scan."""
        return self.scan, self.fold

    @property
    def correct(self) -> bool | None:
        """Whether the class is right; None for a regression."""
        return None if self.error is not None else self.true == self.predicted

    @property
    def best(self) -> Mapping[str, float]:
        """Probabilities after calibration where there are any."""
        return self.calibrated or self.probabilities

    @property
    def certainty(self) -> float | None:
        """Probability of the predicted class; None where it is not known."""
        return self.best.get(str(self.predicted))


def decisions(table: pd.DataFrame, classes: Sequence[str] | None, unsure: float) -> list[Decision]:
    """Return the rows of ``predictions.tsv``, by scan and fold.

    Args:
        table: ``RunResults.predictions()``.
        classes: Of the run; None: a regression.
        unsure: Probability of the predicted class below which a decision is called unsure, in [0, 1].
    """
    found = [_decision(row, classes, unsure) for row in table.to_dict("records")]
    return sorted(found, key=lambda one: one.key)


def all_calibrated(tested: Sequence[Decision]) -> bool:
    """Whether calibrated probabilities stand for all decisions that have any.

    Where the calibration of a fold failed, its probabilities and calibrated ones of other folds are not one scale.
    """
    known = [one for one in tested if one.probabilities or one.calibrated]
    return bool(known) and all(one.calibrated for one in known)


def decimals(tested: Sequence[Decision]) -> int:
    """Return how many decimals the values of a regression need: two, more where all errors are below 1.

    The largest error has three figures then, so that a target such as 0.00003 is not shown as 0.00.
    """
    errors = [abs(one.error) for one in tested if one.error is not None and math.isfinite(one.error)]
    most = max(errors, default=0.0)
    return 2 if most >= 1 or most == 0 else min(2 - math.floor(math.log10(most)), 15)


def _decision(row: Mapping[Any, Any], classes: Sequence[str] | None, unsure: float) -> Decision:
    error = None if classes is not None else float(row["prediction"]) - float(row["target"])
    probabilities = _values(row, "probability_", classes or ())
    calibrated = _values(row, "calibrated_", classes or ())
    predicted = float(row["prediction"]) if classes is None else class_name(row["prediction"], classes)
    certainty = (calibrated or probabilities).get(str(predicted))
    return Decision(
        scan=str(row["scan_id"]),
        fold=int(row["fold"]),
        repeat=int(row.get("repeat", 0)),
        subject=str(row["subject_id"]),
        session=_text(row.get("session_id")),
        true=float(row["target"]) if classes is None else class_name(row["target"], classes),
        predicted=predicted,
        error=error,
        corrected=_number(row.get("gap_corrected")),
        probabilities=probabilities,
        calibrated=calibrated,
        unsure=certainty is not None and certainty < unsure,
        seen=str(row.get("seen_in_training", "")).casefold() in ("true", "1"),
    )


def _values(row: Mapping[Any, Any], prefix: str, classes: Sequence[str]) -> dict[str, float]:
    """Probabilities of all classes, or none: some of them would not sum to one."""
    found = {name: _number(row.get(f"{prefix}{name}")) for name in classes}
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == len(found) else {}


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str | bool):
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value)
