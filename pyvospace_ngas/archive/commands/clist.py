"""CLIST: what is in a container."""

from aiohttp import web

from pyvospace_ngas.archive import containers, containing
from pyvospace_ngas.archive.answers import Call, with_containers


async def handle(call: Call) -> web.StreamResponse:
    """Answer the container with its files, and those below it with theirs."""
    container = await containing.named(call)
    tree = await containers.tree(call.node.database, container, call.node.host_id)
    return await with_containers(call, "Successfully retrieved containers list", tree.status())
