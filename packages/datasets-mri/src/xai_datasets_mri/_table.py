"""Reads a study table (TSV, CSV or XLSX) as texts, with the row numbers of the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

__all__ = ["Cells", "StudyTable", "read_table", "rows_text"]

# One column: the stripped texts, None where a cell says that its value is missing.
Cells = tuple[str | None, ...]

# How spreadsheets, R, pandas and BIDS write a missing value, without regard to case.
_MISSING = frozenset({"", "n/a", "na", "nan", "#n/a"})
_SHOWN = 5
_LEVELS = 8


def _short(meaning: object) -> str:
    text = meaning.get("Description", meaning) if isinstance(meaning, Mapping) else meaning
    return " ".join(str(text).split())[:40]


def rows_text(rows: Sequence[int]) -> str:
    """Return ``"row 3"`` or ``"rows 3, 5, 8, 9, 12 and 4 more"``."""
    listed = ", ".join(str(row) for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {listed}{more}"


@dataclass(frozen=True)
class StudyTable:
    """A study table.

    Attributes:
        path: The file.
        rows: Number of each row in the file, from 1; the header is a row.
        columns: Cells by column name, in the order of the file.
        decimal_comma: Whether ``1,5`` is the number 1.5 (a CSV separated by semicolons, as some locales write it).
        about: What the JSON file beside the table says of columns (BIDS: Description, Levels, Units).
    """

    path: Path
    rows: tuple[int, ...]
    columns: dict[str, Cells]
    decimal_comma: bool = False
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def column(self, name: str, parameter: str) -> Cells:
        """Return the cells of a column.

        Raises:
            InputError: There is no such column; ``parameter`` is where its name was given.
        """
        if name not in self.columns:
            known = ", ".join(self.columns)
            hint = " Is it separated by another character?" if len(self.columns) == 1 else ""
            raise InputError(
                f"{self.path}: there is no column {name!r} ({parameter}).{did_you_mean(name, self.columns)} "
                f"Columns: {known}.{hint}"
            )
        return self.columns[name]

    def levels_text(self, name: str) -> str:
        """Return what the table's JSON file says that the values of a column mean, as a sentence, or an empty text."""
        levels = self.about.get(name, {}).get("Levels")
        if not isinstance(levels, Mapping) or not levels:
            return ""
        shown = ", ".join(f"{value} = {_short(meaning)}" for value, meaning in list(levels.items())[:_LEVELS])
        return f" Its JSON file says: {shown}{', ...' if len(levels) > _LEVELS else ''}."

    def select(self, keep: Sequence[bool]) -> StudyTable:
        """Return the table with only the rows to keep."""
        rows = tuple(row for row, kept in zip(self.rows, keep, strict=True) if kept)
        columns = {
            name: tuple(cell for cell, kept in zip(cells, keep, strict=True) if kept)
            for name, cells in self.columns.items()
        }
        return replace(self, rows=rows, columns=columns)


def read_table(path: Path) -> StudyTable:
    """Read a study table whose first row that is not empty holds the names of the columns.

    Columns without a name are left out. Text is UTF-8, with or without a byte order mark.

    Raises:
        InputError: The file is missing, unreadable, empty, of another kind, or its rows do not fit its header.
    """
    suffix = path.suffix.lower()
    if suffix not in (".tsv", ".csv", ".xlsx"):
        raise InputError(
            f"{path} is not a table that can be read: use .tsv, .csv or .xlsx, not {suffix or 'no suffix'}."
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"The study table {path} {what}. Give the path of a .tsv, .csv or .xlsx file.{_near(path)}")
    if suffix == ".xlsx":
        return _assemble(path, _excel_rows(path), decimal_comma=False)
    text = _text(path)
    delimiter = "\t" if suffix == ".tsv" else _delimiter(text)
    return _assemble(path, _text_rows(path, text, delimiter), decimal_comma=delimiter == ";")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    tables = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in (".tsv", ".csv", ".xlsx"))
    return f" Tables in its folder: {', '.join(tables)}." if tables else " Its folder holds no tables."


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start + 1}). Save the table as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _delimiter(text: str) -> str:
    """Return the separator that the first line that is not empty uses most often outside of quotes."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = "".join(part for index, part in enumerate(header.split('"')) if index % 2 == 0)
    return max(",;\t|", key=unquoted.count)


def _text_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # strict: a quote that is never closed would otherwise swallow the rest of the table without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, row {start}: {error}. Check the quotation marks.") from error


def _excel_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import pandas as pd

    try:
        sheet = pd.read_excel(path, header=None, dtype=object, na_filter=False)
    except Exception as error:  # openpyxl raises many kinds for a file that is not a workbook
        raise InputError(f"{path} cannot be read as an Excel workbook: {error}. Save it as .xlsx or .tsv.") from error
    for index, row in enumerate(sheet.itertuples(index=False, name=None)):
        yield index + 1, ["" if cell is None else str(cell) for cell in row]


def _assemble(path: Path, rows: Iterator[tuple[int, list[str]]], decimal_comma: bool) -> StudyTable:
    filled = [(number, [cell.strip() for cell in cells]) for number, cells in rows if any(c.strip() for c in cells)]
    if not filled:
        raise InputError(f"{path} is empty. It needs a header and one row for each scan.")
    (_, header), *body = filled
    if not body:
        raise InputError(f"{path} has a header but no rows. It needs one row for each scan.")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: the column {repeated[0]!r} occurs more than once. Give each column its own name.")
    for number, cells in body:
        _check_width(path, number, cells, header)
    columns = {
        name: tuple(None if cells[index].casefold() in _MISSING else cells[index] for _, cells in body)
        for index, name in enumerate(header)
        if name
    }
    return StudyTable(path, tuple(number for number, _ in body), columns, decimal_comma)


def _check_width(path: Path, number: int, cells: list[str], header: list[str]) -> None:
    """Refuse a row of another width than the header, whose values may stand in wrong columns."""
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise InputError(
            f"{path}, row {number}: {len(cells)} cells, but the header has {len(header)} columns. "
            "Write n/a where a value is missing, and put texts that hold the separator in quotation marks."
        )
