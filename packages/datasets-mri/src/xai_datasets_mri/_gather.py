"""Reads one table with its images: which rows are used, which files belong to them, and who is left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xai_core.errors import InputError

from ._bids import Collection, label
from ._columns import check_classes, warn_of_spellings
from ._files import ImageFiles
from ._images import Found, Library, Scan, find, missing_text
from ._left_out import LeftOut
from ._mapping import mapped, sidecar
from ._recode import filtered, grouped, recoded
from ._row_checks import check_columns, duplicates, nobody_text, people, wrong_paths
from ._source import Source, Target
from ._table import StudyTable, read_table, rows_text
from ._visits import SESSION, by_visit, chosen_visits, with_session_tables

__all__ = ["Part", "gather"]

_log = logging.getLogger("xai")


@dataclass(frozen=True)
class Part:
    """The rows of one table that are used.

    Attributes:
        study: The rows, with their columns as texts.
        scans: Person, session and files of each row.
        classes: Group of each row, where groups are given.
        covariates: Columns that describe a person.
        site: Column of the site, or None.
        left_out: Who is left out, and why.
        occurring: Values of the target that the rows chosen by ``where`` hold, before any is renamed.
    """

    study: StudyTable
    scans: list[Scan]
    classes: list[str] | None
    covariates: list[str]
    site: str | None
    left_out: LeftOut
    occurring: frozenset[str]


def gather(source: Source, target: Target) -> Part:
    """Return the rows of a table that are used, with their files. Images are not opened.

    Raises:
        InputError: The table, columns, values or files are missing or wrong; what can be told together is.
    """
    if source.bids is not None and not source.bids.is_dir():
        what = "is not a folder" if source.bids.exists() else "does not exist"
        raise InputError(f"The BIDS folder {source.bids} {what}. Give the folder that holds sub-<label> folders.")
    study = mapped(_read(source), source.columns)
    library = Library()
    try:
        return _Gathering(source, target, library).of(study)
    finally:
        library.save()


def _read(source: Source) -> StudyTable:
    path = source.table_path
    if source.table is None and not path.is_file():
        raise InputError(
            f"{path} does not exist. Give the study table with 'table'; if this folder is a derivative, give the raw "
            "dataset as 'bids' and this one as 'derivative'."
        )
    study = read_table(path)
    about = sidecar(path.with_suffix(".json"))
    if source.table is None:
        about = {**about, **sidecar(path.with_name("sessions.json"))}
    return replace(study, about=about)


class _Gathering:
    """The steps from a table to its scans."""

    def __init__(self, source: Source, target: Target, library: Library) -> None:
        self._source, self._target, self._library = source, target, library
        self._collections: dict[str, Collection] = {}
        self._left_out = LeftOut(source.subject)

    def of(self, study: StudyTable) -> Part:
        source, target = self._source, self._target
        session = _optional_column(study, source.session, SESSION)
        site = _optional_column(study, source.site, "site")
        check_columns(study, source, target.column, session)
        everybody = {label(cell, "sub") for cell in study.columns[source.subject] if cell is not None}
        study, session = self._with_visits(study, session)
        if target.column not in study.columns:  # it may have come with the sessions
            study.column(target.column, "target")
        self._left_out.session = session
        study = filtered(study, source.where, self._left_out)
        study = _with_target(study, target, self._left_out)
        occurring = frozenset(cell for cell in study.columns[target.column] if cell is not None)
        study = recoded(study, target.column, target.recode, all_occur=target.all_occur)
        study, classes = self._in_classes(study)
        scans = people(study, source.subject, session)
        study, scans, classes = self._with_images(study, scans, classes, session)
        self._tell_of_others(everybody)
        used = {source.subject, session, site, source.person, *(files.column for files in self._all_files())}
        used |= {target.column} if classes is None else set()
        names = [name for name in study.columns if name not in used]
        return Part(study, scans, classes, names, site, self._left_out, occurring)

    def _all_files(self) -> list[ImageFiles]:
        return [*self._source.images, *self._source.further.values()]

    def _collection(self, files: ImageFiles) -> Collection | None:
        if files.root is None:
            return None
        if files.name not in self._collections:
            self._collections[files.name] = self._library.collection(files)
        return self._collections[files.name]

    def _with_visits(self, study: StudyTable, session: str | None) -> tuple[StudyTable, str | None]:
        source = self._source
        images = self._collection(source.images[0])
        if session is None and images is not None:
            study, session = by_visit(study, source.subject, images, source.visits)
        if source.table is None and source.bids is not None and session is not None:
            people = study
            study = with_session_tables(study, source.subject, session, source.bids)
            if study is people and len(set(study.rows)) < len(study.rows):
                named = " and ".join(dict.fromkeys(["age", self._target.column]))
                _log.warning(
                    "%s: there are several visits of a person and no sessions.tsv: each has the person's values, also "
                    "of %s.",
                    study.path,
                    named,
                )
        return study, session

    def _in_classes(self, study: StudyTable) -> tuple[StudyTable, list[str] | None]:
        target = self._target
        if target.groups is not None:
            return grouped(study, target.column, target.groups, self._left_out, all_occur=target.all_occur)
        warn_of_spellings(study, target.column, target.classes)
        if target.classes is None:
            return study, None
        if target.all_occur:
            check_classes(study, target.column, target.classes)
        cells = study.columns[target.column]
        others = Counter(cell for cell in cells if cell not in target.classes)
        if others:
            listed = ", ".join(f"{count} of {name}" for name, count in sorted(others.items(), key=str))
            _log.info("%s: left out %d rows that are in no class: %s.", study.path, others.total(), listed)
        reasons = [None if cell in target.classes else f"in no class: {target.column} is {cell}" for cell in cells]
        return self._left_out.select(study, reasons), None

    def _with_images(
        self, study: StudyTable, scans: list[Scan], classes: list[str] | None, session: str | None
    ) -> tuple[StudyTable, list[Scan], list[str] | None]:
        """Find every file, leave out rows as asked, and tell of everything that is wrong at once."""
        if not scans:
            raise InputError(f"{study.path}: no row has a class that is used (classes, groups). Leave the table out.")
        problems: list[str] = []
        reasons: list[str | None] = [None] * len(scans)
        for position, files in enumerate(self._all_files()):
            collection = self._collection(files)
            found = find(study, scans, files, collection)
            problems += found.problems
            problems += self._missing(study, scans, files, found, reasons)
            scans = _with_files(scans, found, self._key(position))
        position_of = {id(scan): index for index, scan in enumerate(scans)}
        study = self._left_out.select(study, reasons)
        scans = [scan for scan, reason in zip(scans, reasons, strict=True) if reason is None]
        if not scans and not problems:
            problems.append(f"{study.path}: nobody who is used has all images ({reasons[0]}).")
        study, scans = chosen_visits(study, scans, self._source.visits, self._left_out)
        problems += duplicates(study, scans, session)
        if problems:
            raise InputError("\n".join(problems))
        return study, scans, None if classes is None else [classes[position_of[id(scan)]] for scan in scans]

    def _key(self, position: int) -> str | None:
        """Return the key of an image in the subject; None: a channel of ``image``."""
        channels = len(self._source.images)
        return None if position < channels else list(self._source.further)[position - channels]

    def _missing(
        self, study: StudyTable, scans: Sequence[Scan], files: ImageFiles, found: Found, reasons: list[str | None]
    ) -> list[str]:
        """Return what is wrong with rows without a file, or note them as left out in ``reasons``."""
        collection = self._collection(files)
        if not any(found.paths) and not files.required:
            return [nobody_text(study, files, collection)]
        if not files.required:
            return wrong_paths(study, files, found)
        if self._source.missing_image == "drop":
            for index, reason in enumerate(found.reasons):
                reasons[index] = reasons[index] or reason
            return []
        text = missing_text(study, scans, files, found, collection)
        return [] if text is None else [text]

    def _tell_of_others(self, everybody: set[str]) -> None:
        """Tell of people with an image but without a row: a table that is too short is seen nowhere else."""
        images = self._collection(self._source.images[0])
        others = [] if images is None else [person for person in images.people() if person not in everybody]
        if not others:
            return
        for person in others:
            self._left_out.add(person, None, f"has an image, but no row in {self._source.table_path.name}")
        tell: Callable[..., None] = _log.warning if self._source.table is None else _log.info
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        tell("%s: no row of %d people who have an image: %s.", self._source.table_path, len(others), shown)


def _optional_column(study: StudyTable, name: str | None, usual: str) -> str | None:
    """Return the column to read: the one that was asked for, or the one that has the usual name."""
    return name if name is not None else usual if usual in study.columns else None


def _with_target(study: StudyTable, target: Target, left_out: LeftOut) -> StudyTable:
    cells = study.columns[target.column]
    rows = [row for row, cell in zip(study.rows, cells, strict=True) if cell is None]
    if not rows:
        return study
    if target.missing == "error" or len(rows) == len(cells):
        raise InputError(
            f"{study.path}: the target column {target.column!r} has no value in {rows_text(rows)} "
            f"({len(rows)} of {len(cells)} rows). Fill in the values, or leave such rows out with missing_target: drop."
        )
    _log.warning("%s: left out %s, which have no %s.", study.path, rows_text(rows), target.column)
    return left_out.select(study, [f"no {target.column}" if cell is None else None for cell in cells])


def _with_files(scans: Sequence[Scan], found: Found, key: str | None) -> list[Scan]:
    """Return the scans with one more file each, where there is one, and the session that its name tells."""
    result = []
    for scan, path, session in zip(scans, found.paths, found.sessions, strict=True):
        scan = replace(scan, session=scan.session if scan.session is not None else session)
        if path is not None:
            more = {"images": (*scan.images, path)} if key is None else {"further": {**scan.further, key: path}}
            scan = replace(scan, **more)
        result.append(scan)
    return result
