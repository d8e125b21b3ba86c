"""Starts and ends the server."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from xai_core import InputError

from .._viewer.manifest import Viewed, viewed
from .app import App
from .compute import explain
from .guard import Access, is_loopback
from .jobs import Jobs
from .offer import Offer
from .pagefiles import page_files
from .scratch import scratch_folder
from .uploads import Uploads

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .worker import Compute

__all__ = ["Address", "Serving", "prepared", "serve_run"]

log = logging.getLogger("xai")
_CONNECTIONS = 500  # at once; more are told to come back
_GOODBYE = 3  # seconds for open downloads when the server ends


@dataclass(frozen=True)
class Address:
    """Where the server listens.

    Attributes:
        host: Address or name of this machine.
        port: 0: any free one.
        token: Whether to ask for a token; always the case beyond loopback.
    """

    host: str = "127.0.0.1"
    port: int = 8643
    token: bool = False


@dataclass(frozen=True)
class Serving:
    """A server that is ready to run.

    Attributes:
        url: What to open; with the token, where there is one.
        server: Its ``should_exit`` ends it.
        folder: Where uploads and results lie.
    """

    url: str
    server: uvicorn.Server
    folder: Path
    _socket: socket.socket

    def run(self) -> None:
        """Answer until the server is ended."""
        self.server.run(sockets=[self._socket])


def serve_run(results: RunResults, address: Address, ready: Callable[[str], None], **options: Any) -> None:
    """Serve a run until Ctrl+C, SIGTERM or the end of the terminal.

    Args:
        results: The run.
        address: Where to listen.
        ready: Called with the address to open.
        options: Those of ``prepared``.

    Raises:
        InputError: The run cannot be served, or the port is taken.
    """
    with prepared(results, address, **options) as serving:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupted)
            if hasattr(signal, "SIGHUP"):
                signal.signal(signal.SIGHUP, lambda *_: setattr(serving.server, "should_exit", True))
        ready(serving.url)
        serving.run()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def prepared(
    results: RunResults,
    address: Address,
    *,
    limit: int,
    atlas: tuple[Path, Mapping[int, str]] | None = None,
    language: Mapping[str, str] | None = None,
    compute: Compute = explain,
) -> Iterator[Serving]:
    """Make everything ready, and clear it away in the end.

    Args:
        results: The run.
        address: Where to listen.
        limit: Largest upload, in bytes.
        atlas: As of ``viewed``.
        language: Texts of a further language.
        compute: What carries a request out.
    """
    offer = Offer(results)
    shown = viewed(results, None, atlas) if results.maps() else _nobody(results, offer, atlas)
    listening = _bound(address)
    port = int(listening.getsockname()[1])
    asks = address.token or not is_loopback(address.host)
    access = Access(address.host, secrets.token_urlsafe(32) if asks else None, cookie=f"xai-serve-{port}")
    with listening, scratch_folder() as folder:
        uploads = Uploads(folder, limit)
        jobs = Jobs(folder, compute, uploads.remove)
        try:
            app = App(offer, shown, page_files(shown, access.session, language), uploads, jobs)
            config = uvicorn.Config(
                app.guarded(access), log_config=None, access_log=False, server_header=False, proxy_headers=False,
                ws="none", http="h11", loop="asyncio", lifespan="on", limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_GOODBYE,
            )  # fmt: skip
            yield Serving(_url(address.host, port, access.token), uvicorn.Server(config), folder, listening)
        finally:
            jobs.close()


def _nobody(results: RunResults, offer: Offer, atlas: tuple[Path, Mapping[int, str]] | None) -> Viewed:
    """Return what the viewer shows of a run without maps."""
    manifest = {
        "name": str(results.config.get("name", results.folder.name)), "task": results.task,
        "classes": None if offer.classes is None else list(offer.classes), "explainers": offer.explainers,
        "people": [], "atlas": atlas is not None, "space": "scan",
    }  # fmt: skip
    return Viewed(manifest, {} if atlas is None else {"atlas": atlas[0]}, {} if atlas is None else dict(atlas[1]))


def _bound(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(place)
            made.listen()  # now, since a second server could bind the port until then
        except BaseException:
            made.close()
            raise
        return made
    except OSError as error:
        raise InputError(
            f"{address.host}, port {address.port} cannot be used: {error.strerror or error}. Give another --host or "
            "--port."
        ) from error


def _url(host: str, port: int, token: str | None) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + ("" if token is None else f"?token={token}")
