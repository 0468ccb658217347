"""What the handlers and the background work of the space server share."""

from typing import Final

from aiohttp import web

from pyvospace_ngas.http.forwarding import public_url
from pyvospace_ngas.ops.executing import Running

PREFIXES: Final = ("/vospace/auth", "/vospace")  # the first is where `vos` sends credentials
RUNNING: Final[web.AppKey[Running]] = web.AppKey("running", Running)
ENDPOINT_KEY: Final[web.AppKey[bytes]] = web.AppKey("endpoint_key", bytes)
LARGEST_DOCUMENT: Final = 2**20

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


def base_url(request: web.Request) -> str:
    """Return the URL under which this client addresses the service."""
    path = request.rel_url.raw_path
    return public_url(request) + next(
        (p for p in PREFIXES if path.startswith(p + "/")), PREFIXES[-1]
    )


def xml(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a document as an answer."""
    return web.Response(
        status=status,
        body=(DECLARATION + text).encode(),
        headers={"Content-Type": "text/xml; charset=utf-8", **(headers or {})},
    )


def plain(text: str) -> web.Response:
    """Return bare text, without a newline (clients compare it as it is)."""
    return web.Response(text=text, content_type="text/plain", charset="utf-8")


def see_other(url: str) -> web.Response:
    """Return a 303 to ``url``."""
    return web.Response(status=303, headers={"Location": url})
