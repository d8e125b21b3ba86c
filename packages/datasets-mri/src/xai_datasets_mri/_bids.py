"""Finds images by the names of their files: BIDS (1.10), Clinica's CAPS, or a pattern of one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

from ._files import ImageFiles
from ._index import Folders
from ._patterns import FilePattern

__all__ = ["BidsFile", "Collection", "derivative_folder", "label", "parsed"]

_EXTENSIONS = (".nii.gz", ".nii")
_LAYOUTS = {
    "bids": "sub-{subject}/[ses-{session}/]{datatype}/*_{suffix}.nii[.gz]",
    "caps": "subjects/sub-{subject}/ses-{session}/**/*_{suffix}.nii[.gz]",
}
# Entities whose labels are numbers: run-1 and run-01 are the same.
_INDICES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})
_LONG_NAMES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "reconstruction": "rec", "resolution": "res",
    "description": "desc", "hemisphere": "hemi", "contrast": "ce", "direction": "dir", "inversion": "inv",
}  # fmt: skip

Wanted = Mapping[str, Sequence[str] | None]


def label(text: str, entity: str) -> str:
    """Return ``"01"`` for ``"sub-01"`` and for ``"01"`` (``entity``: sub or ses)."""
    return text.removeprefix(f"{entity}-")


def parsed(name: str, *, lenient: bool = False) -> tuple[dict[str, str], str] | None:
    """Return the entities and the suffix of a file name, or None where it is not a NIfTI with BIDS naming.

    Args:
        name: The file's name.
        lenient: Parts in the middle may have no label, as in Clinica's ``sub-01_ses-M000_T1w_segm-graymatter_...``.
    """
    extension = next((ending for ending in _EXTENSIONS if name.endswith(ending)), None)
    if extension is None:
        return None
    *pairs, suffix = name.removesuffix(extension).split("_")
    split = [pair.partition("-") for pair in pairs]
    complete = [(key, value) for key, _, value in split if key and value]
    if len(complete) < len(split) and not lenient:
        return None
    return dict(complete), suffix


@dataclass(frozen=True)
class BidsFile:
    """One image of a person: its place relative to the root, and the entities of its name (with ``ses``, ``run``)."""

    path: str
    entities: Mapping[str, str]

    @property
    def session(self) -> str | None:
        """Label of the session, or None."""
        return self.entities.get("ses")


def derivative_folder(bids: Path, name: str, parameter: str) -> Path:
    """Return the folder of a derivative of a BIDS dataset.

    Raises:
        InputError: There is none of this name; the message lists those that there are.
    """
    root = bids / "derivatives" / name
    if root.is_dir():
        return root
    others = sorted(path.name for path in root.parent.glob("*") if path.is_dir())
    there = f"Derivatives there: {', '.join(others)}." if others else f"{root.parent} holds no derivatives."
    raise InputError(f"There is no derivative {root} ({parameter}).{did_you_mean(root.name, others)} {there}")


class Collection:
    """The images of a folder that fit one description, by person.

    Args:
        folders: The folder's index.
        files: What to look for.
    """

    def __init__(self, folders: Folders, files: ImageFiles) -> None:
        self.root, self.files = folders.root, files
        self._folders = folders
        self._wanted = {_LONG_NAMES.get(key, key): values for key, values in files.entities.items()}
        self._people: dict[str, list[BidsFile]] = {}
        for found in self._found():
            self._people.setdefault(found.entities["sub"], []).append(found)

    def _found(self) -> list[BidsFile]:
        if self.files.pattern is not None:
            pattern = FilePattern(self.files.pattern)
        else:
            text = _LAYOUTS[self.files.layout].replace("{datatype}", self.files.datatype)
            pattern = FilePattern(text.replace("{suffix}", self.files.suffix))
        found = []
        for match in pattern.find(self._folders):
            entities = self._entities(match.path, match.values)
            if entities is not None and _fits(entities, self._wanted):
                found.append(BidsFile(match.path, entities))
        return found

    def _entities(self, path: str, values: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return what the name tells, or None where name and folders speak of different people or sessions."""
        given = {_LONG_NAMES.get(key, key): value for key, value in values.items()}
        if self.files.pattern is not None:
            return given
        name = parsed(path.rpartition("/")[2], lenient=self.files.layout == "caps")
        astray = name is None or name[0].get("sub") != given["sub"] or name[0].get("ses") != given.get("ses")
        return None if astray else name[0] if name else None

    def people(self) -> list[str]:
        """Return the labels of the people who have such an image, sorted."""
        return sorted(self._people)

    def of(self, subject: str, session: str | None = None) -> list[BidsFile]:
        """Return the images of a person, sorted by path; of one session, where it is given."""
        found = sorted(self._people.get(subject, ()), key=lambda file: natural(file.path))
        return [file for file in found if session is None or file.session == session]

    def everybody(self) -> list[str]:
        """Return the labels of all people with a folder, whatever it holds; with a pattern, as ``people``."""
        if self.files.pattern is not None:
            return self.people()
        names = self._folders.listing("subjects" if self.files.layout == "caps" else "").folders
        return [label(name, "sub") for name in names if name.startswith("sub-")]

    def suffixes(self, subject: str) -> list[str]:
        """Return the suffixes of all images of one person in the kind of folder that is looked into."""
        if self.files.pattern is not None:
            return []
        text = _LAYOUTS[self.files.layout].replace("{datatype}", self.files.datatype).replace("*_{suffix}", "*")
        whole = FilePattern(text.replace("{subject}", subject).replace("[ses-{session}/]", "[ses-{session}/]"))
        names = (match.path.rpartition("/")[2] for match in whole.find(self._folders))
        return sorted({about[1] for name in names if (about := parsed(name, lenient=True))})


def _fits(have: Mapping[str, str], wanted: Wanted) -> bool:
    for entity, values in wanted.items():
        value = have.get(entity)
        if values is None or value is None:
            if (values is None) != (value is None):
                return False
        elif not any(_same(entity, value, other) for other in values):
            return False
    return True


def _same(entity: str, value: str, other: str) -> bool:
    if entity in _INDICES and value.isdecimal() and other.isdecimal():
        return int(value) == int(other)
    return value == label(other, entity)


@cache
def _pieces(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.findall(r"\d+|\D+", text))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts M6 before M12, and run-2 before run-10."""
    return _pieces(text)
