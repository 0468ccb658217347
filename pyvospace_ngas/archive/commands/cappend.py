"""CAPPEND: put files into a container."""

from aiohttp import web

from pyvospace_ngas.archive import containers, containing, parameters
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.records import stamp


async def handle(call: Call) -> web.StreamResponse:
    """Put in all that the request names, or none."""
    container = await containing.named(call)
    file_ids = await containing.file_ids(call)
    script = containers.append(
        container.id,
        file_ids,
        force=parameters.flag(call.parameters, "force"),
        close=stamp() if parameters.flag(call.parameters, "close_container") else None,
    )
    with call.node.busy(), containing.refusals():
        await call.node.database.run(script)
    return success(call)
