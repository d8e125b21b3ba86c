"""The viewer over a local server: volumes are prepared when they are looked at."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from xai_core import InputError

from .manifest import Viewed
from .pages import binary, page

__all__ = ["HEADERS", "TYPES", "serve"]

log = logging.getLogger("xai")
TYPES = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "bin": "application/octet-stream",
}  # fmt: skip
# Nothing but this server's own files: a page that shows patients' scans must not talk to anybody.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src data:; connect-src 'self' data: blob:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
"""Sent with every answer."""
_KEPT = 8  # volumes; one of 1 mm has up to 35 MB


def serve(viewed: Viewed, port: int, language: Mapping[str, str] | None = None) -> ThreadingHTTPServer:
    """Return a server on the loopback interface; call its ``serve_forever``.

    It answers GET for the viewer's own files and nothing else, and only as ``127.0.0.1`` or ``localhost``.

    Args:
        viewed: What is shown.
        port: 0: any free one.
        language: Texts of a further language.

    Raises:
        InputError: The port is taken.
    """
    locks: defaultdict[str, Lock] = defaultdict(Lock)
    told = replace(viewed, manifest={**viewed.manifest, "served": True})

    @lru_cache(maxsize=_KEPT)
    def volume(name: str) -> bytes:
        return binary(name, viewed)

    def content(name: str) -> bytes:
        """Raises KeyError if there is no such file."""
        if not name.startswith("data/"):
            return page(name, told, language)
        asked = name.removeprefix("data/").removesuffix(".bin")
        if asked not in viewed.files or not name.endswith(".bin"):
            raise KeyError(name)
        with locks[asked]:  # who asks for what is being made waits for it
            return volume(asked)

    def prepare(name: str) -> None:
        with suppress(InputError):  # told when it is asked for
            content(f"data/{name}.bin")

    try:
        server = _Server(("127.0.0.1", port), _handler(content))
    except OSError as error:
        raise InputError(
            f"Port {port} cannot be used: {error.strerror or error}. Give another one with --port."
        ) from error
    for name in _first(viewed):  # made while the browser starts
        Thread(target=prepare, args=(name,), daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class names them
        """A browser that is closed in the middle of an answer is nobody's fault; what else fails is told in a line."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            log.debug("view: %s", error)
        else:
            log.error("view: a request failed: %s: %s", type(error).__name__, error)


def _first(viewed: Viewed) -> list[str]:
    """Return the names of the volumes that the page asks for first."""
    maps = [f"p0-m{number}" for person in viewed.manifest["people"][:1] for number in person["maps"][:1]]
    return [name for name in ("p0-scan", *maps) if name in viewed.files]


def _handler(content: Callable[[str], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "xai-view"
        sys_version = ""
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_GET(self) -> None:
            # A page of another site whose name is made to point here must not read scans (DNS rebinding).
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
            if host not in ("127.0.0.1", "localhost"):
                self._answer(403, b"Only 127.0.0.1 and localhost.\n", "text/plain; charset=utf-8")
                return
            name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
            try:
                body = content(name)
            except KeyError:
                self._answer(404, b"There is no such file.\n", "text/plain; charset=utf-8")
                return
            except InputError as error:
                self._answer(500, f"{error}\n".encode(), "text/plain; charset=utf-8")
                return
            self._answer(200, body, TYPES[name.rpartition(".")[2]])

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            about = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}
            for header, value in about.items():
                self.send_header(header, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the tab was closed

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            log.debug("view: " + format, *args)

    return Handler
