"""What the service says of itself: capabilities, availability, protocols, views, properties."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import ServiceUnavailable
from pyvospace_ngas.http.forwarding import public_url
from pyvospace_ngas.http.keys import DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.standard import BASIC, CLIENT_PROTOCOLS, COOKIE, TOKEN
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ops import nodes
from pyvospace_ngas.space.running import PREFIXES, base_url, plain, xml
from pyvospace_ngas.xml import metadata, vosi

UP_SINCE: Final[web.AppKey[datetime]] = web.AppKey("up_since", datetime)
MOST_PROPERTIES: Final = 10_000  # named by /properties as in use
_EXTRA: Final = (
    (vosi.FILES, "files"),
    (vosi.RECURSIVE_DELETE, "async-delete"),
    (vosi.RECURSIVE_SET, "async-setprops"),
    (vosi.SEARCHES, "searches"),
)


async def capabilities(request: web.Request) -> web.Response:
    """GET /capabilities: where everything is, and how to log in there (VOSI)."""
    changed = format_datetime(request.app[UP_SINCE], usegmt=True)
    document = vosi.capabilities(base_url(request), (BASIC, COOKIE, TOKEN), _EXTRA)
    return xml(document, headers={"Last-Modified": changed})


async def registry(request: web.Request) -> web.Response:
    """GET /reg/resource-caps: where the capabilities are, as CADC's clients look it up."""
    space, url = request.app[SPACE], f"{public_url(request)}{PREFIXES[-1]}/capabilities"
    names = [space.identifier, *(Space(alias).identifier for alias in sorted(space.aliases))]
    return plain("".join(f"{name} = {url}\n" for name in names))


async def availability(request: web.Request) -> web.Response:
    """GET /availability: whether the database answers, and a storage server is alive."""
    try:
        async with request.app[DATABASE].acquire() as db:
            stored = await nodes.storage_servers(db)
    except ServiceUnavailable:
        return xml(vosi.availability(False, None, "the database does not answer"), status=503)
    note = "accepting requests" if stored else "no storage server is running: no bytes can move"
    return xml(vosi.availability(True, request.app[UP_SINCE], note))


async def protocols(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's form
    """GET /protocols."""
    return xml(metadata.protocols(CLIENT_PROTOCOLS))


async def views(request: web.Request) -> web.Response:
    """GET /views."""
    return xml(metadata.views(request.app[SPACE]))


async def properties(request: web.Request) -> web.Response:
    """GET /properties: those that nodes of the caller, and public ones, have."""
    async with request.app[DATABASE].acquire() as db:
        used = await nodes.properties_in_use(db, request[IDENTITY], MOST_PROPERTIES)
    return xml(metadata.properties(used))


def now() -> datetime:
    """Return the time as HTTP knows it, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
