"""Whose a row or a file is: ids of a table and names of files against the scans of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Person", "file_of", "files_of", "label", "listed", "people_of"]

_OPTIONAL = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Person:
    """One scan of a person.

    Attributes:
        subject_id: As the run writes it.
        session_id: As the run writes it, or None.
        scan_id: ``sub-01`` or ``sub-01_ses-02``.
    """

    subject_id: str
    session_id: str | None
    scan_id: str

    @property
    def subject(self) -> str:
        """The person's label: the id without ``sub-``."""
        return label(self.subject_id, "sub")

    @property
    def session(self) -> str | None:
        """The visit's label: the id without ``ses-``, or None."""
        return None if self.session_id is None else label(self.session_id, "ses")


def label(text: str, entity: str) -> str:
    """Return ``"01"`` for ``"sub-01"`` and for ``"01"`` (``entity``: sub or ses)."""
    return text.strip().removeprefix(f"{entity}-")


def people_of(table: pd.DataFrame) -> list[Person]:
    """Return the scans of a table with ``subject_id``, ``scan_id`` and, where known, ``session_id``; each once."""
    sessions = table["session_id"] if "session_id" in table else [None] * len(table)
    found = [
        Person(str(subject), None if session is None or session != session else str(session), str(scan))
        for subject, session, scan in zip(table["subject_id"], sessions, table["scan_id"], strict=True)
    ]
    return list(dict.fromkeys(found))


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names for a message: at most so many, and the number of the others."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def files_of(pattern: str, person: Person, more: Mapping[str, str] | None = None) -> list[Path]:
    """Return the files that a pattern may mean for a person, whether they exist or not, the likeliest first.

    ``{subject_id}`` and ``{session_id}`` stand for labels; with and without ``sub-`` and ``ses-`` are tried.
    ``{scan_id}`` is ``sub-01_ses-02``. ``[...]`` is left out for a scan without a session; ``*`` and ``?`` stand for
    any characters and count only where a file exists.
    """
    text = _OPTIONAL.sub(lambda part: part.group(1) if person.session is not None else "", pattern)
    found: list[Path] = []
    for before in ("", "sub-"):
        for visit in ("", "ses-"):
            values = {
                "subject_id": before + person.subject,
                "session_id": visit + (person.session or ""),
                "scan_id": person.scan_id,
                **(more or {}),
            }
            found += _there(text, values)
    return list(dict.fromkeys(found))


def _there(text: str, values: Mapping[str, str]) -> list[Path]:
    """Return the files that fit where a pattern has wildcards and some do, and otherwise the path as it is."""
    plain, escaped = text, text
    for name, value in values.items():
        plain = plain.replace(f"{{{name}}}", value)
        escaped = escaped.replace(f"{{{name}}}", escape(value))
    if "*" not in text and "?" not in text:
        return [Path(plain)]
    root = Path(Path(escaped).anchor or ".")
    return sorted(root.glob(str(Path(escaped).relative_to(root) if Path(escaped).anchor else escaped))) or [Path(plain)]


def file_of(pattern: str, person: Person, more: Mapping[str, str] | None = None) -> Path | None:
    """Return the one file that a pattern means for a person, or None where there is none.

    Raises:
        InputError: Several files fit.
    """
    found = [path for path in files_of(pattern, person, more) if path.is_file()]
    if len(found) > 1:
        raise InputError(
            f"{pattern} fits {len(found)} files of {person.scan_id}: {listed(map(str, found))}. Make it fit one."
        )
    return found[0] if found else None
