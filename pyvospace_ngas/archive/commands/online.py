"""ONLINE: take the volumes and serve."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Go online."""
    await call.node.go_online(force="force" in call.request.query)
    return success(call)
