"""The local web app: the viewer of a run, which also predicts and explains further scans."""

from __future__ import annotations

from .server import Address, serve_run

__all__ = ["Address", "serve_run"]
