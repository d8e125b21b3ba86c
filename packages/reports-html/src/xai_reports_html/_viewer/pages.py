"""The files of the viewer: its page, its scripts, and those of each volume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xai_core import InputError

from .encoding import Volume, as_bytes, as_text
from .manifest import Viewed
from .volumes import label_volume, map_volume, scan_volume

__all__ = ["PAGES", "assigned", "binary", "every_page", "locales", "page"]

PAGES = (
    "index.html", "viewer.css", "state.js", "files.js", "people.js", "volumes.js", "clusters.js", "panels.js",
    "programs.js", "paint.js", "relevance.js", "controls.js", "main.js",
)  # fmt: skip
"""Files of the viewer that are the same for every run."""


def page(name: str, viewed: Viewed, language: Mapping[str, str] | None = None) -> bytes:
    """Return a file of the viewer.

    Args:
        name: One of ``PAGES``, ``niivue.umd.js``, ``manifest.js``, ``locales.js`` or ``data/<name>.js``.
        viewed: What is shown.
        language: Texts of a further language, with its name under ``language``.

    Raises:
        KeyError: There is no such file.
        InputError: An image cannot be read, or nilearn has no NiiVue.
    """
    if name in PAGES:
        return (files(__package__.rpartition(".")[0]) / "viewer" / name).read_bytes()
    if name == "niivue.umd.js":
        return _niivue().read_bytes()
    if name == "manifest.js":
        return assigned("manifest", viewed.manifest)
    if name == "locales.js":
        return assigned("locales", locales(language))
    folder, _, file = name.partition("/")
    if folder != "data" or not file.endswith(".js") or file.removesuffix(".js") not in viewed.files:
        raise KeyError(name)
    return _script(file.removesuffix(".js"), viewed)


def every_page(viewed: Viewed) -> list[str]:
    """Return the names of all files of the viewer of a run that opens from disk."""
    return [*PAGES, "niivue.umd.js", "manifest.js", "locales.js", *(f"data/{name}.js" for name in viewed.files)]


def _script(name: str, viewed: Viewed) -> bytes:
    volume = _volume(name, viewed)
    content = {"nifti": as_text(volume), **_told(name, viewed, volume)}
    return f"XAI.receive({_json(name)}, {_json(content)});\n".encode()


def binary(name: str, viewed: Viewed) -> bytes:
    """Return one volume for a page that a server gives: without base64, and without waiting for gzip.

    Args:
        name: ``p0-scan``, ``p0-truth``, ``p0-m1`` or ``atlas``.
        viewed: What is shown.

    Raises:
        InputError: The image cannot be read.
    """
    volume = _volume(name, viewed)
    return as_bytes(volume, _told(name, viewed, volume))


def _volume(name: str, viewed: Viewed) -> Volume:
    kind = name.rpartition("-")[2]
    read = scan_volume if kind == "scan" else label_volume if kind in ("truth", "atlas") else map_volume
    return read(viewed.files[name])


def _told(name: str, viewed: Viewed, volume: Volume) -> dict[str, Any]:
    """Return what the page is told of a volume beside its voxels."""
    if name != "atlas":
        return {"about": volume.about}
    pairs = zip(volume.about["labels"], volume.about["named"], strict=True)
    names = {str(label): viewed.names.get(named, f"label {named}") for label, named in pairs}
    return {"about": volume.about, "names": names}


def locales(language: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """Return the texts by language.

    Raises:
        InputError: A further language lacks its name.
    """
    folder = files(__package__.rpartition(".")[0]) / "viewer" / "locales"
    found = {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    }
    if language is not None:
        code = language.get("code")
        if not code or not language.get("language"):
            raise InputError("A file of texts needs 'code' (fr) and 'language' (Français) beside the texts of en.json.")
        found[str(code)] = {str(key): str(text) for key, text in language.items()}
    return found


def _niivue() -> Path:
    spec = find_spec("nilearn")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / "_assets/js/niivue.umd.js"
    if path is None or not path.is_file():
        raise InputError("The viewer needs NiiVue as nilearn 0.13 or later brings it. Install it: pip install nilearn.")
    return path


def assigned(name: str, value: Any) -> bytes:
    """Return the script that gives the page a value: ``XAI.<name>``."""
    return f"window.XAI = window.XAI || {{}};\nXAI.{name} = {_json(value)};\n".encode()


def _json(value: Any) -> str:
    """Return JSON that is safe inside a script wherever it stands."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for mark in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
