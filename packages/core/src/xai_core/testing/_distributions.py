"""Installed packages that do not exist: for tests of what a package can do to others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["fake_distribution"]


def fake_distribution(
    folder: str | Path,
    name: str,
    version: str = "1.0",
    *,
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Write a distribution into ``folder`` as pip would install it, and return its ``.dist-info`` folder.

    Python sees it once ``folder`` is on ``sys.path`` (``monkeypatch.syspath_prepend``, then ``registry.refresh()``) or
    in ``PYTHONPATH`` of another process.

    Args:
        folder: Made if absent; may hold several distributions.
        name: Distribution name, such as ``"xai-explainers-lrp"``.
        version: Its version.
        entry_points: ``{"xai.explainers": {"mine": "my_module:Mine"}}``.
        modules: Source by file name, such as ``{"my_module.py": "..."}``; folders in between are made.
    """
    folder = Path(folder)
    info = folder / f"{re.sub('[-_.]+', '_', name)}-{version}.dist-info"
    sections = [
        "\n".join([f"[{group}]", *(f"{point} = {target}" for point, target in points.items())])
        for group, points in entry_points.items()
    ]
    files = {
        info / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        info / "entry_points.txt": "\n\n".join(sections) + "\n",
        **{folder / file: source for file, source in (modules or {}).items()},
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return info
