"""What ``xai atlases`` shows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .catalogue import BUILT_IN, PROVIDERS
from .finding import find_atlas, in_folders, user_folders
from .loading import load_atlas

__all__ = ["as_text", "listed", "regions_of"]


def listed(folder: Path | None) -> list[dict[str, Any]]:
    """Return every atlas that a study can name: built in, then the user's.

    Each with ``name``, ``title``, ``installed``, ``get`` (how to get it; None where it is installed or the user's own),
    ``provider``, ``kind`` (None: not known before it is read), ``space``, ``licence``, ``citation``, ``image``,
    ``sha256``, ``table``.

    Raises:
        InputError: A folder does not exist, or a name is taken twice.
    """
    return [_built_in(name) for name in BUILT_IN] + [
        _of_user(name, path) for name, path in in_folders(user_folders(folder)).items()
    ]


def _built_in(name: str) -> dict[str, Any]:
    atlas = BUILT_IN[name]
    provider, files = PROVIDERS[atlas.provider], atlas.files
    return {
        "name": name, "title": atlas.title, "installed": files is not None,
        "get": None if files is not None else provider.get, "provider": provider.name, "kind": atlas.kind,
        "space": atlas.space, "licence": atlas.licence, "citation": atlas.citation,
        "image": None if files is None else str(files[0]), "sha256": None if files is None else _sha256(files[0]),
        "table": None if files is None or files[1] is None else str(files[1]),
    }  # fmt: skip


def _of_user(name: str, path: Path) -> dict[str, Any]:
    found = find_atlas(str(path), None, None, None)
    return {
        "name": name, "title": found.title, "installed": True, "get": None, "provider": str(path.parent), "kind": None,
        "space": found.space, "licence": found.licence, "citation": found.citation, "image": str(path),
        "sha256": _sha256(path), "table": None if found.table is None else str(found.table),
    }  # fmt: skip


def regions_of(name: str, folder: Path | None) -> dict[str, Any]:
    """Return an atlas, as in ``listed``, and its regions.

    Raises:
        InputError: There is no such atlas, it is not installed, or image and table do not fit together.
    """
    atlas = load_atlas(name, folder=folder)
    about = {each["name"]: each for each in listed(folder)}.get(atlas.name, {"name": atlas.name, "installed": True})
    own = {
        "kind": atlas.kind, "space": atlas.space, "licence": atlas.licence, "citation": atlas.citation,
        "image": atlas.source, "sha256": atlas.checksum, "table": atlas.table,
    }  # fmt: skip
    regions = [
        {"index": each.index, "name": each.name, "hemisphere": each.hemisphere, "structure": each.structure}
        for each in atlas.regions
    ]
    return {"atlas": {**about, **own}, "regions": regions}


def as_text(atlases: list[dict[str, Any]]) -> str:
    """Return a few lines for each atlas."""
    blocks = []
    for each in atlases:
        lines = [f"{each['name']}{'' if each['installed'] else '  (not installed)'}"]
        if each.get("title"):
            lines.append(f"  {each['title']}")
        lines.append(f"  {each['kind'] or 'labels or probabilities'} in {each['space']}")
        lines += [f"  {what}: {each[what] or 'not known'}" for what in ("licence", "citation")]
        if each["installed"]:
            lines += [f"  file: {each['image']}", f"  sha256: {each['sha256'] or 'a file for each person'}"]
        else:
            lines.append(f"  get it: {each['get']}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
