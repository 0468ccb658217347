"""QARCHIVE: archive what is sent, on any volume with room."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.archiving import archive, by_free_space


async def handle(call: Call) -> web.StreamResponse:
    """Archive the body of the request."""
    return await archive(call, by_free_space)
