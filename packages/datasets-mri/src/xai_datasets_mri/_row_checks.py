"""What can be wrong with the rows of a study table, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._bids import Collection, label
from ._files import ImageFiles
from ._images import Found, Scan, missing_text
from ._source import Source
from ._table import StudyTable, rows_text

__all__ = ["check_columns", "duplicates", "nobody_text", "people", "wrong_paths"]

_SHOWN = 5


def _limited(problems: list[str], what: str) -> list[str]:
    """Return the first problems, and how many more there are."""
    rest = len(problems) - _SHOWN
    return problems if rest <= 0 else [*problems[:_SHOWN], f"And {rest} more {what}."]


def check_columns(study: StudyTable, source: Source, target: str, session: str | None) -> None:
    """Refuse columns that are not there, all of them at once."""
    columns = {"target": target, "subject": source.subject, "session": session, "site": source.site,
               "person": source.person}  # fmt: skip
    columns |= {files.name: files.column for files in [*source.images, *source.further.values()]}
    # Columns of the sessions' tables are joined later.
    later = {target, *source.where} if source.table is None else set()
    lacking = {p: name for p, name in columns.items() if name not in (None, *study.columns) and name not in later}
    lacking |= {f"where.{name}": name for name in source.where if name not in study.columns and name not in later}
    if not lacking:
        return
    if len(lacking) == 1:
        ((parameter, name),) = lacking.items()
        study.column(str(name), parameter.partition(".")[0] if parameter.startswith("where") else parameter)
    named = ", ".join(f"{n!r} ({p}){did_you_mean(str(n), study.columns)}" for p, n in lacking.items())
    raise InputError(f"{study.path}: there are no columns {named}. Columns: {', '.join(study.columns)}.")


def people(study: StudyTable, subject: str, session: str | None) -> list[Scan]:
    """Return the person and the session of each row.

    Raises:
        InputError: Rows without an id, or with one that cannot name a file.
    """
    ids = study.columns[subject]
    rows = [row for row, cell in zip(study.rows, ids, strict=True) if cell is None]
    problems = []
    labels = [None if cell is None else label(cell, "sub") for cell in ids]
    for row, name in zip(study.rows, labels, strict=True):
        if name is not None and (name in ("", ".", "..") or any(character in "/\\" for character in name)):
            problems.append(f"{study.path}, row {row}: {name!r} (column {subject!r}) cannot be an id: it names files.")
    problems = _limited(problems, "such ids")
    if rows:
        problems.append(f"{study.path}: {rows_text(rows)} has no value in the column {subject!r}, the person's id.")
    if problems:
        raise InputError("\n".join(problems))
    sessions = [None] * len(labels) if session is None else study.columns[session]
    return [
        Scan(person or "", None if visit is None else label(visit, "ses"))
        for person, visit in zip(labels, sessions, strict=True)
    ]


def nobody_text(study: StudyTable, files: ImageFiles, images: Collection | None) -> str:
    """Return what to say where nobody has an image that may be missing."""
    if images is None:
        where = f"the column {files.column!r} ({files.name})"
        return f"{study.path}: {where} holds no path of a file. Leave {files.name} out."
    return f"{images.root} holds no {files.what} ({files.name}) of anybody in {study.path}."


def wrong_paths(study: StudyTable, files: ImageFiles, found: Found) -> list[str]:
    """Return the paths of a column that are no files: written down wrongly, which is not the same as none."""
    if files.column is None:
        return []
    cells = study.columns[files.column]
    given = [reason if cell is not None else None for cell, reason in zip(cells, found.reasons, strict=True)]
    text = missing_text(study, [], files, replace(found, reasons=given), None)
    return [] if text is None else [text]


def duplicates(study: StudyTable, scans: Sequence[Scan], session: str | None) -> list[str]:
    """Return what to say of scans that are there more than once."""
    seen: dict[tuple[str, str | None], list[int]] = {}
    for row, scan in zip(study.rows, scans, strict=True):
        seen.setdefault((scan.subject, scan.session), []).append(row)
    way = "" if session is not None else ", or name the column of the visits with the parameter 'session'"
    problems = [
        f"{study.path}: the person {person!r}{'' if visit is None else f' with session {visit!r}'} is in rows "
        f"{', '.join(map(str, rows[:-1]))} and {rows[-1]}. Keep one row for each scan{way}."
        for (person, visit), rows in seen.items()
        if len(rows) > 1
    ]
    return _limited(problems, "people or visits that are there more than once")
