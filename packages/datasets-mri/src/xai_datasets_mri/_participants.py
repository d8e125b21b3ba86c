"""Reads a study (a table of people, and images from a column or a BIDS folder) as TorchIO subjects."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torchio as tio

from ._channels import StackedImage
from ._columns import covariate, is_numeric_target, numeric_targets, odd_among_numbers
from ._files import ImageFiles
from ._gather import Part, gather
from ._images import Scan
from ._source import Source, Target

__all__ = ["covariates_of", "read_participants", "read_source", "reserved_keys", "subject_of", "targets_of"]

_log = logging.getLogger("xai")

# Keys with a meaning, and names that a Subject would let a column shadow ("shape", "values"): a column that has
# one of them by chance is kept under the name with an underscore.
_RESERVED = frozenset(dir(tio.Subject)) | {
    "applied_transforms", "fold", "ground_truth", "image", "mask", "part", "prediction", "repeat", "scan_id",
    "session_id", "site", "subject_id", "target",
}  # fmt: skip

Value = str | int | float | None


def read_source(source: Source, target: Target) -> tuple[list[tio.Subject], list[dict[str, str | None]]]:
    """Return one subject for each row of a study table that is used, and who is left out. Images are not opened.

    Raises:
        InputError: The table, a column, a value or a file is missing or wrong; the message names rows and column.
    """
    part = gather(source, target)
    targets = targets_of(part, target)
    values = covariates_of(part, reserved_keys(source))
    sites = None if part.site is None else part.study.columns[part.site]
    subjects = []
    for row, scan in enumerate(part.scans):
        own = {name: cells[row] for name, cells in values.items()}
        subjects.append(subject_of(scan, source, targets[row], None if sites is None else sites[row], own))
    return subjects, part.left_out.rows


def read_participants(
    *, bids: Path, target: str, ground_truth_derivative: str, maps: Mapping[str, ImageFiles] | None = None
) -> list[tio.Subject]:
    """Return the people of a BIDS folder whose T1w images have masks of the truth in a derivative.

    ``maps`` are further images that they carry along, by their keys in a subject.

    Raises:
        InputError: As ``read_source``.
    """
    truth = ImageFiles(
        "ground_truth_derivative", root=bids, derivative=ground_truth_derivative, suffix="mask", required=False,
        labels=True,
    )  # fmt: skip
    source = Source(None, bids, (ImageFiles("image", root=bids),), further={"ground_truth": truth, **(maps or {})})
    return read_source(source, Target(target))[0]


def reserved_keys(source: Source) -> frozenset[str]:
    """Return the names that a column must not have in a subject, or in subjects.tsv."""
    return _RESERVED | set(source.further) | {f"image_{name}" for name in source.channel_names or ()}


def targets_of(part: Part, target: Target) -> list[str] | list[float]:
    """Return the target of each row: its group, its class, or its number.

    Raises:
        InputError: Most, but not all, of the values are numbers.
    """
    if part.classes is not None:
        return part.classes
    study, column = part.study, target.column
    if target.classes is not None or not is_numeric_target(study, column):
        return [cell for cell in study.columns[column] if cell is not None]
    numbers = numeric_targets(study, column)
    distinct = sorted(set(numbers))
    levels = study.levels_text(column)
    if len(distinct) <= 2 or levels:
        listed = ", ".join(f"{number:g}" for number in distinct[:8]) + (", ..." if len(distinct) > 8 else "")
        _log.warning(
            "%s: the target column %r holds only the numbers %s and is read as a regression. "
            "For a classification, list the classes in the parameter 'classes'.%s",
            study.path, column, listed, levels,
        )  # fmt: skip
    return numbers


def covariates_of(part: Part, reserved: frozenset[str]) -> dict[str, list[Value]]:
    """Return the values of columns, as numbers where all are, under names that mean nothing else in a subject."""
    study, names = part.study, part.covariates
    values: dict[str, list[Value]] = {}
    taken = set(names) - reserved
    for name in names:
        key = name
        while key in reserved or (key != name and key in taken):
            key += "_"
        if key != name:
            _log.warning(
                "%s: the column %r is kept as %r, because %r has another meaning.", study.path, name, key, name
            )
        taken.add(key)
        odd = odd_among_numbers(study, name)
        if odd is not None:
            _log.warning(
                "%s: the column %r holds numbers, but not in %s: all of it is read as texts, each value a category of "
                "its own. Correct them, or write n/a where the value is missing.",
                study.path, name, odd,
            )  # fmt: skip
        values[key] = covariate(study.columns[name], study.decimal_comma)
    return values


def subject_of(
    scan: Scan, source: Source, target: str | float, site: str | None, covariates: Mapping[str, Value]
) -> tio.Subject:
    """Return a scan as a subject: its channels as one image, its masks and maps, its covariates."""
    image = tio.ScalarImage(scan.images[0]) if source.channel_names is None else StackedImage(list(scan.images))
    further = {key: _carried(path, source.further[key]) for key, path in scan.further.items()}
    content: dict[str, object] = {
        "image": image,
        "target": target,
        "subject_id": scan.subject,
        **({} if scan.session is None else {"session_id": scan.session}),
        **({} if site is None else {"site": site}),
        **further,
        **covariates,
    }
    return tio.Subject(content)


def _carried(path: Path, files: ImageFiles) -> tio.Image:
    return tio.LabelMap(path) if files.labels else tio.ScalarImage(path)
