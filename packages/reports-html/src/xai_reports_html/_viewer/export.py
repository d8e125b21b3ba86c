"""The viewer as a folder that opens from disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xai_core import InputError
from xai_core.engine.progress import track

from .manifest import Viewed
from .pages import every_page, page

__all__ = ["export"]


def export(viewed: Viewed, folder: Path, language: Mapping[str, str] | None = None) -> Path:
    """Write the viewer into a new folder, whole or not at all, and return its page.

    Raises:
        InputError: Something else is there, an image cannot be read, or nothing can be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not _is_viewer(folder):
        raise InputError(f"{folder} exists and is not a viewer. Give another folder, or an empty one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"The viewer cannot be written to {folder}: {error.strerror or error}.") from error
    try:
        (draft / "data").mkdir()
        for name in track(every_page(viewed), "Writing the viewer"):
            (draft / name).write_bytes(page(name, viewed, language))
        draft.chmod(0o755)  # mkdtemp makes it private
        if folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
    except OSError as error:
        raise InputError(f"The viewer cannot be written to {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder / "index.html"


def _is_viewer(folder: Path) -> bool:
    return (folder / "niivue.umd.js").is_file() and (folder / "manifest.js").is_file()
