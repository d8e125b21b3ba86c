"""Tables that other packages wrote: what is there is read, what is not is said."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._texts import plain

__all__ = ["Notes", "numbers", "read_json", "read_table"]

_TEXT = {"scan_id": str, "subject_id": str, "session_id": str, "explainer": str, "region": str, "hemisphere": str,
         "structure": str, "feature": str, "unit": str, "source": str, "target": str, "prediction": str,
         "group": str, "site": str}  # fmt: skip


class Notes:
    """What could not be read, for the reader of the page; each thing once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, key: str, **values: object) -> None:
        """Note a text of the catalogue."""
        line = plain(f"note.{key}", **values)
        if line not in self.lines:
            self.lines.append(line)


def read_table(path: Path, notes: Notes, needed: Collection[str] = ()) -> pd.DataFrame | None:
    """Return a TSV file, or None (and a note) where it cannot be read or lacks a column."""
    try:
        table = pd.read_csv(path, sep="\t", dtype=_TEXT, na_values=["n/a"], keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' parser and decoder errors are ValueErrors
        notes.add("unreadable", file=_shown(path), error=str(error))
        return None
    missing = [name for name in needed if name not in table]
    if missing:
        notes.add("columns", file=_shown(path), columns=", ".join(missing))
        return None
    return table


def numbers(table: pd.DataFrame, columns: Collection[str], what: str, notes: Notes) -> pd.DataFrame:
    """Return a table whose ``columns`` (those it has) are finite numbers or NaN; what is neither is noted."""
    there = [name for name in columns if name in table]
    found = table[there].apply(pd.to_numeric, errors="coerce").astype(float)
    found = found.where(np.isfinite(found))
    lost = int((found.isna() & table[there].notna()).to_numpy().sum())
    if lost:
        notes.add("no_numbers", file=what, n=lost, columns=", ".join(there))
    return table.assign(**{name: found[name] for name in there})


def read_json(path: Path, notes: Notes) -> dict[str, Any] | None:
    """Return an object from a JSON file, or None (and a note) where it is there and holds none."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.add("unreadable", file=_shown(path), error=str(error))
        return None
    return found if isinstance(found, dict) else None


def _shown(path: Path) -> str:
    return "/".join(path.parts[-3:])
