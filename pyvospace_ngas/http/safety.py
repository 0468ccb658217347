"""What browsers must be kept from: forged requests, and files that act as our pages."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import PermissionDenied
from pyvospace_ngas.http.keys import IDENTITY, STARTED

SERVER: Final = "pyvospace-ngas"  # no versions: they only help who looks for a weakness
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ACTIVE: Final = frozenset(
    {"text/html", "text/xml", "application/xml", "text/javascript", "application/javascript"}
)


class Provenance(StrEnum):
    """Whose page a browser says that it sends a request for."""

    OURS = "ours"
    FOREIGN = "foreign"
    UNSAID = "unsaid"  # no browser, or a very old one


def install(app: web.Application) -> None:
    """Let every answer of ``app`` carry the headers below; the `faults` middleware needs it."""
    app.on_response_prepare.append(_stamp)


async def _stamp(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    headers["Server"] = SERVER
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    who = request.get(IDENTITY)
    if who is not None and who.user is not None:
        headers["X-VO-Authenticated"] = who.user
        headers.setdefault("Cache-Control", "private")
    request[STARTED] = response


def headers_for_bytes(content_type: str) -> dict[str, str]:
    """Return the headers that keep a user's file from acting as a page of ours."""
    headers = {"X-Content-Type-Options": "nosniff"}
    essence = content_type.partition(";")[0].strip().lower()
    if essence in _ACTIVE or essence.endswith("+xml"):
        headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return headers


def provenance(origin: str | None, fetch_site: str | None, own: Collection[str]) -> Provenance:
    """Judge the headers ``Origin`` and ``Sec-Fetch-Site``; ``own`` are our own origins.

    Both are written by the browser and out of a page's reach. ``Sec-Fetch-Site: none`` is a
    person's own doing (an address typed, a bookmark) and never comes with an Origin.
    """
    if fetch_site is not None:
        if fetch_site == "same-origin" or (fetch_site == "none" and origin is None):
            return Provenance.OURS
        return Provenance.FOREIGN
    if origin is None:
        return Provenance.UNSAID
    return Provenance.OURS if origin.lower().rstrip("/") in own else Provenance.FOREIGN


def check_forgery(method: str, source: Provenance, *, by_cookie: bool) -> None:
    """Raise `PermissionDenied` for a change that another site may have had the browser send.

    A cookie goes along by itself: the request must say that it comes from a page of ours. Basic
    is sent by programs, which say nothing, but a browser that once asked for a password repeats
    it by itself as well: so with Basic only what another site's page sends is refused.
    """
    if method in SAFE or source is Provenance.OURS:
        return
    if source is Provenance.FOREIGN:
        raise PermissionDenied("this request was sent by a page of another site")
    if by_cookie:
        raise PermissionDenied(
            "with a cookie, a change needs the header Origin with this server's own address;"
            " a program had better send Basic credentials"
        )


def source_of(request: web.Request, public_url: str) -> Provenance:
    """Return whose page ``request`` was sent for."""
    headers = request.headers
    # The Host is what the browser connected to: a page under that name is ours as well, although
    # public_url says localhost, say, and the person wrote 127.0.0.1.
    own = {origin_of(public_url), f"{request.scheme}://{request.host}".lower()}
    return provenance(headers.get("Origin"), headers.get("Sec-Fetch-Site"), own)


def origin_of(url: str) -> str:
    """Return the origin of ``url``: scheme and host, and the port unless it is the usual one."""
    scheme, _, rest = url.lower().partition("://")
    host = rest.partition("/")[0]
    return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}.get(scheme, ''))}"
