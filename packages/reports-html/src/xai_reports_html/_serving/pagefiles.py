"""The files of the page: the viewer's, and what is added to them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files

from .._viewer.manifest import Viewed
from .._viewer.pages import PAGES, assigned, locales, page

__all__ = ["page_files"]

_OWN = ("serve.css", "serve.js", "form.js")
_PLACES = {
    "</head>": '<meta name="xai-session" content="{session}">\n<link rel="stylesheet" href="serve.css">\n</head>',
    "<aside>": "<aside>\n{panel}",
    "</body>": '<script src="form.js"></script>\n<script src="serve.js"></script>\n</body>',
}


def page_files(viewed: Viewed, session: str, language: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return the files of the page by name, all but the volumes.

    Args:
        viewed: What the viewer shows.
        session: Secret that the page sends with what it asks for.
        language: Texts of a further language.
    """
    folder = files(__package__.rpartition(".")[0]) / "serving"
    told = replace(viewed, manifest={**viewed.manifest, "served": True})
    found = {name: page(name, told) for name in (*PAGES, "niivue.umd.js", "manifest.js")}
    found |= {name: (folder / name).read_bytes() for name in _OWN}
    found["locales.js"] = assigned("locales", _texts(language))
    panel = (folder / "panel.html").read_text(encoding="utf-8")
    text = found["index.html"].decode("utf-8")
    for place, added in _PLACES.items():
        if text.count(place) != 1:
            raise RuntimeError(f"the viewer's page must have {place} once")
        text = text.replace(place, added.format(session=html.escape(session), panel=panel))
    found["index.html"] = text.encode("utf-8")
    return found


def _texts(language: Mapping[str, str] | None) -> dict[str, dict[str, str]]:
    """Return the viewer's texts with those of this page."""
    folder = files(__package__.rpartition(".")[0]) / "serving" / "locales"
    found = locales(language)
    for code in found:
        own = folder / f"{code}.json"
        if own.is_file():
            # Of a further language that is ours too, the given texts go first.
            found[code] = json.loads(own.read_text(encoding="utf-8")) | found[code]
    return found
