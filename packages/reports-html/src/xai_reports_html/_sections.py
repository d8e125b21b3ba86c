"""Who was in the study, how good the scans are, how people were divided; members of an ensemble, trials of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_core.engine.results import ENSEMBLE

from ._reading import Notes, read_json, read_table
from ._summary import NONE, class_name, number, score_name
from ._texts import plain

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = [
    "Grid", "covariates", "ensemble_section", "fold_table", "left_out_table", "participants", "quality_rows",
    "quality_section", "sweep_section",
]  # fmt: skip

_NOT_COVARIATES = ("scan_id", "subject_id", "session_id", "target", "image", "ground_truth", "mask")
_FILES = ("image_", "map_", "path_")
_MOST = 8  # covariates
_ROWS = 100  # of a table on the page; all are in the TSV file
_CATEGORIES = 12


class Grid(dict[str, Any]):
    """A table for the template: ``columns``, ``rows`` (of texts; the first cell names the row), ``more``.

    Args:
        columns: Titles.
        rows: Cells; None: not known.
        numbers: Whether cells are numbers, which stand to the right.
        words: Positions of columns that hold words all the same.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: bool = True, words: Sequence[int] = ()
    ) -> None:
        texts = [[NONE if cell is None else str(cell) for cell in row] for row in rows[:_ROWS]]
        more = max(0, len(rows) - _ROWS)
        super().__init__(columns=list(columns), rows=texts, more=more, numbers=numbers, words=list(words))


def covariates(subjects: pd.DataFrame) -> list[str]:
    """Return the columns of ``subjects.tsv`` that say something of a person: no ids, files or constants."""
    names = [
        str(name) for name in subjects.columns
        if name not in _NOT_COVARIATES and not str(name).startswith(_FILES) and subjects[name].nunique() > 1
    ]  # fmt: skip
    return [name for name in names if _is_number(subjects[name]) or subjects[name].nunique() <= _CATEGORIES][:_MOST]


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_bool_dtype(column)


def participants(run: RunResults) -> Grid:
    """Return who was included: a column for each class and for all, by person (the first row of each)."""
    subjects = run.subjects()
    people = subjects.drop_duplicates("subject_id")
    groups: list[tuple[str, pd.DataFrame, int]] = []
    if run.classes is not None:
        classes = run.classes
        names = people["target"].map(lambda value: class_name(value, classes))
        scans = subjects["target"].map(lambda value: class_name(value, classes))
        groups = [(name, people[names == name], int((scans == name).sum())) for name in classes]
    groups.append((plain("who.all"), people, len(subjects)))
    rows: list[list[Any]] = [
        [plain("who.people"), *(len(part) for _, part, _ in groups)],
        [plain("who.scans"), *(scans_of for _, _, scans_of in groups)],
    ]
    if run.classes is None:
        rows.append([plain("who.target"), *(_mean(part["target"].astype(float)) for _, part, _ in groups)])
    for name in covariates(subjects):
        if _is_number(subjects[name]):
            rows.append([name, *(_mean(part[name]) for _, part, _ in groups)])
        else:
            values = sorted(str(value) for value in subjects[name].dropna().unique())
            rows += [[f"{name}: {value}", *(_share(part[name], value) for _, part, _ in groups)] for value in values]
    return Grid([plain("who.of"), *(name for name, _, _ in groups)], rows)


def _mean(column: pd.Series[Any]) -> str:
    known = column.dropna()
    if not len(known):
        return plain("who.unknown", n=len(column))
    sd = f" ± {known.std(ddof=1):.3g}" if len(known) > 1 else ""
    missing = len(column) - len(known)
    return f"{known.mean():.4g}{sd}" + (f" ({plain('who.unknown', n=missing)})" if missing else "")


def _share(column: pd.Series[Any], value: str) -> str:
    count = int((column.astype(str) == value).sum())
    return f"{count} ({count / len(column):.0%})" if len(column) else str(count)


def left_out_table(run: RunResults) -> tuple[Grid, Grid] | None:
    """Return how many were left out by reason, and who; None where nobody was."""
    table = run.left_out()
    if table.empty:
        return None
    counts = table["reason"].astype(str).value_counts()
    names = [str(name) for name in table.columns]
    rows = [[None if pd.isna(row[name]) else row[name] for name in table.columns] for row in table.to_dict("records")]
    return Grid([plain("who.reason"), plain("who.how_many")], list(counts.items())), Grid(names, rows, numbers=False)


def fold_table(run: RunResults) -> Grid | None:
    """Return people of each part of each fold, by class; None where the run is not divided yet."""
    splits = run.splits()
    if splits.empty:
        return None
    targets = run.subjects().drop_duplicates("subject_id").set_index("subject_id")["target"]
    classes = list(run.classes or [])
    parts = [part for part in ("train", "val", "test", "held_out") if (splits["part"] == part).any()]
    repeated = "repeat" in splits and splits["repeat"].nunique() > 1
    rows = []
    for fold, table in splits.groupby("fold"):
        cells = []
        for part in parts:
            people = table.loc[table["part"] == part, "subject_id"].drop_duplicates()
            of_class = targets.reindex(people).map(lambda value: class_name(value, classes)).value_counts()
            each = ", ".join(f"{name} {int(of_class.get(name, 0))}" for name in classes)
            cells.append(f"{len(people)} ({each})" if classes else str(len(people)))
        repeat = [table["repeat"].iloc[0]] if repeated else []
        rows.append([fold, *repeat, *cells])
    titles = [plain("who.fold"), *([plain("table.repeat")] if repeated else [])]
    return Grid([*titles, *(plain(f"who.{part}") for part in parts)], rows)


def quality_rows(run: RunResults, notes: Notes) -> pd.DataFrame | None:
    """Return ``quality.tsv``, or None where there is none."""
    path = run.folder / "quality" / "quality.tsv"
    return read_table(path, notes, ("scan_id",)) if path.is_file() else None


def quality_section(table: pd.DataFrame) -> dict[str, Any]:
    """Return how many images were looked at, and those with a problem or a flag."""
    marks = [name for name in ("problem", "flags") if name in table]
    said = table[marks].notna() & (table[marks].astype(str) != "")
    marked = table[said.any(axis=1)] if marks else table.iloc[:0]
    rows = [
        [row["scan_id"], *(None if pd.isna(row[name]) else row[name] for name in marks)]
        for row in marked.to_dict("records")
    ]
    grid = Grid([plain("who.scan"), *(plain(f"who.{name}") for name in marks)], rows, numbers=False)
    return {"images": len(table), "marked": len(marked), "table": grid if rows else None}


def ensemble_section(run: RunResults, metrics: Mapping[str, Any], notes: Notes) -> dict[str, Any] | None:
    """Return the members of an ensemble with their scores, and how far they agree; None where this is none."""
    about = read_json(run.folder / ENSEMBLE, notes)
    if about is None:
        return None
    scores: Mapping[str, Any] = metrics.get("members") or {}
    keys = [
        key for key in ("auc", "balanced_accuracy", "mae", "r")
        if any(isinstance((of or {}).get(key), Mapping) for of in scores.values())
    ]  # fmt: skip
    rows = []
    for member in about.get("members") or []:
        own = scores.get(member.get("name")) or {}
        values = [number((own.get(key) or {}).get("value")) for key in keys]
        model = _model(member, about["members"])
        rows.append([member.get("name"), model, member.get("data"), member.get("seed"), *values])
    titles = [plain(f"ensemble.{name}") for name in ("member", "model", "data", "seed")]
    return {
        "how": _how(str(about.get("combine", "?")), str(about.get("normalise", "?"))),
        "weights": about.get("weights"),
        "table": Grid([*titles, *(score_name(key) for key in keys)], rows, words=(1, 2)),
        "agreement": _member_agreement(run.folder / "agreement.tsv", notes),
    }


def _how(combine: str, normalise: str) -> str:
    if normalise == "none":
        return plain("ensemble.how_none", how=combine)
    return plain("ensemble.how", how=combine, normalise=normalise)


def _model(member: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> str:
    """Return the model of a member, with those of its parameters in which the members differ."""
    own = member.get("model") or {}
    every = [(one.get("model") or {}).get("params") or {} for one in members]
    params = own.get("params") or {}
    differ = [name for name in params if any(other.get(name) != params[name] for other in every)]
    told = ", ".join(f"{name} {params[name]}" for name in differ)
    return f"{own.get('name', NONE)} ({told})" if told else str(own.get("name", NONE))


def _member_agreement(path: Path, notes: Notes) -> str | None:
    table = read_table(path, notes) if path.is_file() else None
    if table is None or not len(table):
        return None
    if "agreement" in table:
        whole = int((table["agreement"] >= 1).sum())
        return plain("ensemble.agreement", whole=whole, n=len(table), sd=number(float(table["sd"].median())))
    return plain("ensemble.spread", n=len(table), sd=number(float(table["sd"].median()))) if "sd" in table else None


def sweep_section(run: RunResults, notes: Notes) -> dict[str, Any] | None:
    """Return the trials of the sweep whose choice this run is; None where it is none's."""
    folder = run.folder.parent
    path = folder / "sweep.tsv"
    # best-before-1 is of another choice than chosen.tsv.
    if not (run.folder.absolute().name == "best" and path.is_file()):
        return None
    trials = read_table(path, notes, ("trial", "validation"))
    if trials is None:
        return None
    chosen = read_table(folder / "chosen.tsv", notes) if (folder / "chosen.tsv").is_file() else None
    failed = int((trials["status"] == "failed").sum()) if "status" in trials else 0
    return {
        "trials": int(trials["trial"].nunique()),
        "failed": failed,
        "table": None if chosen is None else Grid(list(chosen.columns), _cells(chosen)),
    }


def _cells(table: pd.DataFrame) -> list[list[Any]]:
    return [[None if pd.isna(v) else number(v) for v in row] for row in table.itertuples(index=False, name=None)]
