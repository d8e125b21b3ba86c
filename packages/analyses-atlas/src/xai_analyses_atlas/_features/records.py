"""What every reader of brain features returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xai_core import InputError

__all__ = ["Reading", "Value", "number", "read_text"]


@dataclass(frozen=True)
class Value:
    """One measurement.

    Attributes:
        subject: Label of the person (without ``sub-``).
        session: Label of the visit, or None: of every visit of the person.
        name: The region as the source calls it, or None: of the whole brain.
        feature: What is measured.
        value: NaN where it is missing.
        unit: Of the value, or an empty string.
    """

    subject: str
    session: str | None
    name: str | None
    feature: str
    value: float
    unit: str


@dataclass
class Reading:
    """What a source says.

    Attributes:
        values: One for each person, region and feature.
        left_out: Rows ``(scan or person, reason)`` of who has nothing in the source.
        files: That were looked for, whether they exist or not.
    """

    values: list[Value] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def add(self, values: Iterable[Value]) -> None:
        """Add measurements."""
        self.values.extend(values)


_MISSING = frozenset({"", "n/a", "na", "nan", "none", "null", "."})


def number(text: Any, where: str) -> float:
    """Return a cell as a number; NaN where it is empty, ``n/a``, ``NaN`` or ``.``.

    Raises:
        InputError: It is something else, or infinite.
    """
    cell = str(text).strip()
    if cell.lower() in _MISSING:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: {cell!r} is no number. Write n/a where a value is missing.") from None
    if np.isinf(value):
        raise InputError(f"{where}: the value is infinite. Write n/a where a value is missing.")
    return value


def read_text(path: Path) -> str:
    """Return a text file.

    Raises:
        InputError: It is missing or unreadable.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
