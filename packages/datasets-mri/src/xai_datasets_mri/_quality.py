"""Quality control of a cohort: every image measured and drawn once, a table and a page of all of them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torchio as tio

from xai_core.engine.imagefile import ImageRead, read_image_file
from xai_core.engine.looks import Look, joined_digest
from xai_core.engine.scans import ScanChecks, image_of, paths_of, stamp_of
from xai_core.engine.study import scan_name
from xai_core.engine.tables import tsv
from xai_core.engine.units import Units, content_key, write_text

from ._quality_numbers import NUMBERS, measure
from ._quality_outliers import flags
from ._quality_page import page
from ._quality_picture import png, strip

__all__ = ["Quality", "look_at", "quality_of_run", "write_quality"]

_log = logging.getLogger("xai")

# Changes with what is measured or drawn: what an earlier version made is made anew.
_VERSION = 1

Row = dict[str, Any]


@dataclass
class Quality:
    """Measures and draws the images of a cohort as they are read.

    Args:
        subjects: The scans.
        names: ``sub-01`` or ``sub-01_ses-02`` of each.
        memory: Folder in which to keep what was measured, a file for each scan; None: only in memory.
    """

    subjects: Sequence[tio.Subject]
    names: Sequence[str]
    memory: Path | None = None
    _found: dict[int, list[Row]] = field(default_factory=dict)

    def visit(self, index: int, channel: int, read: ImageRead) -> None:
        """Measure and draw one image; what goes wrong with it is its ``failure``, and stops nothing."""
        if channel == 0:
            self._found[index] = []
        self._found[index].append(_measured(self.subjects[index], read))
        if self.memory is not None and read.path is not None and not read.problem:
            record = {"version": _VERSION, "mask": _mask_stamp(self.subjects[index]), "channels": self._found[index]}
            write_text(self._file(index), json.dumps(record))

    def wanted(self, index: int, digest: str) -> bool:
        """Whether a scan whose content is known must be read all the same, because nothing is kept of it."""
        return bool(digest) and self._recall(index, digest) is None

    def rows(self, looks: Sequence[Look]) -> list[Row]:
        """Return one row for each image, with ``problem`` or its numbers, ``flags`` and ``picture``.

        Args:
            looks: What was found at each scan.
        """
        rows: list[Row] = []
        for index, (subject, look) in enumerate(zip(self.subjects, looks, strict=True)):
            about = {
                "scan_id": look.name,
                "subject_id": str(subject["subject_id"]),
                "session_id": subject.get("session_id"),
                "site": subject.get("site"),
            }
            paths = paths_of(image_of(subject))
            if look.problems:
                problem = " ".join(_without_name(text, look.name) for text in look.problems)
                rows.append(about | {"channel": 0, "image": _first(paths), "digest": "", "problem": problem,
                                     "failure": ""})  # fmt: skip
                continue
            channels = self._found.get(index) or self._recall(index, look.digest) or []
            for number, channel in enumerate(channels):
                path = str(paths[number]) if number < len(paths) else None
                rows.append({"problem": "", **about, "image": path, **channel, "channel": number})
        for row, found in zip(rows, flags(rows), strict=True):
            row["flags"] = found
        return rows

    def forget_others(self) -> None:
        """Remove what is kept of scans that are not in the cohort any more."""
        if self.memory is not None:
            kept = {self._file(index).name for index in range(len(self.names))}
            for path in self.memory.glob("*.json"):
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def _file(self, index: int) -> Path:
        assert self.memory is not None
        return self.memory / f"{self.names[index]}.json"

    def _recall(self, index: int, digest: str) -> list[Row] | None:
        if self.memory is None:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._file(index).read_text(encoding="utf-8"))
            same = record["version"] == _VERSION and record["mask"] == _mask_stamp(self.subjects[index])
            channels: list[Row] = record["channels"]
            if same and joined_digest([channel["digest"] for channel in channels]) == digest:
                return channels
        return None


def _without_name(problem: str, name: str) -> str:
    return problem.removeprefix(f"{name}: ")


def _first(paths: Sequence[Path]) -> str | None:
    return str(paths[0]) if paths else None


def _mask_path(subject: tio.Subject) -> Path | None:
    mask = subject.get("mask")
    paths = paths_of(mask) if isinstance(mask, tio.Image) else []
    return paths[0] if len(paths) == 1 else None


def _mask_stamp(subject: tio.Subject) -> str:
    path = _mask_path(subject)
    return "" if path is None else stamp_of(path)


def _measured(subject: tio.Subject, read: ImageRead) -> Row:
    row: Row = {"digest": read.digest, "failure": "", "picture": None}
    if read.problem or read.values is None or read.affine is None:
        return row
    try:
        row |= measure(read.values, read.affine, read.dtype, _mask(subject, read.values.shape))
        picture = strip(read.values, read.affine, (row["p1"], row["p99"]))
        row["picture"] = base64.b64encode(png(picture)).decode()
    except Exception as error:  # one odd image must not end the quality control of all
        row["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def _mask(subject: tio.Subject, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """Return the brain mask that the dataset gives, where it can be used."""
    path = _mask_path(subject)
    if path is None:
        return None
    read = read_image_file(path, "", mask=True)
    fits = read.problem is None and read.values is not None and read.values.shape == shape
    return read.values if fits else None


def look_at(
    subjects: Sequence[tio.Subject], names: Sequence[str], checks: ScanChecks, memory: Path | None = None
) -> tuple[list[Look], Callable[[], list[Row]]]:
    """Look at every scan, and return what was found with a function that makes the rows of it.

    Args:
        subjects: The scans.
        names: What to call them.
        checks: Reads each scan once: hash, checks and numbers come from the same reading.
        memory: See ``Quality``.
    """
    quality = Quality(subjects, names, memory)
    looks = checks.look(subjects, names, quality.visit, quality.wanted)
    quality.forget_others()
    return looks, lambda: quality.rows(looks)


def quality_of_run(subjects: Sequence[tio.Subject], folder: Path) -> None:
    """Write ``quality/`` of a run, unless it is there for these very scans.

    Args:
        subjects: The scans.
        folder: The run folder.
    """
    names = [scan_name(subject) for subject in subjects]
    private = folder / ".xai"
    looks, rows = look_at(subjects, names, ScanChecks(private / "scans.json"), private / "quality")
    about = [
        [look.name, look.digest, look.problems, str(subject.get("site")), _mask_stamp(subject)]
        for look, subject in zip(looks, subjects, strict=True)
    ]
    units, key = Units(folder), content_key(version=_VERSION, scans=about)
    if units.is_done("quality", key):
        return
    with units.make("quality", key, "quality") as temporary:
        _log.info("%s See %s", write_quality(rows(), temporary, folder.name), folder / "quality" / "index.html")


def write_quality(rows: Sequence[Mapping[str, Any]], folder: Path, title: str) -> str:
    """Write ``quality.tsv`` and ``index.html`` and return one sentence about them.

    Args:
        rows: From ``Quality.rows``.
        folder: An existing folder.
        title: What the cohort is called.
    """
    hidden = {"picture", "digest", "failure", *NUMBERS}
    table = [
        {key: value for key, value in row.items() if key not in hidden}
        | {key: _cell(row.get(key)) for key in NUMBERS}
        | {"flags": "; ".join(row["flags"]) or None, "problem": row["problem"] or row["failure"] or None}
        for row in rows
    ]
    write_text(folder / "quality.tsv", tsv(pd.DataFrame(table)))
    write_text(folder / "index.html", page(rows, title))
    bad, flagged = sum(bool(row["problem"]) for row in rows), sum(bool(row["flags"]) for row in rows)
    return f"quality: {len(rows)} images, {bad} cannot be used, {flagged - bad} others are unlike the rest."


def _cell(value: Any) -> Any:
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
