"""GET and HEAD at a signed endpoint: bytes out of NGAS, any part of them, any number of times."""

import logging
from datetime import UTC, datetime

from aiohttp import web

from pyvospace_ngas.errors import ArchiveUnreachable, ServiceUnavailable
from pyvospace_ngas.http.ranges import Span, Validators, is_unchanged, wanted_span
from pyvospace_ngas.model.content import Served
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ops import downloads, uploads
from pyvospace_ngas.storage import headers
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.streaming import relay

log = logging.getLogger(__name__)


async def send(request: web.Request, service: Service, endpoint: Endpoint) -> web.StreamResponse:
    """Answer with the bytes as they are now; a replacement meanwhile does not mix in."""
    async with service.database.acquire() as db:
        if uploads.is_null(endpoint):
            await downloads.check_null(db, endpoint)
            found = _nothing(request.match_info["name"])
        else:
            found = await downloads.find(db, endpoint)
    known = headers.validators(found.md5, found.modified)
    if is_unchanged(request.headers, known):
        return web.Response(status=304, headers=headers.unchanged(known))
    span = wanted_span(request.headers, known, found.length) if request.method == "GET" else None
    response = _response(found, known, span)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    start, end = (0, found.length) if span is None else (span.start, span.end)
    completes = end == found.length and found.job_phase == Phase.EXECUTING
    if start < end:
        job = endpoint if completes else None
        await _transmit(request, response, service, found, start, end, job)
    else:
        if completes:
            await _finish(service, endpoint)
        await response.prepare(request)
    return response


def _nothing(name: str) -> Served:
    """Return what ``.null`` gives."""
    return Served(
        name=name,
        holds_data=True,
        is_rooted=True,
        is_awaited=False,
        job_phase=Phase.EXECUTING,
        content_type=None,
        length=0,
        md5=None,
        modified=datetime.fromtimestamp(0, UTC),
        blob_id=None,
        copies=(),
    )


def _response(found: Served, known: Validators, span: Span | None) -> web.StreamResponse:
    content_type = headers.media_type(found.content_type, found.name)
    fields = headers.for_bytes(known, found.md5, found.name, content_type)
    response = web.StreamResponse(status=200 if span is None else 206, headers=fields)
    if span is None:
        response.content_length = found.length
    else:
        response.headers["Content-Range"] = span.content_range(found.length)
        response.content_length = span.end - span.start
    return response


async def _transmit(
    request: web.Request,
    response: web.StreamResponse,
    service: Service,
    found: Served,
    start: int,
    end: int,
    completes: Endpoint | None,
) -> None:
    """Prepare ``response`` once a node has begun to answer, and relay.

    The job of the endpoint ``completes`` is complete just before the last bytes: a client that has
    them all, and asks, is told so.
    """

    async def complete() -> None:
        if completes is not None:
            await _finish(service, completes)

    file_id = found.copies[0].file_id if found.copies else ""
    copies = [
        Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)
        for copy in found.copies
        if copy.file_id == file_id
    ]
    try:
        async with service.federation.retrieve(copies, file_id, start, end) as source:
            await response.prepare(request)
            await relay(request, response, source, complete)
    except NgasError as error:
        log.warning("%s cannot be read: %s", file_id, error)
        raise ArchiveUnreachable(
            "the archive cannot give this file now; try again later"
        ) from error


async def _finish(service: Service, endpoint: Endpoint) -> None:
    """Complete the job; the client has its bytes all the same when that does not work."""
    try:
        async with service.database.acquire() as db:
            await downloads.finish(db, endpoint)
    except ServiceUnavailable as error:
        log.warning("a pull could not be completed: %s", error)
