"""OFFLINE: let go of the volumes."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Go offline; with ``force`` uploads under way are cut off."""
    await call.node.go_offline(force="force" in call.request.query)
    return success(call)
