"""Who is segmented: the scans of a table, of a BIDS folder or of a list of files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core import InputError
from xai_core.config.resolve import bids_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BRAIN_RULES", "Failure", "Scan", "expanded", "find_scans"]

BRAIN_RULES = ("nonzero", "extract")
_ENDINGS = (".nii.gz", ".nii", ".mgz")
_SUBJECTS = ("participant_id", "subject_id", "subject")
_SESSIONS = ("session_id", "session")
_EMPTY = ("", "n/a", "NA", "NaN", "nan")


@dataclass(frozen=True)
class Scan:
    """A scan to segment.

    Attributes:
        subject: Id of the person, as the study writes it.
        session: Label of the visit, or None.
        name: BIDS name without a suffix, such as ``sub-01_ses-1_run-2``: it names the output.
        images: One file for each channel of the network.
        mask: Its brain mask; ``"nonzero"``: the voxels of the first image that are not 0; ``"extract"``: deepbet's.
    """

    subject: str
    session: str | None
    name: str
    images: tuple[Path, ...]
    mask: Path | str

    @property
    def folder(self) -> Path:
        """Where its output lies in a BIDS derivative: ``sub-01/ses-1/anat``."""
        entities = [part for part in self.name.split("_") if part.startswith(("sub-", "ses-"))]
        return Path(*entities, "anat")


@dataclass(frozen=True)
class Failure:
    """Somebody who could not be segmented.

    Attributes:
        who: BIDS name, or the file.
        reason: One sentence.
    """

    who: str
    reason: str


def find_scans(data: Sequence[Path], images: Sequence[str], mask: str) -> tuple[list[Scan], list[Failure]]:
    """Return the scans of a study, and who is in it but lacks a file.

    Args:
        data: One table (.tsv, .csv), one BIDS folder, or image files (each the first channel of a scan).
        images: For each channel a column of the table, or a suffix of BIDS (``T1w``) in a folder and for files.
        mask: ``"nonzero"``, ``"extract"``, a column of the table, or a pattern with ``{name}`` (``sub-01_ses-1``),
            ``{folder}`` (``sub-01/ses-1/anat``), ``{subject}`` and ``{session}``, and ``*`` for any part.

    Raises:
        InputError: There is no such file or column, nobody at all, or two scans would have one name.
    """
    missing = [str(path) for path in data if not path.exists()]
    if missing or not data:
        raise InputError(f"There is no {', '.join(missing) or 'data'}. Give a table, a BIDS folder or image files.")
    first = data[0]
    if len(data) > 1 or first.name.lower().endswith(_ENDINGS):
        found = _of_files(data, images, mask)
    elif first.is_dir():
        found = _of_bids(first, images, mask)
    elif first.suffix.lower() in (".tsv", ".csv"):
        found = _of_table(first, images, mask)
    else:
        raise InputError(f"{first} is no table (.tsv, .csv), no BIDS folder and no image ({', '.join(_ENDINGS)}).")
    _refuse_doubles([scan.name for scan in found[0]])
    return found


def expanded(place: Path) -> list[Path]:
    """Return the files and folders that a path with ``*`` names, sorted."""
    return sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))))


def _refuse_doubles(names: Sequence[str]) -> None:
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise InputError(
            f"Several scans would be written under one name: {', '.join(doubles[:10])}. Give each visit a session_id, "
            "and people ids that differ in more than punctuation."
        )


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def _entity(name: str, key: str) -> str | None:
    found = re.search(rf"(?:^|_){key}-([A-Za-z0-9+]+)", name)
    return found.group(1) if found else None


def _bids_name(stem: str) -> str:
    """Return the entities of a file's name, without its suffix; of another name ``sub-<name>``."""
    parts = stem.split("_")
    if not parts[0].startswith("sub-") or not bids_label(parts[0][4:]):
        return f"sub-{bids_label(stem) or 'unnamed'}"
    return "_".join(part for part in parts if re.fullmatch(r"[a-z]+-[A-Za-z0-9+]+", part))


def _of_files(data: Sequence[Path], images: Sequence[str], mask: str) -> tuple[list[Scan], list[Failure]]:
    wrong = [str(path) for path in data if not path.is_file() or not path.name.lower().endswith(_ENDINGS)]
    if wrong:
        raise InputError(f"{', '.join(wrong[:5])}: several --data must be images ({', '.join(_ENDINGS)}).")
    return _gathered([(path, Path()) for path in data], images, mask)


def _of_bids(root: Path, images: Sequence[str], mask: str) -> tuple[list[Scan], list[Failure]]:
    endings = [f"*_{images[0]}{ending}" for ending in (".nii.gz", ".nii")]
    places = [f"sub-*/{session}anat/{ending}" for session in ("", "ses-*/") for ending in endings]
    files = sorted({path for place in places for path in root.glob(place)})
    found, failures = _gathered([(path, root) for path in files], images, mask)
    if not files:
        raise InputError(
            f"{root} has no sub-*/[ses-*/]anat/*_{images[0]}.nii[.gz]. Is it a BIDS folder? --image gives the suffix."
        )
    with_images = {path.relative_to(root).parts[0] for path in files}
    people = sorted(path.name for path in root.glob("sub-*") if path.is_dir() and path.name not in with_images)
    return found, [*failures, *(Failure(who, f"has no image with the suffix {images[0]}.") for who in people)]


def _gathered(files: Sequence[tuple[Path, Path]], images: Sequence[str], mask: str) -> tuple[list[Scan], list[Failure]]:
    """Return scans of files with the root that a relative pattern of masks counts from."""
    scans, failures = [], []
    for path, root in files:
        name = _bids_name(_stem(path))
        subject, session = _entity(name, "sub") or name, _entity(name, "ses")
        try:
            others = tuple(_channel(path, suffix) for suffix in images[1:])
            brain = _mask(mask, root, name, subject, session)
        except InputError as error:
            failures.append(Failure(name, str(error)))
            continue
        scans.append(Scan(subject, session, name, (path, *others), brain))
    return scans, failures


def _channel(first: Path, suffix: str) -> Path:
    """Return the image of another suffix beside the first: of the same name, or the only one of this visit."""
    head = _stem(first).rpartition("_")[0]
    same = [first.with_name(f"{head}_{suffix}{ending}") for ending in (".nii.gz", ".nii")]
    visit = "_".join(part for part in head.split("_") if part.startswith(("sub-", "ses-")))
    beside = sorted(path for path in first.parent.glob(f"{visit}*_{suffix}.nii*"))
    found = [path for path in same if path.is_file()] or (beside if visit else [])
    if len(found) != 1:
        raise InputError(f"has {len(found)} images with the suffix {suffix} beside {first}; one is needed.")
    return found[0]


def _mask(mask: str, root: Path, name: str, subject: str, session: str | None) -> Path | str:
    if mask in BRAIN_RULES:
        return mask
    visit = [f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat"]
    fields = {"name": name, "folder": "/".join(visit), "subject": subject, "session": session or ""}
    try:
        text = mask.format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"--mask {mask!r} can have {{name}}, {{folder}}, {{subject}} and {{session}}.") from error
    place = Path(text) if Path(text).is_absolute() else root / text
    found = expanded(place)
    if len(found) != 1:
        what = "no file" if not found else f"{len(found)} files"
        raise InputError(f"has {what} for its brain mask: {place}.")
    return found[0]


def _of_table(path: Path, images: Sequence[str], mask: str) -> tuple[list[Scan], list[Failure]]:
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}.") from error
    subject = next((name for name in _SUBJECTS if name in table.columns), None)
    masks = [] if mask in BRAIN_RULES or "{" in mask else [mask]
    missing = [name for name in (*images, *masks) if name not in table.columns]
    if missing or subject is None:
        lack = ", ".join([*missing, *(["participant_id"] if subject is None else [])])
        raise InputError(f"{path} has no column {lack}. It has: {', '.join(table.columns)}.")
    if table.empty:
        raise InputError(f"{path} has no row.")
    session = next((name for name in _SESSIONS if name in table.columns), None)
    scans: list[Scan] = []
    failures: list[Failure] = []
    for _, row in table.iterrows():
        found = _of_row(row, path.parent, (subject, session), images, mask)
        (scans if isinstance(found, Scan) else failures).append(found)  # type: ignore[arg-type]
    return scans, failures


def _of_row(
    row: pd.Series[str], root: Path, ids: tuple[str, str | None], images: Sequence[str], mask: str
) -> Scan | Failure:
    person = row[ids[0]].strip().removeprefix("sub-")
    visit = "" if ids[1] is None else row[ids[1]].strip().removeprefix("ses-")
    visit = "" if visit in _EMPTY else visit
    name = f"sub-{bids_label(person) or 'unnamed'}" + (f"_ses-{bids_label(visit)}" if visit else "")
    empty = [column for column in images if row[column].strip() in _EMPTY]
    if empty or person in _EMPTY:
        return Failure(name, f"the row has nothing in {', '.join(empty or [ids[0]])}.")
    files = tuple(root / row[column].strip() for column in images)
    try:
        if mask in BRAIN_RULES or "{" in mask:
            brain = _mask(mask, root, name, bids_label(person), bids_label(visit) or None)
        elif row[mask].strip() in _EMPTY:
            return Failure(name, f"the row has no brain mask in {mask}.")
        else:
            brain = root / row[mask].strip()
    except InputError as error:
        return Failure(name, str(error))
    return Scan(person, visit or None, name, files, brain)
