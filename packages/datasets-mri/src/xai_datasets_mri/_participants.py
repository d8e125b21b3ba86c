"""Reads a study (a table of people, and images from a column or a BIDS folder) as TorchIO subjects."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torchio as tio

from xai_core.errors import InputError

from . import _bids
from ._columns import class_targets, covariate, is_numeric_target, numeric_targets
from ._images import Scan, bids_masks, bids_scans, column_masks, column_scans
from ._recode import filtered, grouped, recoded
from ._table import StudyTable, read_table, rows_text

__all__ = ["read_participants"]

_log = logging.getLogger("xai")

# Keys with a meaning, and names that a Subject would let a column shadow ("shape", "values"): a column that has
# one of them by chance is kept under the name with an underscore.
_RESERVED = frozenset(dir(tio.Subject)) | {
    "applied_transforms", "fold", "ground_truth", "image", "part", "prediction", "scan_id", "session_id", "site",
    "subject_id", "target",
}  # fmt: skip


def read_participants(
    *,
    table: Path | None = None,
    target: str,
    image: str | None = None,
    bids: Path | None = None,
    suffix: str = "T1w",
    datatype: str = "anat",
    entities: Mapping[str, str | None] | None = None,
    subject: str = "participant_id",
    session: str | None = None,
    site: str | None = None,
    ground_truth: str | None = None,
    ground_truth_derivative: str | None = None,
    classes: Sequence[str] | None = None,
    missing_target: Literal["error", "drop"] = "error",
    where: Mapping[str, Sequence[str]] | None = None,
    recode: Mapping[str, str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> list[tio.Subject]:
    """Return one subject for each row of a study table. Images are not opened.

    The parameters are those of :class:`xai_datasets_mri.participants.Participants`; exactly one of ``image`` and
    ``bids`` is given, and ``table`` may be None only beside ``bids``.

    Raises:
        InputError: The table, a column, a value or a file is missing or wrong; the message names rows and column.
    """
    if bids is not None and not bids.is_dir():
        what = "is not a folder" if bids.exists() else "does not exist"
        raise InputError(f"The BIDS folder {bids} {what}. Give the folder that holds sub-<label> folders.")
    if table is None:
        assert bids is not None
        table = bids / "participants.tsv"
    study = read_table(table)
    for parameter, name in {"target": target, "subject": subject, "image": image, "ground_truth": ground_truth}.items():
        if name is not None:
            study.column(name, parameter)
    session = _optional_column(study, session, "session", "session_id")
    site = _optional_column(study, site, "site", "site")

    study = _with_target(filtered(study, where or {}), target, missing_target)
    study = recoded(study, target, recode or {})
    study, targets = _targets(study, target, classes) if groups is None else grouped(study, target, groups)
    scans = _people(study, subject, session)
    if bids is None:
        assert image is not None
        scans = column_scans(study, scans, image)
    else:
        scans = bids_scans(study, scans, bids, datatype=datatype, suffix=suffix, entities=entities or {})
    _unique(study, scans, session)
    if ground_truth is not None:
        scans = column_masks(study, scans, ground_truth)
    elif ground_truth_derivative is not None:
        assert bids is not None
        scans = bids_masks(study, scans, bids / "derivatives" / ground_truth_derivative, datatype=datatype)

    used = {subject, image, session, site, ground_truth, *((target,) if groups is None else ())}
    values = _covariates(study, [name for name in study.columns if name not in used])
    sites = None if site is None else study.columns[site]
    return [
        _subject(
            scan, targets[row], None if sites is None else sites[row], {name: v[row] for name, v in values.items()}
        )
        for row, scan in enumerate(scans)
    ]


def _optional_column(study: StudyTable, name: str | None, parameter: str, usual: str) -> str | None:
    """Return the column to read: the one that was asked for, or the one that has the usual name."""
    if name is None:
        return usual if usual in study.columns else None
    study.column(name, parameter)
    return name


def _with_target(study: StudyTable, target: str, missing: str) -> StudyTable:
    cells = study.columns[target]
    rows = [row for row, cell in zip(study.rows, cells, strict=True) if cell is None]
    if not rows:
        return study
    if missing == "error" or len(rows) == len(cells):
        raise InputError(
            f"{study.path}: the target column {target!r} has no value in {rows_text(rows)} "
            f"({len(rows)} of {len(cells)} rows). Fill in the values, or leave such rows out with missing_target: drop."
        )
    _log.warning("%s: left out %s, which have no %s.", study.path, rows_text(rows), target)
    return study.select([cell is not None for cell in cells])


def _targets(
    study: StudyTable, target: str, classes: Sequence[str] | None
) -> tuple[StudyTable, list[str] | list[float]]:
    """Return the rows to use and their targets."""
    if classes is None and is_numeric_target(study, target):
        numbers = numeric_targets(study, target)
        distinct = sorted(set(numbers))
        if len(distinct) <= 2:
            listed = ", ".join(f"{number:g}" for number in distinct)
            _log.warning(
                "%s: the target column %r holds only the numbers %s and is read as a regression. "
                "For a classification, list the classes in the parameter 'classes'.",
                study.path, target, listed,
            )  # fmt: skip
        return study, numbers
    if classes is not None:
        chosen = class_targets(study, target, classes)
        left_out = Counter(cell for cell in study.columns[target] if cell not in classes)
        if left_out:
            listed = ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items(), key=str))
            _log.info("%s: left out %d rows that are in no class: %s.", study.path, left_out.total(), listed)
        study = chosen
    return study, [cell for cell in study.columns[target] if cell is not None]


def _people(study: StudyTable, subject: str, session: str | None) -> list[Scan]:
    """Return the person and the session of each row."""
    ids = study.columns[subject]
    rows = [row for row, cell in zip(study.rows, ids, strict=True) if cell is None]
    if rows:
        raise InputError(f"{study.path}: {rows_text(rows)} has no value in the column {subject!r}, the person's id.")
    labels = [_bids.label(cell, "sub") for cell in ids if cell is not None]
    for row, name in zip(study.rows, labels, strict=True):
        if not name or name in (".", "..") or any(character in "/\\" for character in name):
            raise InputError(f"{study.path}, row {row}: {name!r} (column {subject!r}) cannot be an id: it names files.")
    sessions = [None] * len(labels) if session is None else study.columns[session]
    return [
        Scan(person, None if visit is None else _bids.label(visit, "ses"))
        for person, visit in zip(labels, sessions, strict=True)
    ]


def _unique(study: StudyTable, scans: Sequence[Scan], session: str | None) -> None:
    seen: dict[tuple[str, str | None], int] = {}
    for row, scan in zip(study.rows, scans, strict=True):
        key = (scan.subject, scan.session)
        if key in seen:
            where = "" if scan.session is None else f" with session {scan.session!r}"
            way = "" if session is not None else ", or name the column of the visits with the parameter 'session'"
            raise InputError(
                f"{study.path}: the person {scan.subject!r}{where} is in rows {seen[key]} and {row}. "
                f"Keep one row for each scan{way}."
            )
        seen[key] = row


def _covariates(study: StudyTable, names: Sequence[str]) -> dict[str, list[str | int | float | None]]:
    values: dict[str, list[str | int | float | None]] = {}
    taken = set(names) - _RESERVED
    for name in names:
        key = name
        while key in _RESERVED or (key != name and key in taken):
            key += "_"
        if key != name:
            _log.warning(
                "%s: the column %r is kept as %r, because %r has another meaning.", study.path, name, key, name
            )
        taken.add(key)
        values[key] = covariate(study.columns[name], study.decimal_comma)
    return values


def _subject(
    scan: Scan, target: str | float, site: str | None, covariates: Mapping[str, str | int | float | None]
) -> tio.Subject:
    assert scan.image is not None
    content: dict[str, object] = {
        "image": tio.ScalarImage(scan.image),
        "target": target,
        "subject_id": scan.subject,
        **({} if scan.session is None else {"session_id": scan.session}),
        **({} if site is None else {"site": site}),
        **({} if scan.mask is None else {"ground_truth": tio.LabelMap(scan.mask)}),
        **covariates,
    }
    return tio.Subject(content)
