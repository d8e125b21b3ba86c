"""CAT12's regional results: ``catROI_*.xml``, ``catROIs_*.xml``, ``catROI_*.csv`` and the TIV of ``cat_*.xml``.

Compared with files of CAT12 (r1126 and r1232) of the IXI study: several atlases, lists with blanks and with
semicolons, NaN for what has no thickness, and names such as ``lHip``, ``rHip`` and ``bBst`` (both sides).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .people import Person, file_of, files_of
from .records import Reading, Value, number, read_text

__all__ = ["read_cat12_files"]

_NUMBERS = re.compile(r"[^\s;,\[\]]+")
_TIV = "vol_TIV"


def read_cat12_files(
    pattern: str, people: Sequence[Person], columns: Sequence[str] | None, atlas: str | None
) -> Reading:
    """Read a file of each person.

    Args:
        pattern: Path with ``{subject_id}`` and, where visits have files of their own, ``{session_id}``.
        people: Scans that are wanted.
        columns: Measures, such as ``Vgm``, ``Vwm`` and ``Vcsf`` (mL) or ``thickness`` (mm); None: ``Vgm``, or
            ``thickness`` in a file of surfaces. A report (``cat_*.xml``) gives ``vol_TIV`` (mL).
        atlas: Which of the atlases in the file, such as ``neuromorphometrics``; None: its only one.

    Raises:
        InputError: A file is no such file, or lacks the atlas or a measure, or several fit.
    """
    reading = Reading()
    for person in people:
        reading.files += files_of(pattern, person)
        path = file_of(pattern, person)
        if path is None:
            reading.left_out.append((person.scan_id, f"has no file {files_of(pattern, person)[0]}"))
        elif path.suffix.lower() == ".csv":
            reading.add(_read_csv(path, person, columns))
        else:
            reading.add(_read_xml(path, person, columns, atlas))
    return reading


def _read_xml(path: Path, person: Person, columns: Sequence[str] | None, atlas: str | None) -> list[Value]:
    try:
        root = ElementTree.fromstring(read_text(path))  # the user's own file
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no XML file: {error}.") from error
    # Elsewhere in the report the same name is a mark (1.2), not a volume.
    volume = root.find(f".//subjectmeasures/{_TIV}")
    if volume is not None and volume.text:
        value = number(volume.text, f"{path}, {_TIV}")
        return [Value(person.subject, person.session, None, _TIV, value, "mL")]
    sections = {part.tag: part for part in root if part.find("names") is not None and part.find("data") is not None}
    section = _section(path, sections, atlas)
    names = _two_sided([(item.text or "").strip() for item in section.findall("names/item")])
    data = {part.tag: part.text or "" for part in section.find("data") or ()}
    wanted = columns or [name for name in ("Vgm", "thickness") if name in data][:1]
    _require(path, wanted, list(data))
    values = []
    for column in wanted:
        cells = _NUMBERS.findall(data[column])
        if len(cells) != len(names):
            raise InputError(f"{path}, {column}: {len(cells)} values for {len(names)} regions. Is the file whole?")
        for name, cell in zip(names, cells, strict=True):
            value = number(cell, f"{path}, {name}, {column}")
            values.append(Value(person.subject, person.session, name, column, value, _unit(column)))
    return values


def _section(path: Path, sections: dict[str, ElementTree.Element], atlas: str | None) -> ElementTree.Element:
    if not sections:
        raise InputError(f"{path} is no file of CAT12's regions: no part of it has 'names' and 'data'.")
    if atlas is None and len(sections) == 1:
        return next(iter(sections.values()))
    if atlas not in sections:
        what = "holds several atlases: set roi_atlas" if atlas is None else f"has no atlas {atlas!r}"
        hint = "" if atlas is None else did_you_mean(atlas, list(sections))
        raise InputError(f"{path} {what}.{hint} It has: {', '.join(sections)}.")
    return sections[atlas]


def _read_csv(path: Path, person: Person, columns: Sequence[str] | None) -> list[Value]:
    """Read the table of older versions: ROIid, ROIabbr, ROIname and measures, with semicolons or commas."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    delimiter = ";" if lines and ";" in lines[0] else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    headers = list(rows[0]) if rows else []
    place = next((name for name in ("ROIname", "ROIabbr", "names") if name in headers), None)
    if place is None:
        raise InputError(f"{path} is no table of CAT12's regions: it has no column ROIname. It has: {headers}.")
    wanted = columns or [name for name in ("Vgm", "thickness") if name in headers][:1]
    _require(path, wanted, headers)
    names = _two_sided([(row[place] or "").strip() for row in rows])
    return [
        Value(person.subject, person.session, name, column, number(row[column], f"{path}, {name}"), _unit(column))
        for column in wanted
        for name, row in zip(names, rows, strict=True)
    ]


def _require(path: Path, wanted: Sequence[str], known: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        hint = did_you_mean(missing[0], list(known)) if missing else ""
        lacking = ", ".join(missing) or "Vgm or thickness"
        raise InputError(f"columns: {path} has no measure {lacking}.{hint} It has: {', '.join(known)}.")


def _unit(column: str) -> str:
    return "mL" if column.startswith("V") else "mm" if "thickness" in column.lower() or column.startswith("T") else ""


def _two_sided(names: list[str]) -> list[str]:
    """Return names whose side is plain: ``lbankssts`` as ``lh_bankssts``, ``bBst`` (both sides) as ``Bst``.

    Only where there are such pairs: nearly all names of a surface atlas; in a volume atlas a capital follows.
    """
    pairs = {name[1:] for name in names if name.startswith("r")} & {name[1:] for name in names if name.startswith("l")}
    camel = any(name[:1].isupper() for name in pairs)
    if 2 * len(pairs) < 0.9 * len(names) and not camel:
        return names

    def plain(name: str) -> str:
        if name[:1] in ("l", "r") and name[1:] in pairs:
            return f"{name[0]}h_{name[1:]}"
        return name[1:] if camel and name[:1] == "b" and name[1:2].isupper() else name

    return [plain(name) for name in names]
