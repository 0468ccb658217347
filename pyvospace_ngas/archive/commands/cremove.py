"""CREMOVE: take files out of a container; they stay in the archive."""

from aiohttp import web

from pyvospace_ngas.archive import containers, containing
from pyvospace_ngas.archive.answers import Call, success


async def handle(call: Call) -> web.StreamResponse:
    """Take out what the request names; what is not in the container does not matter."""
    container = await containing.named(call)
    file_ids = await containing.file_ids(call)
    with call.node.busy(), containing.refusals():
        await call.node.database.run(containers.remove(container.id, file_ids))
    return success(call)
