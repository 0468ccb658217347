"""The routes of the storage server."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import ServiceUnavailable
from pyvospace_ngas.http.keys import SPACE
from pyvospace_ngas.model import endpoint as endpoints
from pyvospace_ngas.model.content import Committed
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.ops import uploads
from pyvospace_ngas.storage import downloads
from pyvospace_ngas.storage.service import SERVICE, Service
from pyvospace_ngas.storage.streaming import expect_later
from pyvospace_ngas.storage.uploads import created_headers, receive
from pyvospace_ngas.storage.views import header, packing

PATH: Final = "/files/{token}/{name:.*}"

routes = web.RouteTableDef()


@routes.put(PATH, expect_handler=expect_later)
async def put_bytes(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    return await receive(request, service, _endpoint(request, service, "PUT"))


@routes.get(PATH, allow_head=False)
async def get_bytes(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    return await _send(request, service, _endpoint(request, service, "GET"))


@routes.head(PATH)
async def head_bytes(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    endpoint = _endpoint(request, service, None)
    if endpoint.method == "GET":
        return await _send(request, service, endpoint)
    async with service.database.acquire() as db:
        committed = await uploads.state(db, endpoint)
    return _upload_state(committed)


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Tell whether this server can work: 200, or 503 while its database is away.

    ``nodes`` says of each archive node whether it serves, as far as is known.
    """
    service = request.app[SERVICE]
    nodes = {
        entry.address: standing.healthy
        for entry, standing in service.federation.standings().items()
    }
    try:
        async with service.database.acquire() as db:
            await db.execute("select 1")
    except ServiceUnavailable:
        return web.json_response({"database": False, "nodes": nodes}, status=503)
    return web.json_response({"database": True, "nodes": nodes})


async def _send(request: web.Request, service: Service, endpoint: Endpoint) -> web.StreamResponse:
    """Answer with the bytes of a node, or with a view of it that is made on the way."""
    match endpoint.view:
        case None:
            return await downloads.send(request, service, endpoint)
        case Form.FITS_HEADER:
            return await header.send(request, service, endpoint)
        case form:
            return await packing.send(request, service, endpoint, Form(form), request.app[SPACE])


def _endpoint(request: web.Request, service: Service, method: str | None) -> Endpoint:
    """Return what the request's token permits; `EndpointNotFound`, or 405 for another method."""
    token = request.match_info["token"]
    endpoint = endpoints.read(token, service.keys, datetime.now(UTC))
    if method is not None and endpoint.method != method:
        raise web.HTTPMethodNotAllowed(request.method, [endpoint.method, "HEAD"])
    return endpoint


def _upload_state(committed: Committed | None) -> web.Response:
    """Answer a HEAD at an endpoint for uploads; a Digest only once there are bytes."""
    return web.Response(headers=created_headers(committed) if committed is not None else None)
