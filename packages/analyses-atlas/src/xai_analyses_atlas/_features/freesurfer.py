"""FreeSurfer's per-person statistics: ``aseg.stats``, ``lh.aparc.stats`` and their kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .people import Person, file_of, files_of
from .records import Reading, Value, number, read_text

__all__ = ["read_stats_files"]

# Units where a file does not state them, as mri_segstats and mris_anatomical_stats write them.
_UNITS = {
    "Volume_mm3": "mm^3", "GrayVol": "mm^3", "SurfArea": "mm^2", "ThickAvg": "mm", "ThickStd": "mm",
    "MeanCurv": "mm^-1", "GausCurv": "mm^-2", "NumVert": "unitless", "NVoxels": "unitless",
    "FoldInd": "unitless", "CurvInd": "unitless",
}  # fmt: skip
_DEFAULT = ("ThickAvg", "Volume_mm3")


def read_stats_files(
    pattern: str, people: Sequence[Person], columns: Sequence[str] | None, measures: Sequence[str]
) -> Reading:
    """Read a stats file of each person.

    Args:
        pattern: Path with ``{subject_id}`` and, where visits have files of their own, ``{session_id}``; ``{hemi}``
            stands for lh and rh.
        people: Scans that are wanted.
        columns: Names after ``# ColHeaders``; None: ``ThickAvg`` of an aparc.stats, ``Volume_mm3`` of an aseg.stats,
            nothing of a brainvol.stats, which has no regions.
        measures: Names of ``# Measure`` lines, such as ``eTIV``; those of a hemisphere's file that are its own get
            ``lh_`` or ``rh_`` before them.

    Raises:
        InputError: A file is no stats file or lacks a column or a measure, or several fit.
    """
    reading = Reading()
    for person in people:
        for side in ("lh", "rh") if "{hemi}" in pattern else (None,):
            more = None if side is None else {"hemi": side}
            reading.files += files_of(pattern, person, more)
            path = file_of(pattern, person, more)
            if path is None:
                reading.left_out.append((person.scan_id, f"has no file {files_of(pattern, person, more)[0]}"))
            else:
                reading.add(_read(path, person, _side(path) if side is None else side, columns, measures))
    return reading


def _side(path: Path) -> str | None:
    return next((side for side in ("lh", "rh") if path.name.startswith(f"{side}.")), None)


@dataclass
class _Stats:
    """A stats file as it is: column names, units by number of column, measures with unit, and rows of cells."""

    headers: list[str] = field(default_factory=list)
    units: dict[int, str] = field(default_factory=dict)
    measures: dict[str, tuple[str, str]] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)


def _parsed(text: str) -> _Stats:
    found = _Stats()
    for line in text.splitlines():
        if line.startswith("# ColHeaders"):
            found.headers = line.split()[2:]
        elif line.startswith("# Measure"):
            cells = [cell.strip() for cell in line.removeprefix("# Measure").split(",")]
            # Name, short name, words, value, unit; SAMSEG writes name, value, unit.
            found.measures[cells[1] if len(cells) > 3 else cells[0]] = (cells[-2] if cells[1:] else "", cells[-1])
        elif line.startswith("# TableCol") and " Units " in line:
            _, _, column_number, _, unit_text, *_ = [*line.split(), ""]
            found.units[int(column_number)] = unit_text
        elif line.strip() and not line.startswith("#"):
            found.rows.append(line.split())
    return found


def _read(
    path: Path, person: Person, side: str | None, columns: Sequence[str] | None, measures: Sequence[str]
) -> list[Value]:
    stats = _parsed(read_text(path))
    values = _measured(path, person, side, stats.measures, measures)
    if "StructName" not in stats.headers:
        if stats.measures and measures and not columns and not stats.rows:
            return values  # brainvol.stats: measures of the whole brain and no regions
        raise _no_regions(path, stats.measures)
    for column in _columns(path, stats.headers, columns):
        values += _of_column(path, person, side, stats, column)
    return values


def _of_column(path: Path, person: Person, side: str | None, stats: _Stats, column: str) -> list[Value]:
    place, named = stats.headers.index(column), stats.headers.index("StructName")
    unit = stats.units.get(place + 1, "")
    unit = _UNITS.get(column, "") if unit in ("", "NA") else unit
    values = []
    for row in stats.rows:
        if len(row) != len(stats.headers):
            shown = " ".join(row)[:60]
            raise InputError(f"{path}: the row {shown!r} has {len(row)} cells for {len(stats.headers)} columns.")
        name = f"{side}_{row[named]}" if side else row[named]
        value = number(row[place], f"{path}, {row[named]}, {column}")
        values.append(Value(person.subject, person.session, name, column, value, unit))
    return values


def _no_regions(path: Path, known: Mapping[str, Any]) -> InputError:
    text = f"{path} has no regions of FreeSurfer: it has no line '# ColHeaders ... StructName'."
    more = f" Of the whole brain it has {', '.join(known)}: name them in 'measures'." if known else ""
    return InputError(text + more)


def _columns(path: Path, headers: Sequence[str], columns: Sequence[str] | None) -> Sequence[str]:
    if columns is None:
        columns = [name for name in _DEFAULT if name in headers][:1]
    missing = [name for name in columns if name not in headers]
    if missing or not columns:
        lacking = ", ".join(missing) or " or ".join(_DEFAULT)
        hint = did_you_mean(missing[0], list(headers)) if missing else ""
        raise InputError(f"columns: {path} has no column {lacking}.{hint} It has: {', '.join(headers)}.")
    return columns


def _measured(
    path: Path, person: Person, side: str | None, known: dict[str, tuple[str, str]], measures: Sequence[str]
) -> list[Value]:
    missing = [name for name in measures if name not in known]
    if missing:
        raise InputError(
            f"measures: {path} has no measure {', '.join(missing)}.{did_you_mean(missing[0], list(known))} "
            f"It has: {', '.join(known) or 'none'}."
        )
    values = []
    for name in measures:
        text, unit = known[name]
        # eTIV stands in the files of both hemispheres and belongs to neither.
        own = side is not None and name in _OF_A_SIDE
        feature = f"{side}_{name}" if own else name
        value = number(text, f"{path}, {name}")
        values.append(Value(person.subject, person.session, None, feature, value, unit))
    return values


_OF_A_SIDE = frozenset({"NumVert", "WhiteSurfArea", "MeanThickness", "PialSurfArea"})
