"""Visits: which of a person's sessions are used, and the tables of sessions of a BIDS folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xai_core.errors import InputError

from ._bids import Collection, label, natural
from ._images import Scan
from ._left_out import LeftOut
from ._table import Cells, StudyTable, read_table, rows_text

__all__ = ["SESSION", "by_visit", "chosen_visits", "with_session_tables"]

_log = logging.getLogger("xai")
SESSION = "session_id"
# Visits before all others: one without a name, screening, then baseline.
_BEGINNINGS = ({""}, {"sc", "scr", "screen", "screening"}, {"bl", "base", "baseline", "pre"})


def by_visit(study: StudyTable, subject: str, images: Collection, visits: str) -> tuple[StudyTable, str | None]:
    """Return a table of people with a column of sessions, taken from the names of their images.

    With ``visits: table`` a row stays one row, and its session is known only where there is one; otherwise there is a
    row for each session. Without any session the table stays as it is.

    Returns:
        The table and the column of the sessions, or None.
    """
    index: list[int] = []
    cells: list[str | None] = []
    for position, person in enumerate(study.columns[subject]):
        found = [] if person is None else images.of(label(person, "sub"))
        sessions = sorted({one.session for one in found if one.session is not None}, key=natural)
        if visits == "table":
            sessions = sessions if len(sessions) == 1 else []
        index += [position] * max(1, len(sessions))
        cells += sessions or [None]
    if not any(cells):
        return study, None
    columns = {name: tuple(values[i] for i in index) for name, values in study.columns.items()}
    rows = tuple(study.rows[i] for i in index)
    return replace(study, rows=rows, columns={**columns, SESSION: tuple(cells)}), SESSION


def chosen_visits(
    study: StudyTable, scans: Sequence[Scan], visits: str, left_out: LeftOut
) -> tuple[StudyTable, list[Scan]]:
    """Return only the first or the last visit of each person, by the names of the sessions (M6 before M12).

    Screening and baseline come before whatever the alphabet puts before them.
    """
    if visits not in ("first", "last"):
        return study, list(scans)
    order = sorted(range(len(scans)), key=lambda i: _when(scans[i].session or ""), reverse=visits == "last")
    kept: dict[str, int] = {}
    for position in order:
        kept.setdefault(scans[position].subject, position)
    reasons = [None if kept[scan.subject] == i else f"visits: not the {visits} one" for i, scan in enumerate(scans)]
    return left_out.select(study, reasons), [scan for scan, why in zip(scans, reasons, strict=True) if why is None]


def _when(session: str) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    name = session.casefold()
    stem = name.rstrip("0123456789") or name
    begins = next((place for place, names in enumerate(_BEGINNINGS) if stem in names), len(_BEGINNINGS))
    return begins, natural(name)


def with_session_tables(study: StudyTable, subject: str, session: str, bids: Path) -> StudyTable:
    """Join what the sessions' tables of a BIDS folder say: ``sub-01/sub-01_sessions.tsv``, or one ``sessions.tsv``.

    A column that both have is the session's for everybody with such a table, even where it is empty: an age or a
    diagnosis of another visit must not fill the gap. Who has no such table keeps the person's values.

    Raises:
        InputError: Tables that cannot be read, all in one message.
    """
    people = dict.fromkeys(label(cell, "sub") for cell in study.columns[subject] if cell is not None)
    tables, problems = _session_tables(list(people), bids)
    if problems:
        raise InputError("\n".join(problems))
    if not tables:
        return study
    names = dict.fromkeys(name for rows in tables.values() for row in rows.values() for name in row)
    lacking: list[int] = []
    values: dict[str, list[str | None]] = {name: [] for name in names}
    for position, (row, person, visit) in enumerate(
        zip(study.rows, study.columns[subject], study.columns[session], strict=True)
    ):
        rows = tables.get(label(person or "", "sub"))
        found = None if rows is None or visit is None else rows.get(label(visit, "ses"))
        if rows is not None and found is None:
            lacking.append(row)
        for name in names:
            own = study.columns[name][position] if name in study.columns else None
            values[name].append(own if rows is None else None if found is None else found.get(name))
    if lacking:
        _log.warning("%s: %s: no row of their session in the person's sessions.tsv.", study.path, rows_text(lacking))
    joined: dict[str, Cells] = {name: tuple(cells) for name, cells in values.items()}
    return replace(study, columns={**study.columns, **joined})


_Rows = dict[str, dict[str, str | None]]


def _session_tables(people: Sequence[str], bids: Path) -> tuple[dict[str, _Rows], list[str]]:
    """Return the values of each person's sessions, and what is wrong with their tables."""
    tables: dict[str, _Rows] = {}
    problems: list[str] = []
    whole = bids / "sessions.tsv"
    try:
        if whole.is_file():
            for person, session, row in _rows_of(whole, "participant_id"):
                tables.setdefault(label(person, "sub"), {})[session] = row
    except InputError as error:
        problems.append(str(error))
    for person in people:
        path = bids / f"sub-{person}" / f"sub-{person}_sessions.tsv"
        try:
            if path.is_file():
                tables.setdefault(person, {}).update({session: row for _, session, row in _rows_of(path, None)})
        except InputError as error:
            problems.append(str(error))
    return tables, problems


def _rows_of(path: Path, subject: str | None) -> list[tuple[str, str, dict[str, str | None]]]:
    table = read_table(path)
    sessions = table.column(SESSION, "BIDS names it so")
    ids: Cells = ("",) * len(sessions) if subject is None else table.column(subject, "BIDS names it so")
    others: Mapping[str, Cells] = {n: cells for n, cells in table.columns.items() if n not in (SESSION, subject)}
    found = []
    seen = set()
    for index, (row, person, session) in enumerate(zip(table.rows, ids, sessions, strict=True)):
        if person is None or session is None:
            raise InputError(f"{path}, row {row}: no {SESSION}{'' if subject is None else f' or no {subject}'}.")
        key = (label(person, "sub"), label(session, "ses"))
        if key in seen:
            raise InputError(f"{path}, row {row}: the session {session} is there twice. Keep one row for each.")
        seen.add(key)
        found.append((person, key[1], {name: cells[index] for name, cells in others.items()}))
    return found
