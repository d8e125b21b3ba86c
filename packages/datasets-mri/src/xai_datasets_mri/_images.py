"""Gives each row of a study table its image and its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from . import _bids
from ._table import StudyTable, rows_text

__all__ = ["Scan", "bids_masks", "bids_scans", "column_masks", "column_scans"]

_SHOWN = 5


@dataclass(frozen=True)
class Scan:
    """One row: person, session (None: not known) and files (None: not found yet, or no mask)."""

    subject: str
    session: str | None
    image: Path | None = None
    mask: Path | None = None


def column_scans(study: StudyTable, scans: Sequence[Scan], column: str) -> list[Scan]:
    """Return the scans with the images that a column names.

    Raises:
        InputError: A row has no path, or its path is no file.
    """
    paths = _column_paths(study, column)
    rows = [row for row, path in zip(study.rows, paths, strict=True) if path is None]
    if rows:
        raise InputError(f"{study.path}: {rows_text(rows)} names no image in the column {column!r}. Fill in the path.")
    return [replace(scan, image=path) for scan, path in zip(scans, paths, strict=True)]


def column_masks(study: StudyTable, scans: Sequence[Scan], column: str) -> list[Scan]:
    """Return the scans with the masks that a column names; a row may have none.

    Raises:
        InputError: A path is no file, or no row has a path.
    """
    paths = _column_paths(study, column)
    if not any(paths):
        raise InputError(f"{study.path}: the column {column!r} (ground_truth) holds no path. Leave ground_truth out.")
    return [replace(scan, mask=path) for scan, path in zip(scans, paths, strict=True)]


def _column_paths(study: StudyTable, column: str) -> list[Path | None]:
    base = study.path.parent
    paths = [None if cell is None else base / Path(cell).expanduser() for cell in study.columns[column]]
    wrong = [
        (row, path) for row, path in zip(study.rows, paths, strict=True) if path is not None and not path.is_file()
    ]
    if wrong:
        listed = "; ".join(
            f"row {row}: {path} {'is a folder' if path.is_dir() else 'does not exist'}" for row, path in wrong[:_SHOWN]
        )
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(
            f"{study.path}: {len(wrong)} of {len(paths)} files of the column {column!r} cannot be used. "
            f"{listed}{more}. Relative paths start at {base}."
        )
    return paths


def bids_scans(
    study: StudyTable,
    scans: Sequence[Scan],
    root: Path,
    *,
    datatype: str,
    suffix: str,
    entities: Mapping[str, str | None],
) -> list[Scan]:
    """Return the scans with their images in a BIDS folder, and their sessions where the file's name tells them.

    Raises:
        InputError: A person has no image, or several that fit.
    """
    found = [
        _bids.find(root, scan.subject, scan.session, datatype=datatype, suffix=suffix, entities=entities)
        for scan in scans
    ]
    missing = [index for index, files in enumerate(found) if not files]
    if missing:
        raise InputError(_missing_text(study, scans, missing, root, datatype, suffix, entities))
    _refuse_several(study, found, f"{suffix} images")
    return [
        replace(scan, image=files[0][0], session=scan.session if scan.session is not None else files[0][1])
        for scan, files in zip(scans, found, strict=True)
    ]


def bids_masks(study: StudyTable, scans: Sequence[Scan], root: Path, *, datatype: str) -> list[Scan]:
    """Return the scans with their ``_mask`` files in a BIDS derivative; a person may have none.

    Raises:
        InputError: The derivative is no folder, nobody has a mask, or somebody has several.
    """
    if not root.is_dir():
        others = sorted(path.name for path in root.parent.glob("*") if path.is_dir())
        there = f"Derivatives there: {', '.join(others)}." if others else f"{root.parent} holds no derivatives."
        raise InputError(
            f"There is no derivative {root} (ground_truth_derivative).{did_you_mean(root.name, others)} {there}"
        )
    found = [
        _bids.find(root, scan.subject, scan.session, datatype=datatype, suffix="mask", entities={}) for scan in scans
    ]
    if not any(found):
        raise InputError(f"{root} holds no sub-<label>/{datatype}/..._mask.nii[.gz] of anybody in {study.path}.")
    _refuse_several(study, found, "masks")
    return [replace(scan, mask=files[0][0] if files else None) for scan, files in zip(scans, found, strict=True)]


def _missing_text(
    study: StudyTable,
    scans: Sequence[Scan],
    missing: Sequence[int],
    root: Path,
    datatype: str,
    suffix: str,
    entities: Mapping[str, str | None],
) -> str:
    def named(scan: Scan) -> str:
        return f"sub-{scan.subject}" + ("" if scan.session is None else f"/ses-{scan.session}")

    listed = ", ".join(f"{named(scans[index])} (row {study.rows[index]})" for index in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    first = scans[missing[0]].subject
    people = _bids.people(root)
    if first not in people:
        there = f"There is no folder sub-{first}.{did_you_mean(first, people)} People there: {len(people)}."
    else:
        have = _bids.suffixes(root, first, datatype)
        there = f"Images of sub-{first} there: {', '.join(have) if have else 'none'}."
    filters = "".join(f", {key}-{value}" if value is not None else f", no {key}" for key, value in entities.items())
    return (
        f"{root} has no {suffix} image ({datatype}{filters}) of {len(missing)} of the {len(scans)} rows "
        f"of {study.path}: {listed}{more}. {there}"
    )


def _refuse_several(study: StudyTable, found: Sequence[Sequence[tuple[Path, str | None]]], what: str) -> None:
    several = [index for index, files in enumerate(found) if len(files) > 1]
    if several:
        first = several[0]
        names = ", ".join(path.name for path, _ in found[first])
        raise InputError(
            f"{study.path}: {rows_text([study.rows[index] for index in several])}: several {what} fit, such as "
            f"{names}. Choose with 'entities' (run: '1', say), or name the column of the visits with 'session'."
        )
