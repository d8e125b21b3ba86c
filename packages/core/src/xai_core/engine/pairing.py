"""Predictions of the same scans by two runs, brought side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..types import Task
from .repeats import repeats_of

if TYPE_CHECKING:
    import pandas as pd

    from .results import RunResults

    Array = np.ndarray[Any, Any]

__all__ = ["Pair", "paired"]

_SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """Two runs and what they predicted of the scans that both tested.

    Attributes:
        runs: A and B.
        task: Of both.
        classes: Of both, the positive class of a binary study last; None for a regression.
        scans: Names of the scans that both tested.
        people: The person [scans] of each.
        repeats: For each run its repeats; of each the test scans of it, in the order of ``scans``.
        notes: What a reader should know.
    """

    runs: tuple[RunResults, RunResults]
    task: Task
    classes: list[str] | None
    scans: list[str]
    people: Array
    repeats: tuple[list[pd.DataFrame], list[pd.DataFrame]]
    notes: list[str]


def paired(first: RunResults, second: RunResults, *, shared: bool = False) -> Pair:
    """Bring the predictions of two runs side by side.

    Args:
        first: Run A.
        second: Run B.
        shared: Compare the scans that both tested, though others were tested by one only.

    Raises:
        InputError: The runs do not predict the same of the same people; the message says what differs.
    """
    if first.folder.resolve() == second.folder.resolve():
        raise InputError(f"{first.folder} and {second.folder} are one and the same run. Give two runs.")
    _check_task(first, second)
    tables = first.predictions(), second.predictions()
    common = sorted(set(tables[0]["scan_id"]) & set(tables[1]["scan_id"]))
    notes = _check_people(tables, common, shared=shared)
    chosen = [table[table["scan_id"].isin(common)] for table in tables]
    _check_targets(chosen, regression=first.task == "regression")
    notes += _images(first, second, common)
    about = chosen[0].drop_duplicates("scan_id").set_index("scan_id")
    return Pair(
        runs=(first, second),
        task=first.task,
        classes=None if first.classes is None else [str(name) for name in first.classes],
        scans=common,
        people=about.loc[common, "subject_id"].astype(str).to_numpy(),
        repeats=(_repeats(chosen[0]), _repeats(chosen[1])),
        notes=notes,
    )


def _repeats(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows.sort_values("scan_id", ignore_index=True) for rows in repeats_of(table)]


def _check_task(first: RunResults, second: RunResults) -> None:
    tasks = [_said(run.task, run.classes) for run in (first, second)]
    if tasks[0] != tasks[1]:
        raise InputError(
            f"The runs predict different things: {first.folder} is {tasks[0]}, {second.folder} is {tasks[1]}. Compare "
            "runs with the same target and the same order of classes."
        )


def _said(task: str, classes: Sequence[str] | None) -> str:
    return "a regression" if classes is None else f"a {task} of {', '.join(map(str, classes))}"


def _check_people(tables: tuple[pd.DataFrame, pd.DataFrame], common: list[str], *, shared: bool) -> list[str]:
    own = [set(table["scan_id"]) for table in tables]
    if own[0] == own[1]:
        return []
    counts = f"A tested {len(own[0])} scans, B {len(own[1])}, and {len(common)} of them are the same"
    if not common:
        raise InputError(f"The runs tested different people: {counts}. They cannot be compared.")
    if not shared:
        only = [sorted(own[i] - own[1 - i]) for i in (0, 1)]
        named = "; ".join(f"only in {run}: {_some(scans)}" for run, scans in zip("AB", only, strict=True) if scans)
        raise InputError(f"The runs tested different people: {counts} ({named}). --shared compares the same ones.")
    return [f"{counts}: only these are compared."]


def _some(scans: Sequence[str]) -> str:
    more = f" and {len(scans) - _SHOWN} more" if len(scans) > _SHOWN else ""
    return ", ".join(scans[:_SHOWN]) + more


def _check_targets(tables: Sequence[pd.DataFrame], *, regression: bool) -> None:
    first, second = (table.drop_duplicates("scan_id").set_index("scan_id") for table in tables)
    second = second.loc[first.index]
    people = first["subject_id"].astype(str) != second["subject_id"].astype(str)
    if regression:
        targets = ~np.isclose(first["target"].astype(float), second["target"].astype(float))
    else:
        targets = (first["target"].astype(str) != second["target"].astype(str)).to_numpy()
    wrong = list(first.index[people.to_numpy() | targets])
    if wrong:
        name = wrong[0]
        raise InputError(
            f"The runs differ in the person or the target of {len(wrong)} scans ({_some(wrong)}): {name} is "
            f"{first.loc[name, 'target']} of {first.loc[name, 'subject_id']} in A, {second.loc[name, 'target']} of "
            f"{second.loc[name, 'subject_id']} in B. Runs of different tables cannot be compared."
        )


def _images(first: RunResults, second: RunResults, common: Sequence[str]) -> list[str]:
    hashes = [run.info.get("hashes") or {} for run in (first, second)]
    other = [scan for scan in common if scan in hashes[0] and hashes[0][scan] != hashes[1].get(scan)]
    if not other:
        return []
    return [f"The images of {len(other)} of {len(common)} scans are not the same files in both runs ({_some(other)})."]
