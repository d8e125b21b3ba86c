"""The table of all test scans: what the page sorts and filters, and the same as TSV."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ._account import account_of
from ._decisions import Decision, all_calibrated, decimals
from ._sections import covariates
from ._summary import NONE
from ._texts import plain

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["Column", "Roster", "roster"]

Kind = Literal["text", "choice", "number"]
_CLASSES = 4  # whose probabilities have a column; of two classes the second one says all
_CHOICES = 12


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        key: In the TSV file, and for the buttons of the page.
        title: For reading.
        kind: How it is sorted and filtered.
        cells: Texts or numbers; None where nothing is known.
        digits: Decimals of a number that are shown; None: as many as it has.
    """

    key: str
    title: str
    kind: Kind
    cells: list[Any]
    digits: int | None = None

    def shown(self, row: int) -> str:
        """Return a cell as the page shows it."""
        cell = self.cells[row]
        if cell is None:
            return NONE
        return f"{cell:.{self.digits}f}" if self.digits is not None else str(cell)


@dataclass(frozen=True)
class Roster:
    """Columns of equal length, and the address of each row's page or section (None: it has none)."""

    columns: list[Column]
    links: list[str | None]

    def data(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        columns = [
            {"key": c.key, "title": c.title, "kind": c.kind, "digits": c.digits, "choices": _choices(c)}
            for c in self.columns
        ]
        rows = [[_cell(column.cells[row]) for column in self.columns] for row in range(len(self.links))]
        return {"columns": columns, "rows": rows, "links": self.links}

    def first(self, most: int) -> list[tuple[str | None, list[str]]]:
        """Return the first rows as texts, for readers without JavaScript."""
        return [(self.links[row], [c.shown(row) for c in self.columns]) for row in range(min(most, len(self.links)))]

    def table(self) -> pd.DataFrame:
        """Return it as a table."""
        return pd.DataFrame({column.key: column.cells for column in self.columns})


def _cell(value: Any) -> Any:
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _choices(column: Column) -> list[str]:
    return sorted({str(cell) for cell in column.cells if cell is not None}) if column.kind == "choice" else []


def roster(
    tested: Sequence[Decision],
    subjects: pd.DataFrame,
    records: Mapping[tuple[str, int], Sequence[MapRecord]],
    remarks: Mapping[tuple[str, int], Sequence[str]],
    links: Mapping[tuple[str, int], str],
    classes: Sequence[str] | None,
) -> Roster:
    """Return the table, a row for each test scan and network.

    Args:
        tested: In the order of the rows.
        subjects: ``subjects.tsv``.
        records: Maps of each scan and fold.
        remarks: What is known against trusting them.
        links: Addresses of pages or sections.
        classes: Of the run; None: a regression.
    """
    before = [*_who(tested), *_said(tested, classes)]
    after = [
        Column(
            "unexplained_percent", plain("table.loss"), "number", [_loss(records.get(o.key, ())) for o in tested], 2
        ),
        Column("remarks", plain("table.remarks"), "number", [len(remarks.get(one.key, ())) for one in tested], 0),
    ]
    taken = {column.key for column in (*before, *after)}
    columns = [*before, *_covariates(tested, subjects, taken), *after]
    kept = [c for c in columns if any(cell is not None for cell in c.cells)]
    return Roster(kept, [links.get(one.key) for one in tested])


def _who(tested: Sequence[Decision]) -> list[Column]:
    columns = [
        Column("scan_id", plain("table.scan"), "text", [one.scan for one in tested]),
        Column("subject_id", plain("table.person"), "text", [one.subject for one in tested]),
        Column("session_id", plain("table.session"), "text", [one.session for one in tested]),
    ]
    for key, values in (("fold", [one.fold for one in tested]), ("repeat", [one.repeat for one in tested])):
        if len(set(values)) > 1:
            columns.append(Column(key, plain(f"table.{key}"), "number", values, 0))
    return columns


def _said(tested: Sequence[Decision], classes: Sequence[str] | None) -> list[Column]:
    if classes is None:
        return _values(tested)
    sure = {True: plain("word.unsure"), False: plain("word.sure")}
    found = [
        Column("target", plain("table.true"), "choice", [str(one.true) for one in tested]),
        Column("prediction", plain("table.predicted"), "choice", [str(one.predicted) for one in tested]),
        Column("decision", plain("table.decision"), "choice",
               [plain("word.right" if one.correct else "word.wrong") for one in tested]),
        Column("certainty", plain("table.certainty"), "choice",
               [None if one.certainty is None else sure[one.unsure] for one in tested]),
    ]  # fmt: skip
    calibrated = all_calibrated(tested)
    kind = "calibrated" if calibrated else "probability"
    for name in classes[-1:] if len(classes) == 2 else classes[:_CLASSES]:
        cells = [(one.calibrated if calibrated else one.probabilities).get(name) for one in tested]
        found.append(Column(f"{kind}_{name}", plain(f"table.{kind}", name=name), "number", cells, 3))
    return found


def _values(tested: Sequence[Decision]) -> list[Column]:
    corrected, digits = [one.corrected for one in tested], decimals(tested)
    return [
        Column("target", plain("table.true"), "number", [one.true for one in tested], digits),
        Column("prediction", plain("table.predicted"), "number", [one.predicted for one in tested], digits),
        Column("gap", plain("table.gap"), "number", [one.error for one in tested], digits),
        Column(
            "absolute_gap", plain("table.absolute_gap"), "number", [abs(one.error or 0.0) for one in tested], digits
        ),
        Column("gap_corrected", plain("table.corrected"), "number", corrected, digits),
    ]


def _covariates(tested: Sequence[Decision], subjects: pd.DataFrame, taken: Collection[str]) -> list[Column]:
    rows = subjects.drop_duplicates("scan_id").set_index("scan_id").reindex([one.scan for one in tested])
    found = []
    for name in covariates(subjects):
        # A study's own column may be called as one of the report's, such as "remarks".
        key = f"covariate_{name}" if name in taken else name
        cells = [_plain_value(value) for value in rows[name].tolist()]
        numeric = all(isinstance(cell, int | float) for cell in cells if cell is not None)
        cells = cells if numeric else [None if cell is None else str(cell) for cell in cells]
        few = len({cell for cell in cells if cell is not None}) <= _CHOICES
        found.append(Column(key, name, "number" if numeric else "choice" if few else "text", cells))
    return found


def _plain_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or value is pd.NA:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)


def _loss(records: Sequence[MapRecord]) -> float | None:
    """The largest share that is in no known place, over the explainers, in percent."""
    shares = [abs(a.unexplained) for r in records if (a := account_of(r.sidecar)) and a.unexplained is not None]
    return 100 * max(shares) if shares else None
