"""EXIT: end the node."""

from aiohttp import web

from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Answer, then end."""
    call.node.exiting.set()
    return success(call, "NG/AMS Server performing exit")
