"""Gives each row of a study table its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._bids import BidsFile, Collection, derivative_folder, natural
from ._files import ImageFiles
from ._index import Folders
from ._table import StudyTable, rows_text

__all__ = ["Found", "Library", "Scan", "find", "missing_text"]

_SHOWN = 5


@dataclass(frozen=True)
class Scan:
    """One row: person, session (None: not known) and files.

    Attributes:
        subject: Label of the person.
        session: Label of the session, or None.
        images: The channels of ``image``.
        further: Other images, by their key in the subject.
    """

    subject: str
    session: str | None
    images: tuple[Path, ...] = ()
    further: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``sub-01`` or ``sub-01/ses-02``."""
        return f"sub-{self.subject}" + ("" if self.session is None else f"/ses-{self.session}")


@dataclass
class Found:
    """One kind of image of every row.

    Attributes:
        paths: The files; None: there is none.
        sessions: Sessions that the files' names tell, or None.
        reasons: Why there is no file; None where there is one.
        problems: What must be corrected, whatever is to be done with missing files.
    """

    paths: list[Path | None]
    sessions: list[str | None]
    reasons: list[str | None]
    problems: list[str] = field(default_factory=list)


class Library:
    """The folders of a study, each listed once, and the images in them."""

    def __init__(self) -> None:
        self.roots: dict[Path, Folders] = {}

    def collection(self, files: ImageFiles) -> Collection:
        """Return the images that fit a description.

        Raises:
            InputError: Its folder is not there.
        """
        assert files.root is not None
        if not files.root.is_dir():
            what = "is not a folder" if files.root.exists() else "does not exist"
            raise InputError(
                f"The BIDS folder {files.root} ({files.name}) {what}. Give the one that holds sub-<label>."
            )
        root = files.root
        if files.derivative is not None:
            root = derivative_folder(root, files.derivative, files.name)
        if root not in self.roots:
            self.roots[root] = Folders(root)
        return Collection(self.roots[root], files)

    def save(self) -> None:
        """Remember the listings for the next time."""
        for folders in self.roots.values():
            folders.save()


def find(study: StudyTable, scans: Sequence[Scan], files: ImageFiles, images: Collection | None) -> Found:
    """Return the files of one kind for every row; whether one may be missing is for the caller to say.

    Args:
        study: The table.
        scans: Person and session of each row.
        files: What to look for.
        images: The images of the folder, unless the files are in a column.
    """
    if images is None:
        return _in_column(study, files)
    found = [images.of(scan.subject, scan.session) for scan in scans]
    problems = _several(study, found, files)
    chosen = [_chosen(candidates, files.several) for candidates in found]
    paths = [None if one is None else images.root / one.path for one in chosen]
    reasons = [_lacking(path, files) for path in paths]
    return Found(
        [path if reason is None else None for path, reason in zip(paths, reasons, strict=True)],
        [None if one is None else one.session for one in chosen],
        reasons,
        problems,
    )


def _chosen(candidates: Sequence[BidsFile], several: str) -> BidsFile | None:
    if not candidates:
        return None
    in_order = sorted(candidates, key=lambda one: (natural(one.entities.get("run", "")), natural(one.path)))
    return in_order[-1] if several == "last" else in_order[0]


def _lacking(path: Path | None, files: ImageFiles) -> str | None:
    if path is None:
        return f"no {files.what}"
    if not path.exists():
        return f"{path.name} is a link to a file that is not here (datalad get?)"
    return None


def _in_column(study: StudyTable, files: ImageFiles) -> Found:
    assert files.column is not None
    base = study.path.parent
    cells = study.columns[files.column]
    paths = [None if cell is None else base / Path(cell).expanduser() for cell in cells]
    reasons = [
        f"no path in the column {files.column}"
        if path is None
        else None
        if path.is_file()
        else f"{path} {'is a folder' if path.is_dir() else 'does not exist'}"
        for path in paths
    ]
    return Found(
        [path if reason is None else None for path, reason in zip(paths, reasons, strict=True)],
        [None] * len(paths),
        reasons,
    )


def _several(study: StudyTable, found: Sequence[Sequence[BidsFile]], files: ImageFiles) -> list[str]:
    several = [index for index, candidates in enumerate(found) if len(candidates) > 1]
    visits = [index for index in several if len({one.session for one in found[index]}) > 1]
    if files.several != "error":
        several = visits
    if not several:
        return []
    first = (visits or several)[0]
    names = ", ".join(one.path.rpartition("/")[2] for one in found[first][:_SHOWN])
    way = (
        "Say which visits to use (visits: all, or first), name the column of the visits with 'session', or choose with "
        "'entities' (ses: 'M00', say)."
        if visits
        else "Choose with 'entities' (run: '1', say), or take the first or the last with 'several'."
    )
    rows = rows_text([study.rows[index] for index in several])
    return [f"{study.path}: {rows}: several {files.suffix} images fit, such as {names}. {way}"]


def missing_text(
    study: StudyTable, scans: Sequence[Scan], files: ImageFiles, found: Found, images: Collection | None
) -> str | None:
    """Return one message on the rows without a file, or None where every row has one."""
    missing = [index for index, reason in enumerate(found.reasons) if reason is not None]
    if not missing:
        return None
    if images is None:
        return _column_text(study, files, found, missing)
    listed = ", ".join(f"{scans[index].name} (row {study.rows[index]})" for index in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    links = [found.reasons[index] for index in missing if "link" in (found.reasons[index] or "")]
    there = f"{links[0]}." if links else _there(scans[missing[0]], images)
    return (
        f"{images.root} has no {files.what} of {len(missing)} of the {len(scans)} rows of {study.path}: "
        f"{listed}{more}. {there}"
    )


def _there(scan: Scan, images: Collection) -> str:
    people = images.everybody()
    if scan.subject not in people:
        padded = [one for one in people if one.lstrip("0") == scan.subject.lstrip("0")]  # a spreadsheet drops zeros
        meant = f" Did you mean {padded[0]!r}?" if padded else did_you_mean(scan.subject, people)
        return f"There is no folder sub-{scan.subject}.{meant} People there: {len(people)}."
    if images.files.pattern is not None:
        return f"Files of {len(people)} people fit the pattern."
    sessions = [one.session for one in images.of(scan.subject) if one.session is not None]
    if sessions:
        return f"Sessions of sub-{scan.subject} with such an image: {', '.join(sessions)}."
    have = images.suffixes(scan.subject)
    return f"Images of sub-{scan.subject} there: {', '.join(have) if have else 'none'}."


def _column_text(study: StudyTable, files: ImageFiles, found: Found, missing: Sequence[int]) -> str:
    cells = study.columns[files.column or ""]
    empty = [study.rows[index] for index in missing if cells[index] is None]
    wrong = [index for index in missing if cells[index] is not None]
    texts = []
    if empty:
        texts.append(
            f"{study.path}: {rows_text(empty)} names no image in the column {files.column!r}. Fill in the path."
        )
    if wrong:
        listed = "; ".join(f"row {study.rows[index]}: {found.reasons[index]}" for index in wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        texts.append(
            f"{study.path}: {len(wrong)} of {len(cells)} files of the column {files.column!r} cannot be used. "
            f"{listed}{more}. Relative paths start at {study.path.parent}."
        )
    return "\n".join(texts)
