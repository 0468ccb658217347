"""GET of a container in an archive view: the tree is packed while it is sent."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from aiohttp import web

from pyvospace_ngas.errors import ArchiveUnreachable, ServiceUnavailable, VOSpaceError
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ops import downloads, trees
from pyvospace_ngas.ops.trees import Tree
from pyvospace_ngas.storage.headers import disposition
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.streaming import IDLE
from pyvospace_ngas.storage.views import tar, zip
from pyvospace_ngas.storage.views.contents import members
from pyvospace_ngas.storage.views.pieces import GZIP, compressed, gathered

log = logging.getLogger(__name__)


async def send(
    request: web.Request, service: Service, endpoint: Endpoint, form: Form, space: Space
) -> web.StreamResponse:
    """Answer with the archive of all that hangs below the endpoint's container."""
    async with service.database.acquire() as db:
        tree = await trees.find(db, endpoint, service.authorities)
    name = (tree.path.name or space.authority) + form.suffix
    response = web.StreamResponse(headers=fields(form.media_type, name))
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    async with aclosing(packed(service, tree, form, space)) as pieces:
        first = await _first(pieces)
        await response.prepare(request)
        whole = await _relay(request, response, first, pieces)
    if whole:
        await finish(service, endpoint)
    return response


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the first piece: what fails before it is there can still be told."""
    try:
        return await anext(pieces, b"")
    except NgasError as error:
        log.warning("a tree cannot be packed: %s", error)
        raise ArchiveUnreachable(
            "the archive cannot give all of these files now; try again later"
        ) from error


def fields(media_type: str, name: str) -> dict[str, str]:
    """Return the header fields of what is made while it is sent: no length, no digest, no tag."""
    return {
        "Content-Type": media_type,
        "Content-Disposition": disposition(name, media_type).replace("inline", "attachment", 1),
        "Accept-Ranges": "none",
        "Cache-Control": "private, no-store",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


async def finish(service: Service, endpoint: Endpoint) -> None:
    """Complete the job; the bytes have left, so that trouble is no business of the client's."""
    try:
        async with service.database.acquire() as db:
            await downloads.finish(db, endpoint)
    except ServiceUnavailable as error:
        log.warning("a pull could not be completed: %s", error)


async def packed(
    service: Service, tree: Tree, form: Form, space: Space
) -> AsyncGenerator[bytes, None]:
    """Give the archive of ``tree`` in pieces that are worth a write."""
    async with (
        aclosing(trees.walk(service.database, tree)) as walked,
        aclosing(members(service, tree, space, walked)) as found,
    ):
        pieces = zip.pack(found, service.hashers) if form is Form.ZIP else tar.pack(found)
        async with aclosing(pieces), aclosing(gathered(pieces)) as written:
            if form is not Form.TAR_GZ:
                async for piece in written:
                    yield piece
                return
            async with aclosing(compressed(written, service.hashers, GZIP)) as small:
                async for piece in gathered(small):
                    yield piece


async def _relay(
    request: web.Request,
    response: web.StreamResponse,
    first: bytes,
    pieces: AsyncIterator[bytes],
) -> bool:
    """Send an archive; tell whether all of it left. A cut connection is the answer to trouble."""
    try:
        async with asyncio.timeout(IDLE):
            await response.write(first)
        async for piece in pieces:
            async with asyncio.timeout(IDLE):
                await response.write(piece)
        await response.write_eof()
    except (VOSpaceError, NgasError) as error:
        log.warning("an archive was cut: %s: %s", type(error).__name__, error)
    except OSError as error:  # and so a time-out
        log.info("a client stopped reading an archive: %s", type(error).__name__)
    except Exception:  # nothing may be written into the archive's bytes, not even about a bug
        log.exception("an archive was cut")
    else:
        return True
    if request.transport is not None:
        request.transport.abort()
    return False
