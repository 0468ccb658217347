"""What browsers and search engines ask for by themselves: a harmless answer, nothing more."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.node import VERSION


async def favicon(_call: Call) -> web.StreamResponse:
    """There is no icon."""
    return web.Response(content_type="text/html", headers={"Server": VERSION})


async def robots(_call: Call) -> web.StreamResponse:
    """An archive is not for search engines."""
    return web.Response(text="User-agent: *\nDisallow: /\n", headers={"Server": VERSION})
