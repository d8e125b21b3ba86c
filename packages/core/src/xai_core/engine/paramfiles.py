"""The content of files that parameters name: part of what decides a result, as the parameters themselves are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import registry
from .units import file_hash

__all__ = ["param_files", "path_hash"]


def param_files(kind: str, slot: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the file or folder that each path parameter names, by parameter; none that is not there.

    Args:
        kind: Of the component.
        slot: Its ``{name, params}``, paths absolute.
    """
    properties = registry.schema(kind, slot["name"]).get("properties", {})
    found = {}
    for name, value in slot["params"].items():
        if properties.get(name, {}).get("format") == "path" and isinstance(value, str | Path):
            path = Path(value)
            if path.exists():
                found[name] = path_hash(path)
    return found


def path_hash(path: Path) -> str:
    """Return the SHA-256 of a file or of a folder's files and their names; ``"absent"`` where there is neither."""
    if not path.exists():
        return "absent"
    if path.is_file():
        return _of_file(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listed = "\n".join(f"{each.relative_to(path).as_posix()} {_of_file(each)}" for each in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _of_file(path: Path) -> str:
    about = path.stat()
    return _hash(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash(path: Path, _size: int, _changed: int) -> str:
    return file_hash(path)
