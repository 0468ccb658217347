"""INIT: read the configuration again."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Go offline where need be, and online with the configuration as it is now."""
    await call.node.begin_anew()
    return success(call)
