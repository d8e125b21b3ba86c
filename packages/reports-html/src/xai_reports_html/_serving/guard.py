"""Who may ask: checked before anything else, for every request."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from .._viewer.server import HEADERS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SESSION_HEADER", "Access", "Guard", "is_loopback"]

SESSION_HEADER = "x-xai-session"
"""Header of every request that changes something; its value stands in the page and no other site can read it."""

_SAFE = {"GET", "HEAD"}
_LOOPBACK_NAMES = {"localhost"}


@dataclass(frozen=True)
class Access:
    """What a request must bring.

    Attributes:
        host: The address or name that the server is bound to.
        token: Secret of the address that was printed; None: none is asked for.
        cookie: Name of the cookie that keeps it; cookies are shared by all ports of a machine.
        session: Secret of the page.
    """

    host: str
    token: str | None
    cookie: str = "xai-serve"
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def knows_host(self, header: str) -> bool:
        """Whether a ``Host`` header names this machine.

        A page of another site whose name is made to point here (DNS rebinding) sends its own name. A number cannot be
        made to point elsewhere.
        """
        name = _split(f"//{header}")[0] if _is_plain(header) else ""
        if not name:
            return False
        if is_loopback(self.host):
            return name in _LOOPBACK_NAMES or (_is_number(name) and is_loopback(name))
        mine = {self.host, socket.gethostname(), socket.getfqdn(), *_LOOPBACK_NAMES}
        return _is_number(name) or name.casefold() in {one.casefold() for one in mine}


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


def _is_plain(header: str) -> bool:
    return header.isascii() and header.isprintable() and not set(header) & set("/@?#\\ ")


def _split(address: str) -> tuple[str, str]:
    """Return host, and host with port, of an address; empty where it is none."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.netloc
    except ValueError:
        return "", ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Refuses strangers, and gives every answer the headers of the viewer.

    Args:
        app: The application behind it.
        access: What is asked for.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        request = Request(scope)
        answer = self._refused(request) or self._entered(request)
        await (answer or self.app)(scope, receive, sent)

    def _refused(self, request: Request) -> Response | None:
        headers = request.headers
        if len(headers.getlist("host")) != 1 or not self.access.knows_host(headers["host"]):
            return _told(403, "This server does not answer to that name. Open the address that it printed.")
        if _is_foreign(headers, request.method):
            return _told(403, "Pages of other sites may not ask this server.")
        return None

    def _entered(self, request: Request) -> Response | None:
        """Return what a request without the token gets, or one that has it in its address, or None."""
        token = self.access.token
        if token is not None and not _same(request.cookies.get(self.access.cookie), token):
            given = request.query_params.get("token")
            if request.method not in _SAFE or not _same(given, token):
                return _told(403, "A token is missing or wrong. Open the whole address that 'xai serve' printed.")
            answer = RedirectResponse("/", status_code=303)  # the token stays in no address bar and no history
            answer.set_cookie(self.access.cookie, token, httponly=True, samesite="lax", path="/")
            return answer
        if request.method not in _SAFE and not _same(request.headers.get(SESSION_HEADER), self.access.session):
            return _told(403, "This request does not come from the page of this server. Load the page again.")
        return None


def _is_foreign(headers: Headers, method: str) -> bool:
    """Whether a page of another site asks. Following a link to this server's page is no such request."""
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    follows_link = method in _SAFE and mode == "navigate" and headers.get("sec-fetch-dest") == "document"
    if site not in (None, "same-origin", "none") and not follows_link:
        return True
    origin = headers.get("origin")
    return origin is not None and _split(origin)[1] != headers["host"]


def _same(given: str | None, secret: str) -> bool:
    return secrets.compare_digest((given or "").encode("utf-8", "surrogateescape"), secret.encode())


def _told(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status)
