"""Which scans of a run belong to which group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_core import InputError
from xai_core.schemas import did_you_mean

from ._hints import target_hint
from ._people import tested_people

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import MapRecord, RunResults

__all__ = ["Groups", "Scan", "chosen_explainers", "grouped", "label_of", "members", "ordered_labels"]

_MOST = 20
# Scan and fold: in a repeated cross-validation several networks test a scan.
Scan = tuple[str, int]


@dataclass(frozen=True)
class Groups:
    """Test scans by group.

    Attributes:
        scans: Scan ids and folds by group, in the order of the table; a group may be empty.
        without: Scan ids whose group is not known.
        wrong: How many predictions are left out because they were not predicted correctly.
    """

    scans: dict[str, list[Scan]]
    without: list[str]
    wrong: int


def grouped(run: RunResults, by: str | None, *, only_correct: bool) -> Groups:
    """Divide the test scans of a run by a column of its predictions or its subjects; None: one group, ``all``.

    Raises:
        InputError: The column does not exist, is empty or has too many values, or nobody is left.
    """
    table = tested_people(run)
    if only_correct and run.task != "classification":
        raise InputError(f"{run.folder} is a regression: nobody is predicted correctly or not. Set only: all.")
    labels = ["all"] * len(table) if by is None else _labels(table, by, run)
    right = (table["target"] == table["prediction"]).tolist() if only_correct else [True] * len(table)
    scans: dict[str, list[Scan]] = {name: [] for name in ordered_labels(labels, by, run.classes)}
    without, wrong = [], 0
    folds = table["fold"].astype(int).tolist()
    for scan, fold, label, kept in zip(table["scan_id"].astype(str), folds, labels, right, strict=True):
        if label is None:
            without.append(scan)
        elif not kept:
            wrong += 1
        else:
            scans[label].append((scan, fold))
    if not any(scans.values()):
        why = "nobody was predicted correctly" if only_correct else "the run has no test scans"
        raise InputError(f"{run.folder}: every group is empty: {why}.")
    return Groups(scans, list(dict.fromkeys(without)), wrong)


def _labels(table: pd.DataFrame, by: str, run: RunResults) -> list[str | None]:
    if by not in table.columns:
        columns = ", ".join(map(str, table.columns))
        raise InputError(
            f"by: {run.folder} has no column {by!r} in predictions.tsv or subjects.tsv."
            f"{did_you_mean(by, list(table.columns))}{target_hint(table.columns)} There are: {columns}."
        )
    labels = [label_of(value) for value in table[by].tolist()]
    names = {label for label in labels if label is not None}
    if not names:
        raise InputError(f"by: the column {by!r} of {run.folder} is empty for every test scan. Choose another one.")
    if len(names) > _MOST:
        raise InputError(
            f"by: the column {by!r} of {run.folder} has {len(names)} different values among {len(labels)} test scans; "
            f"at most {_MOST} groups are made. Choose a column of groups, such as target or sex, or by: null for the "
            "mean over everybody."
        )
    return labels


def label_of(value: Any) -> str | None:
    """Return the group that a value of a table names; None where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with a gap is read as floats
    return str(value)


def ordered_labels(labels: Sequence[str | None], by: str | None, classes: Sequence[str] | None) -> list[str]:
    """Return the groups: the classes in their order, where the column holds classes; numbers before texts."""
    found = {label for label in labels if label is not None}
    if by in ("target", "prediction") and classes is not None:
        return [*classes, *sorted(found - set(classes))]
    return sorted(found, key=_sortable)


def _sortable(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return math.inf, label


def chosen_explainers(run: RunResults, wanted: Sequence[str] | None) -> list[str]:
    """Return ids of the run's explainers, all or those wanted, in the order of the configuration.

    Raises:
        InputError: One is not of the run, or the run has none.
    """
    known = [str(slot.get("id", slot["name"])) for slot in run.config.get("explainers") or []]
    if not known:
        raise InputError(f"{run.folder} has no explainers, so there are no relevance maps. Add some to 'explainers'.")
    for name in wanted or ():
        if name not in known:
            raise InputError(
                f"explainers: {run.folder} has no explainer {name!r}.{did_you_mean(name, known)} "
                f"It has: {', '.join(known)}."
            )
    return known if wanted is None else [name for name in known if name in wanted]


def members(records: Mapping[Scan, MapRecord], scans: Sequence[Scan], what: str) -> list[MapRecord]:
    """Return the maps of scans, in their order.

    Args:
        records: Maps of one explainer by scan id and fold.
        scans: Scan ids and folds.
        what: Names explainer and run in a message.

    Raises:
        InputError: A scan has none; a mean of those that are there would not be the group's.
    """
    missing = [scan[0] for scan in scans if scan not in records or not records[scan].path.is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(
            f"{what}: {len(missing)} of {len(scans)} maps are missing: {shown}. "
            "Run 'xai run' on the run's pipeline.resolved.yaml to make them."
        )
    return [records[scan] for scan in scans]
