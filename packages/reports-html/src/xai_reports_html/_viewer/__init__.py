"""The viewer: a page that shows every scan of a run with its relevance, from disk or over a local server."""

from __future__ import annotations

from .export import export
from .labels import find_atlas, read_atlas, read_language
from .manifest import Viewed, viewed
from .server import serve

__all__ = ["Viewed", "export", "find_atlas", "read_atlas", "read_language", "serve", "viewed"]
