"""Installed packages that do not exist: for tests of what a package can do to others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

__all__ = ["METHODS", "component_source", "fake_distribution", "finder"]

_FRAME = '''
from xai_core import {interface}


class {name}({interface}):
    """Invented {interface}."""

    config_schema = {{"type": "object", "additionalProperties": False, "properties": {properties}}}

    def __init__(self, **params):
        self.params = params

    def {method}(self, *arguments):
        return None
'''

METHODS = {
    "Dataset": "subjects", "Transform": "build", "Splitter": "split", "Model": "build", "Trainer": "train",
    "Explainer": "explain", "Evaluator": "evaluate", "Analysis": "analyse", "Report": "write", "Executor": "build",
}  # fmt: skip


def component_source(interface: str, properties: str = "{}", name: str = "Mine") -> str:
    """Return the source of a module with one component of an interface; it keeps its parameters as ``params``."""
    return _FRAME.format(interface=interface, properties=properties, name=name, method=METHODS[interface])


def finder(folder: Path) -> Callable[[str], Iterable[EntryPoint]]:
    """Return what looks for entry points in one folder only."""
    return lambda group: [p for d in distributions(path=[str(folder)]) for p in d.entry_points if p.group == group]


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
