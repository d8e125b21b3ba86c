"""The record of who is in a study's tables or folders, but not in the run, and why: ``left-out.tsv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .progress import log
from .tables import tsv
from .units import write_text

__all__ = ["LEFT_OUT", "write_left_out"]

LEFT_OUT = "left-out.tsv"
_COLUMNS = ("subject_id", "session_id", "reason")


def write_left_out(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``left-out.tsv`` and one line in the log that says how many were left out, by reason.

    Args:
        folder: The run folder. Without rows, an earlier file is removed.
        rows: ``subject_id``, ``session_id`` (None: not known), ``reason`` and any further columns, such as ``cohort``.
    """
    import pandas as pd

    path = folder / LEFT_OUT
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_text(path, tsv(pd.DataFrame(rows, columns=_columns(rows))))
    log.info("left out %d scans or people: %s. See %s", len(rows), _summary(rows), LEFT_OUT)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the known columns first, then the further ones in the order in which they occur."""
    return list(dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)]))


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(str(row["reason"]) for row in rows)
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common(4))
    others = counts.total() - sum(count for _, count in counts.most_common(4))
    return listed + (f", {others} for other reasons" if others else "")
