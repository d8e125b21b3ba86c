"""Finds images in a BIDS folder by the names of its files (BIDS 1.10, entities and suffix)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["find", "label", "people", "suffixes"]

_EXTENSIONS = (".nii.gz", ".nii")


def label(text: str, entity: str) -> str:
    """Return ``"01"`` for ``"sub-01"`` and for ``"01"`` (``entity``: sub or ses)."""
    return text.removeprefix(f"{entity}-")


def _parsed(name: str) -> tuple[dict[str, str], str] | None:
    """Return the entities and the suffix of a file name, or None where it is not a NIfTI with BIDS naming."""
    extension = next((ending for ending in _EXTENSIONS if name.endswith(ending)), None)
    if extension is None:
        return None
    *pairs, suffix = name.removesuffix(extension).split("_")
    split = [pair.partition("-") for pair in pairs]
    if any(not key or not value for key, _, value in split):
        return None
    return {key: value for key, _, value in split}, suffix


def _folders(root: Path, subject: str, session: str | None, datatype: str) -> list[Path]:
    person = root / f"sub-{subject}"
    if session is not None:
        return [person / f"ses-{session}" / datatype]
    return [person / datatype, *sorted(person.glob(f"ses-*/{datatype}"))]


def _fits(have: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(have.get(entity) == value for entity, value in wanted.items())


def find(
    root: Path,
    subject: str,
    session: str | None,
    *,
    datatype: str,
    suffix: str,
    entities: Mapping[str, str | None],
) -> list[tuple[Path, str | None]]:
    """Return the NIfTI files of one person that fit, each with its session's label, sorted by path.

    Args:
        root: The BIDS folder, or a derivative's.
        subject: Label of the person, without ``sub-``.
        session: Label of the session; None: files of all sessions and those without one.
        datatype: Folder of the kind of data, such as ``anat``.
        suffix: Last part of the name, such as ``T1w``.
        entities: Values that entities must have (``{"desc": "preproc"}``); None: the entity must be absent.
    """
    wanted = {**entities, "sub": subject} | ({} if session is None else {"ses": session})
    found = []
    for folder in _folders(root, subject, session, datatype):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            parsed = _parsed(path.name)
            if parsed and parsed[1] == suffix and _fits(parsed[0], wanted):
                found.append((path, parsed[0].get("ses")))
    return found


def people(root: Path) -> list[str]:
    """Return the labels of the people that have a folder."""
    return sorted(label(path.name, "sub") for path in root.glob("sub-*") if path.is_dir())


def suffixes(root: Path, subject: str, datatype: str) -> list[str]:
    """Return the suffixes of all images of one person."""
    paths = (path for folder in _folders(root, subject, None, datatype) if folder.is_dir() for path in folder.iterdir())
    return sorted({parsed[1] for path in paths if (parsed := _parsed(path.name))})
