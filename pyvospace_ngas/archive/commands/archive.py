"""ARCHIVE: archive what is sent, where the stream of its mime type says."""

from aiohttp import web

from pyvospace_ngas.archive import archiving, parameters, proxying, units
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.refusals import coded
from pyvospace_ngas.archive.wishes import read_wish


async def handle(call: Call) -> web.StreamResponse:
    """Archive the body of the request, or tell (probe=1) whether that could be done."""
    archiving.may_archive(call.node)
    if parameters.flag(call.parameters, "probe"):
        return await _probe(call)
    wish = read_wish(call)
    if unit := await units.elsewhere(call, wish.format):
        with call.node.busy(), call.node.receiving():
            return await proxying.forward(call, unit)
    async with archiving.source_of(call, wish.uri) as source:
        return await archiving.archive_from(call, wish, source, archiving.by_stream)


async def _probe(call: Call) -> web.StreamResponse:
    mime_type = call.parameters.get("mime_type", "")
    host = call.node.host_id.rpartition(":")[0]
    if await units.can_archive(call, mime_type):
        text = (
            f"Handling of Archive Request for mime-type: {mime_type} is possible on node: {host}"
        )
        return success(call, coded("NGAMS_INFO_ARCH_REQ_OK", text))
    text = f"Handling of Archive Request for mime-type: {mime_type} is not possible on: {host}"
    return success(call, coded("NGAMS_ER_ARCH_REQ_NOK", text))
