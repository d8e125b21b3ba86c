"""Who of a table, or of a folder, is not used, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ._bids import label
from ._table import StudyTable

__all__ = ["LeftOut"]

Row = dict[str, str | None]


@dataclass
class LeftOut:
    """Collects the rows that are left out.

    Attributes:
        subject: Column of the person's id.
        session: Column of the visit, or None.
        rows: ``subject_id``, ``session_id`` and ``reason`` of each.
    """

    subject: str
    session: str | None = None
    rows: list[Row] = field(default_factory=list)

    def select(self, study: StudyTable, reasons: Sequence[str | None]) -> StudyTable:
        """Return the rows that have no reason to be left out, and keep a record of the others."""
        ids = study.columns[self.subject]
        visits = [None] * len(ids) if self.session is None else study.columns[self.session]
        for person, visit, reason in zip(ids, visits, reasons, strict=True):
            if reason is not None:
                self.add(person, visit, reason)
        return study.select([reason is None for reason in reasons])

    def add(self, person: str | None, visit: str | None, reason: str) -> None:
        """Keep a record of one scan."""
        subject = None if person is None else label(person, "sub")
        session = None if visit is None else label(visit, "ses")
        self.rows.append({"subject_id": subject, "session_id": session, "reason": reason})
