"""Tables of brain features: FreeSurfer's group tables and any table, wide or long."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .people import Person, label, listed
from .records import Reading, Value, number, read_text

__all__ = ["TableLayout", "read_group_table", "read_table"]

_PEOPLE = ("participant_id", "subject_id", "subject", "sub", "id")
_SESSIONS = ("session_id", "session", "ses", "visit")
# The first cell of a group table: "Measure:volume" of asegstats2table, "lh.aparc.thickness" of aparcstats2table.
_ASEG = re.compile(r"^Measure:(\w+)$")
_APARC = re.compile(r"^(lh|rh)\.(.+)\.(\w+)$")
_GROUP_UNITS = {"volume": "mm^3", "thickness": "mm", "thicknessstd": "mm", "area": "mm^2", "meancurv": "mm^-1"}
_GROUP_UNITS |= {"Volume_mm3": "mm^3", "gauscurv": "mm^-2"}
# Measures of the whole brain or a hemisphere, which FreeSurfer appends to the columns of regions.
_WHOLE = re.compile(
    r"Vol(NotVent(Surf|Vox)?)?(-to-eTIV)?$|^eTIV$|IntraCranialVol$|SurfaceHoles$|MeanThickness_|WhiteSurfArea_"
)


@dataclass(frozen=True)
class TableLayout:
    """How a table of the user's own is read.

    Attributes:
        feature: What a wide table measures; None: the name of its file.
        people: Column of ids; None: the first of ``participant_id``, ``subject_id``, ``subject``, ``sub``, ``id``.
        session: Column of visits; None: the first of ``session_id``, ``session``, ``ses``, ``visit``, or none.
        region: Column of regions of a long table; None: the table is wide.
        columns: Columns of values: of regions in a wide table (None: all others that hold numbers only), of features
            in a long one (None: ``value``).
        unit: Of the values.
    """

    feature: str | None = None
    people: str | None = None
    session: str | None = None
    region: str | None = None
    columns: Sequence[str] | None = None
    unit: str = ""


def read_table(path: Path, people: Sequence[Person], layout: TableLayout) -> Reading:
    """Read a table (tab, comma or semicolon) with one row for each person, or for each person and region.

    Raises:
        InputError: It lacks a column, a value is no number, a person's value stands there twice, or nobody of the run
            is in it.
    """
    headers, rows = _cells(path)
    where = _existing(path, headers, "people", layout.people, _PEOPLE)
    visit = _optional(path, headers, layout.session)
    key = {name for name in (where, visit, layout.region) if name is not None}
    if layout.region is not None:
        _existing(path, headers, "region", layout.region, ())
    columns = _value_columns(path, headers, rows, layout, key)
    whose = _Whose(path, people)
    values: list[Value] = []
    for line, row in rows:
        person = whose.of(row[where], None if visit is None else row[visit])
        if person is None:
            continue
        for column in columns:
            name, feature = (column, layout.feature or path.name.split(".")[0])
            if layout.region is not None:
                name, feature = row[layout.region].strip(), column
                feature = layout.feature if layout.feature and len(columns) == 1 else feature
            value = number(row[column], f"{path}, line {line}, {column}")
            values.append(Value(*person, name or None, feature, value, layout.unit))
    return whose.reading(values)


def read_group_table(path: Path, people: Sequence[Person]) -> Reading:
    """Read a table of FreeSurfer's ``asegstats2table`` or ``aparcstats2table``.

    The first cell says what is measured. Names such as ``lh_bankssts_thickness`` lose the measure; ids may be those of
    people, of scans (``sub-01_ses-02``) or of the longitudinal stream (``sub-01_ses-02.long.sub-01``), with a path
    before them.

    Raises:
        InputError: It is no such table, is transposed, a value is no number, or nobody of the run is in it.
    """
    headers, rows = _cells(path)
    aseg, aparc = _ASEG.match(headers[0]), _APARC.match(headers[0])
    if not aseg and not aparc:
        raise InputError(
            f"{path} is no group table of FreeSurfer: its first cell is {headers[0]!r}, not such as 'Measure:volume' "
            "or 'lh.aparc.thickness'. Set source: table for any other table; write it with one row for each person."
        )
    feature = aseg.group(1) if aseg else aparc.group(3) if aparc else ""
    whose, across = _Whose(path, people, paths=True), _Whose(path, people)
    if any(across.of(header, None) for header in headers[1:]):
        raise InputError(
            f"{path} has a column for each person; a row for each is needed. Write it without --transpose."
        )
    values = []
    for line, row in rows:
        person = whose.of(row[headers[0]], None)
        if person is None:
            continue
        for column in headers[1:]:
            value = number(row[column], f"{path}, line {line}, {column}")
            name, measured, unit = _group_column(column, feature)
            values.append(Value(*person, name, measured, value, unit))
    return whose.reading(values)


def _group_column(column: str, feature: str) -> tuple[str | None, str, str]:
    """Return region (None: the whole brain), feature and unit of a column: eTIV in a table of thickness is a volume."""
    if _WHOLE.search(column):
        return None, column, _whole_unit(column)
    return column.removesuffix(f"_{feature}"), feature, _GROUP_UNITS.get(feature, "")


def _whole_unit(column: str) -> str:
    if "MeanThickness" in column or "SurfArea" in column:
        return "mm" if "MeanThickness" in column else "mm^2"
    return "" if column.endswith(("-to-eTIV", "Holes")) else "mm^3"


class _Whose:
    """Finds the person of a row, and remembers whether anybody was found.

    Args:
        path: Of the table.
        people: Of the run.
        paths: Whether an id may have a path before it, as FreeSurfer's tables have where they were made so.
    """

    def __init__(self, path: Path, people: Sequence[Person], *, paths: bool = False) -> None:
        self._path, self._paths = path, paths
        self._subjects = {person.subject for person in people}
        self._scans = {label(person.scan_id, "sub"): person for person in people}
        self._strangers: dict[str, None] = {}
        self._found = False

    def of(self, text: str, session: str | None) -> tuple[str, str | None] | None:
        """Return the labels of person and visit; None for somebody who is not in the run."""
        name = label(text.split(".long.")[0], "sub")
        if self._paths and name not in self._subjects:  # an id may have a slash of its own
            name = label(name.rstrip("/\\ ").replace("\\", "/").rsplit("/", 1)[-1], "sub")
        visit = label(session, "ses") if session and session.strip() not in ("", "n/a") else None
        if name in self._subjects:
            self._found = True
            return name, visit
        scan = self._scans.get(name)
        if scan is not None and visit in (None, scan.session):
            self._found = True
            return scan.subject, scan.session
        self._strangers[text.strip()] = None
        return None

    def reading(self, values: list[Value]) -> Reading:
        """Return the reading with the scans that the table does not have.

        Raises:
            InputError: It has nobody.
        """
        if not self._found:
            mine = listed(sorted(self._subjects))
            raise InputError(
                f"{self._path} has nobody of the run. Its ids: {listed(self._strangers)}. The run's: {mine}. Ids must "
                "be the same text, with or without 'sub-'."
            )
        return Reading(values, files=[self._path])


def _cells(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    lines = read_text(path).splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"{path} is empty.")
    delimiter = next((mark for mark in "\t,;" if mark in lines[0]), "\t")
    parsed = list(csv.reader(lines, delimiter=delimiter))
    headers = [cell.strip() for cell in parsed[0]]
    twice = sorted({name for name in headers if headers.count(name) > 1})
    if twice:
        raise InputError(f"{path} has the column {', '.join(twice)} more than once.")
    rows = []
    for line, row in enumerate(parsed[1:], 2):
        if any(cell.strip() for cell in row):
            if len(row) != len(headers):
                raise InputError(f"{path}, line {line}: {len(row)} cells for {len(headers)} columns.")
            rows.append((line, dict(zip(headers, row, strict=True))))
    return headers, rows


def _existing(path: Path, headers: Sequence[str], parameter: str, wanted: str | None, usual: Sequence[str]) -> str:
    if wanted is None:
        found = next((name for name in usual if name in headers), None)
        if found is None:
            raise InputError(
                f"{path} has no column of ids ({', '.join(usual)}). Name it by {parameter}. "
                f"It has: {listed(headers, 12)}."
            )
        return found
    if wanted not in headers:
        raise InputError(
            f"{parameter}: {path} has no column {wanted!r}.{did_you_mean(wanted, list(headers))} "
            f"It has: {listed(headers, 12)}."
        )
    return wanted


def _optional(path: Path, headers: Sequence[str], wanted: str | None) -> str | None:
    if wanted is not None:
        return _existing(path, headers, "session", wanted, ())
    return next((name for name in _SESSIONS if name in headers), None)


def _value_columns(
    path: Path,
    headers: Sequence[str],
    rows: Sequence[tuple[int, Mapping[str, str]]],
    layout: TableLayout,
    key: set[str],
) -> Sequence[str]:
    wanted = layout.columns
    if wanted is None and layout.region is not None:
        wanted = ["value"]
    if wanted is not None:
        for name in wanted:
            _existing(path, headers, "columns", name, ())
        return wanted
    found = [name for name in headers if name not in key and _holds_numbers(path, name, rows)]
    if not found:
        raise InputError(f"{path} has no column of numbers besides {', '.join(sorted(key))}.")
    return found


def _holds_numbers(path: Path, name: str, rows: Sequence[tuple[int, Mapping[str, str]]]) -> bool:
    """Return whether all cells of a column are numbers or missing.

    Raises:
        InputError: Most are numbers: a region would be lost for a slip of the pen.
    """
    wrong = [(line, row[name]) for line, row in rows if not _is_number(row[name])]
    known = sum(_is_number(row[name]) and not np.isnan(number(row[name], "")) for _, row in rows)
    if wrong and known > len(wrong):
        line, cell = wrong[0]
        raise InputError(
            f"{path}: the column {name!r} holds numbers, but not in {len(wrong)} cells, the first in line {line}: "
            f"{cell.strip()!r}. Write n/a where a value is missing, or name the columns that you want (columns)."
        )
    return not wrong


def _is_number(text: str) -> bool:
    try:
        number(text, "")
    except InputError:
        return False
    return True
