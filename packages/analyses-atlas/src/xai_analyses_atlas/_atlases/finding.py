"""Where an atlas is: built in, in a folder of the user, or a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .catalogue import BUILT_IN, PROVIDERS
from .tables import table_beside

__all__ = ["IMAGE_ENDINGS", "Found", "find_atlas", "in_folders", "sidecar_of", "user_folders"]

IMAGE_ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh")
VARIABLE = "XAI_ATLASES"


@dataclass(frozen=True)
class Found:
    """Files of an atlas and what is known of it.

    Attributes:
        name: See ``Atlas``.
        image: The image file, or the pattern of each person's.
        table: The file of the names, or None.
        space: See ``Atlas``.
        licence: See ``Atlas``.
        citation: See ``Atlas``.
        title: One line, or None.
        numbers: What labels are called that have no table: ``Brodmann area {}``, or None.
        nameless: See ``BuiltIn``.
    """

    name: str
    image: str
    table: Path | None
    space: str
    licence: str | None = None
    citation: str | None = None
    title: str | None = None
    numbers: str | None = None
    nameless: tuple[int, ...] = ()

    @property
    def pattern(self) -> bool:
        """Whether each person has a file."""
        return "{" in self.image


def find_atlas(choice: str, table: Path | None, folder: str | Path | None, space: str | None) -> Found:
    """Return the files of an atlas.

    Args:
        choice: A name, a file or a pattern.
        table: The user's own table, or None.
        folder: A folder of the user's atlases, before those of ``XAI_ATLASES``.
        space: What the user says, or None.

    Raises:
        InputError: There is none, it is not installed, or its name is taken twice.
    """
    if "{" in choice:
        _require_frame(choice, space, ("subject",))
        return Found(Path(choice).name, choice, table, "subject")
    mine = in_folders(user_folders(folder))
    path = Path(choice)
    if _is_image(path) or path.parent != Path():
        return _of_file(path, table, space)
    if choice in mine:
        return _of_file(mine[choice], table, space)
    if choice in BUILT_IN:
        return _built_in(choice, table, space)
    raise InputError(_no_such(choice, [*mine, *BUILT_IN]))


def user_folders(folder: str | Path | None) -> list[Path]:
    """Return the folders of the user's atlases: the one given, then those of ``XAI_ATLASES``.

    Raises:
        InputError: One does not exist.
    """
    named = [("folder", Path(folder))] if folder is not None else []
    named += [(VARIABLE, Path(each).expanduser()) for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    for source, path in named:
        if not path.is_dir():
            raise InputError(f"{source}: {path} is no folder. Give the folder that holds your atlases.")
    return [path for _, path in named]


def in_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the images of folders by their names without the ending.

    Raises:
        InputError: Two images have one name, or one has the name of a built-in atlas.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(each for each in folder.iterdir() if each.is_file() and _is_image(each)):
            name = _stem(path)
            taken = found.get(name) or (name in BUILT_IN and "the built-in atlas of this name")
            if taken:
                raise InputError(f"The atlas {path} and {taken} have the same name. Rename or move one of them.")
            found[name] = path
    return found


def _of_file(path: Path, table: Path | None, space: str | None) -> Found:
    if not path.is_file():
        raise InputError(
            f"The atlas {path} does not exist (from {Path.cwd()}). Give an image file, a pattern, or a name that 'xai "
            "atlases' shows."
        )
    about = _sidecar(path)
    said = space or about.get("Space") or "mni"
    _require_frame(str(path), said, ("mni", "scan"))
    licence, links = about.get("License"), about.get("ReferencesAndLinks")
    citation = "; ".join(map(str, links)) if isinstance(links, list) else links
    title = about.get("Name")
    named = table or table_beside(path)
    return Found(_stem(path), str(path), named, str(said), licence, citation, None if title is None else str(title))


def _built_in(name: str, table: Path | None, space: str | None) -> Found:
    atlas = BUILT_IN[name]
    files = atlas.files
    if files is None:
        provider = PROVIDERS[atlas.provider]
        raise InputError(
            f"The atlas {name} ({atlas.title}) is not installed: it comes with {provider.name}. Install it with: "
            f"{provider.get}. Nothing is downloaded during a run."
        )
    if space is not None and _frame(space) != "mni":
        raise InputError(f"The atlas {name} lies in MNI space ({atlas.space}), not in the space {space!r}.")
    numbers = "Brodmann area {}" if atlas.table is None else None
    return Found(
        name, str(files[0]), table or files[1], space if space not in (None, "mni") else atlas.space, atlas.licence,
        atlas.citation, atlas.title, numbers, () if table else atlas.nameless,
    )  # fmt: skip


def _no_such(choice: str, known: list[str]) -> str:
    return (
        f"There is no atlas {choice!r}.{did_you_mean(choice, known)} There are: {', '.join(sorted(known))}. "
        f"'xai atlases' shows them; images in a folder of yours are found by name, too ({VARIABLE}), or give a file."
    )


def _require_frame(what: str, space: str | None, allowed: tuple[str, ...]) -> None:
    if space is not None and _frame(space) not in allowed:
        whose = "one image for everybody" if "{" not in what else "a pattern of each person's file"
        raise InputError(
            f"The atlas {what} is {whose}, which cannot be in the space {space!r}. A pattern with {{subject_id}} is in "
            "the space subject; one image is in MNI space or in the space scan, that all scans share."
        )


def _frame(space: str) -> str:
    return space if space in ("scan", "subject") else "mni"


def sidecar_of(image: Path) -> Path | None:
    """Return the JSON file beside an image that says its space and licence, or None."""
    beside = image.with_name(_stem(image) + ".json")
    return beside if beside.is_file() else None


def _sidecar(path: Path) -> dict[str, Any]:
    beside = sidecar_of(path)
    if beside is None:
        return {}
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{beside} beside the atlas cannot be read as JSON: {error}.") from error
    return about if isinstance(about, dict) else {}


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_ENDINGS)


def _stem(path: Path) -> str:
    return next(path.name[: -len(end)] for end in IMAGE_ENDINGS if path.name.lower().endswith(end))
