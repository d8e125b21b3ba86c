"""The viewer beside the pages of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ._case import Key

if TYPE_CHECKING:
    from ._material import Material

__all__ = ["viewer_links", "write_viewer"]

_FOLDER = "viewer"


def viewer_links(material: Material) -> dict[Key, str]:
    """Return the address of each explained scan in the viewer, as seen from ``index.html``; none without a viewer."""
    if not material.options.viewer:
        return {}
    return {
        one.key: f"{_FOLDER}/index.html#{urlencode({'scan': one.scan, 'fold': one.fold})}" for one in material.explained
    }


def write_viewer(material: Material, output: Path, pages: Mapping[Key, str]) -> None:
    """Write the viewer of all explained scans, if it is asked for and there are any.

    Args:
        material: Of the run.
        output: Folder of the report.
        pages: Addresses of people's pages as seen from ``index.html``.

    Raises:
        InputError: A scan, a map or the atlas cannot be read.
    """
    if not viewer_links(material):
        return
    from ._viewer import export, find_atlas, viewed

    seen = {key: f"../{page}" for key, page in pages.items()}
    export(viewed(material.run, None, find_atlas(material.run), seen), output / _FOLDER)
