"""CDESTROY: remove a container; its files stay in the archive."""

from aiohttp import web

from pyvospace_ngas.archive import containers, containing, parameters
from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Remove the container, with ``recursive=1`` also those below it."""
    container = await containing.named(call)
    recursive = parameters.flag(call.parameters, "recursive")
    with call.node.busy(), containing.refusals():
        await call.node.database.run(containers.destroy(container.id, recursive=recursive))
    return success(call)
