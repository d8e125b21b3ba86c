"""The application: what it answers."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from xai_core import InputError

from .._viewer.pages import binary
from .._viewer.server import TYPES
from .channels import mismatches, same_files
from .guard import Guard
from .jobs import BusyError, Job
from .place import grid_of
from .uploads import RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from .._viewer.manifest import Viewed
    from .guard import Access
    from .jobs import Jobs
    from .offer import Offer, Wanted
    from .uploads import Upload, Uploads

__all__ = ["App"]

log = logging.getLogger("xai")
_KEPT = 8  # volumes; one of 1 mm has up to 35 MB
_LARGEST_REQUEST = 1 << 16
_LONGEST_NAME = 200
_LINGER = 5.0  # seconds for a client to notice that its upload was refused
_SWEEP = 60.0
_REGISTERS = "register-to-mni"
_MASK = (
    "The study gives this person a mask, which is not used here: what the preprocessing makes of the scan may differ "
    "from the run's own."
)


class App:
    """The web application of a run.

    Args:
        offer: What can be asked.
        viewed: What the viewer shows.
        pages: Its files.
        uploads: Files that were sent.
        jobs: The queue.
    """

    def __init__(self, offer: Offer, viewed: Viewed, pages: Mapping[str, bytes], uploads: Uploads, jobs: Jobs) -> None:
        self.offer, self.viewed, self.pages, self.uploads, self.jobs = offer, viewed, pages, uploads, jobs
        self._one = anyio.CapacityLimiter(1)  # 200 people who open one scan have it prepared once

        @lru_cache(maxsize=_KEPT)
        def volume(name: str) -> bytes:
            return binary(name, viewed)

        self._volume = volume

    def guarded(self, access: Access) -> Guard:
        """Return the application behind its guard."""
        routes = [
            Route("/session.json", self._session),
            Route("/data/{name}.bin", self._data),
            Route("/results/{job}/{name}", self._download),
            Route("/api/uploads", self._upload, methods=["POST"]),
            Route("/api/jobs", self._listed),
            Route("/api/jobs", self._submit, methods=["POST"]),
            Route("/api/jobs/{job}", self._drop, methods=["DELETE"]),
            Route("/", self._page),
            Route("/{name}", self._page),
        ]
        handlers: dict[Any, Any] = {
            InputError: _refused, RefusedError: _refused, BusyError: _refused, ClientDisconnect: _gone,
            HTTPException: _not_there, Exception: _broken,
        }  # fmt: skip
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        app.router.redirect_slashes = False
        return Guard(app, access)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await anyio.sleep(_SWEEP)
                self.uploads.sweep()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sweep)
            yield
            tasks.cancel_scope.cancel()

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self.pages:
            raise HTTPException(404)
        return Response(self.pages[name], media_type=TYPES[name.rpartition(".")[2]])

    async def _session(self, _request: Request) -> Response:
        return JSONResponse({**self.offer.as_json(), "limit": self.uploads.limit})

    async def _data(self, request: Request) -> Response:
        """A volume of the run or of a result, as the viewer reads it."""
        name = request.path_params["name"]
        if name in self.viewed.files:
            body = await anyio.to_thread.run_sync(self._volume, name, limiter=self._one)
            return Response(body, media_type=TYPES["bin"])
        key, _, kind = name.rpartition("-")
        job = self._done(key.removeprefix("r"))
        if kind not in {"scan", *(f"m{index}" for index in (job.result or {})["person"]["maps"])}:
            raise HTTPException(404)
        return _file(job.folder / f"{name}.bin", media_type=TYPES["bin"])

    async def _download(self, request: Request) -> Response:
        name = request.path_params["name"]
        job = self._done(request.path_params["job"])
        if not any(name in (one["image"], one["sidecar"]) for one in (job.result or {})["files"]):
            raise HTTPException(404)
        kind = "application/json" if name.endswith(".json") else "application/gzip"
        return _file(job.folder / name, media_type=kind, filename=name)

    def _done(self, key: str) -> Job:
        job = self.jobs.get(key)
        if job is None or job.state != "done":
            raise HTTPException(404)
        return job

    async def _upload(self, request: Request) -> Response:
        announced = request.headers.get("content-length", "")
        name = "".join(c for c in request.query_params.get("name", "") if c.isprintable())[:_LONGEST_NAME]
        try:
            found = await self.uploads.receive(
                request.stream(), int(announced) if announced.isdecimal() else None, name or "scan"
            )
        except (RefusedError, InputError) as error:
            return _Lingering({"error": str(error)}, status_code=_status(error))
        return JSONResponse({"id": found.id, "name": found.name, "size": found.size}, status_code=201)

    async def _listed(self, _request: Request) -> Response:
        return JSONResponse({"jobs": self.jobs.all()})

    async def _submit(self, request: Request) -> Response:
        wanted = self.offer.read(await _json(request))
        uploads = self.uploads.take(wanted.uploads)
        try:
            job = await anyio.to_thread.run_sync(self._submitted, wanted, uploads)
        except BaseException:
            self.uploads.remove([upload.path for upload in uploads])
            raise
        return JSONResponse({"id": job.id}, status_code=201)

    def _submitted(self, wanted: Wanted, uploads: list[Upload]) -> Job:
        scan, offer = wanted.person, self.offer
        images = [str(upload.path) for upload in uploads] if scan is None else offer.images_of(scan)
        title = ", ".join(upload.name for upload in uploads) if scan is None else scan
        warnings = offer.beyond(wanted.covariates)
        if scan is not None and offer.has_mask(scan):
            warnings.append(_MASK)
        if scan is None:
            warnings += mismatches(offer.channels, offer.words, [upload.name for upload in uploads])
            warnings += same_files([upload.path for upload in uploads], offer.channels)
        request = {
            "run": str(offer.results.folder.absolute()),
            "images": images,
            "names": images if scan is not None else [upload.name for upload in uploads],
            "stem": scan or "scan",
            "who": {} if scan is None else offer.who(scan),
            "source": title if scan is None else images[0],
            "covariates": wanted.covariates,
            "fold": wanted.fold,
            "explainers": wanted.explainers,
            "target": wanted.target,
            "allow": wanted.allow,
            "warnings": warnings,
            "place": self._place(own=scan is None),
        }
        return self.jobs.submit(request, title, [upload.path for upload in uploads])

    def _place(self, *, own: bool) -> dict[str, Any]:
        people, manifest = self.viewed.manifest["people"], self.viewed.manifest
        steps = {slot["name"] for slot in self.offer.config["data"].get("transforms") or []}
        registers = any("to_mni" in person for person in people) or _REGISTERS in steps
        first = next((path for name, path in self.viewed.files.items() if name.endswith("-scan")), None)
        grid = None if first is None or not own else grid_of(first)
        return {"space": manifest["space"], "grid": grid, "registers": registers, "own": own}

    async def _drop(self, request: Request) -> Response:
        if not await anyio.to_thread.run_sync(self.jobs.drop, request.path_params["job"]):
            raise HTTPException(404)
        return Response(status_code=204)


class _Lingering(JSONResponse):
    """An answer to somebody who is still sending: the connection ends when they have had time to read it.

    Closing at once would have the system throw the answer away with what was not read.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with anyio.move_on_after(_LINGER):
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.body", "body": b""})


def _file(path: Path, **options: Any) -> Response:
    if not path.is_file():  # removed meanwhile
        raise HTTPException(404)
    return FileResponse(path, **options)


async def _json(request: Request) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_REQUEST:
            raise RefusedError(413, "The request is too long.")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise InputError("The request is no JSON.") from error


def _status(error: Exception) -> int:
    return error.status if isinstance(error, RefusedError) else 429 if isinstance(error, BusyError) else 422


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=_status(error))


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _not_there(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    told = {404: "There is nothing here (any more).", 405: "This cannot be done here."}.get(status, "Refused.")
    return JSONResponse({"error": told}, status_code=status)


async def _broken(_request: Request, error: Exception) -> Response:
    log.error("a request failed: %s: %s", type(error).__name__, error)
    told = f"The server could not answer ({type(error).__name__}). It goes on; its log says more."
    return JSONResponse({"error": told}, status_code=500)
