"""Every relevance map of a run and of runs beside it, by person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from xai_core import InputError

from .._groups import chosen_explainers
from .._people import in_order_of_visits, tested_people

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

__all__ = ["Explained", "Index", "Slot", "index_of", "opened"]


class Slot(NamedTuple):
    """What a map is of, apart from the person."""

    run: str
    network: int
    explainer: str
    visit: int


@dataclass(frozen=True, eq=False)
class Explained:
    """One map; two are equal only where they are the same object, so that it can be a key.

    Attributes:
        slot: Run, number of the network among those that tested the scan (from 0, by fold; the repeat of a repeated
            cross-validation), explainer and number of the visit (from 0, by session).
        fold: Whose network is explained.
        session_id: Of the scan, or None.
        record: The file.
    """

    slot: Slot
    fold: int
    session_id: str | None
    record: MapRecord

    @property
    def output(self) -> str:
        """Which output is explained: a class, or the same for all of a regression."""
        name = self.record.sidecar.get("target_name")
        return "prediction" if name is None else str(name)


@dataclass(frozen=True)
class Index:
    """The maps of all runs.

    Attributes:
        runs: By name; the first is the run that is analysed.
        explainers: That every run has, in the order of the first.
        people: Maps by person, sorted.
        table: ``tested_people`` of the first run.
        left_out: Columns run, subject_id, scan_id, reason.
    """

    runs: dict[str, RunResults]
    explainers: tuple[str, ...]
    people: dict[str, list[Explained]]
    table: pd.DataFrame
    left_out: list[dict[str, Any]] = field(default_factory=list)

    @property
    def main(self) -> str:
        """Name of the run that is analysed."""
        return next(iter(self.runs))


def opened(folder: Path) -> RunResults:
    """Open a run of the parameter ``runs``.

    Raises:
        InputError: It is none, or is not finished.
    """
    from xai_core.engine.results import RunResults

    try:
        run = RunResults(folder)
        run.predictions(), run.subjects(), run.splits(), run.info
    except InputError as error:
        raise InputError(f"runs: {error}") from error
    return run


def index_of(run: RunResults, others: Sequence[RunResults], explainers: Sequence[str] | None) -> Index:
    """Find the maps of a run and of runs of the same study with other seeds.

    Raises:
        InputError: A run is given twice, predicts something else, explains other files, or shares no explainer or
            nobody with the first.
    """
    runs = _named([run, *others])
    names = chosen_explainers(run, explainers)
    for name, other in list(runs.items())[1:]:
        _require_same_study(run, other, name)
        theirs = chosen_explainers(other, None)
        lacking = [each for each in names if each not in theirs]
        if lacking and (explainers is not None or len(lacking) == len(names)):
            raise InputError(f"runs: {name} has no explainer {', '.join(lacking)}. It has: {', '.join(theirs)}.")
    table = tested_people(run)
    index = Index(runs, tuple(names), {}, table)
    visits = _visits(run.subjects())
    for name, each in runs.items():
        _add(index, name, each, visits)
    if not index.people:
        raise InputError(f"{run.folder} has no relevance maps of {', '.join(names)}. Run 'xai run' to make them.")
    return index


def _named(runs: Sequence[RunResults]) -> dict[str, RunResults]:
    folders = [run.folder.resolve() for run in runs]
    for place, folder in enumerate(folders):
        if folder in folders[:place]:
            raise InputError(f"runs: {folder} is there twice, or is the run itself. It would agree with itself.")
    names = [folder.name for folder in folders]
    labels = [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]
    return dict(zip(labels, runs, strict=True))


def _require_same_study(run: RunResults, other: RunResults, name: str) -> None:
    if (run.task, run.classes) != (other.task, other.classes):
        mine, theirs = (", ".join(each.classes or ["a regression"]) for each in (run, other))
        raise InputError(f"runs: {name} predicts something else ({theirs}) than {run.folder} ({mine}).")
    hashes, others = (each.info.get("hashes") or {} for each in (run, other))
    different = sorted(scan for scan in set(hashes) & set(others) if hashes[scan] != others[scan])
    if different:
        raise InputError(
            f"runs: {len(different)} scans of {name} are other files than those of {run.folder}, such as "
            f"{different[0]}. Only runs of the same scans can agree on them."
        )


def _visits(subjects: pd.DataFrame) -> dict[str, int]:
    """Return the number of each scan among its person's, by session."""
    table = subjects if "session_id" in subjects else subjects.assign(session_id=None)
    order = in_order_of_visits(table)
    return dict(zip(order["scan_id"], order.groupby("subject_id").cumcount(), strict=True))


def _add(index: Index, name: str, run: RunResults, visits: dict[str, int]) -> None:
    table = tested_people(run)
    rows = {(str(row["scan_id"]), int(row["fold"])): row for row in table.to_dict("records")}
    folds: dict[str, list[int]] = {}
    for scan, fold in sorted(rows):
        folds.setdefault(scan, []).append(fold)
    seen: set[tuple[str, int, str]] = set()
    for record in run.maps():
        key = (record.scan_id, record.fold)
        if record.explainer not in index.explainers or key not in rows:
            continue
        row, about = rows[key], {"run": name, "subject_id": record.subject_id, "scan_id": record.scan_id}
        if record.scan_id not in visits:
            index.left_out.append({**about, "reason": f"not a scan of {index.main}"})
            continue
        if not record.path.is_file():
            raise InputError(f"{record.path} is missing. Run 'xai run' on its run's pipeline.resolved.yaml to make it.")
        session = row.get("session_id")
        slot = Slot(name, folds[record.scan_id].index(record.fold), record.explainer, visits[record.scan_id])
        found = Explained(slot, record.fold, session if isinstance(session, str) else None, record)
        index.people.setdefault(record.subject_id, []).append(found)
        seen.add((*key, record.explainer))
    for scan, fold in rows:
        for explainer in index.explainers:
            if (scan, fold, explainer) not in seen and scan in visits:
                about = {"run": name, "subject_id": rows[scan, fold]["subject_id"], "scan_id": scan}
                index.left_out.append({**about, "reason": f"no map of {explainer} in fold {fold}"})
