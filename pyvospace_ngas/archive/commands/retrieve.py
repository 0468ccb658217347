"""RETRIEVE: send a file, or a part of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import index, parameters, partners, processing, proxying, sending
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.downloads import Part, headers_of, part_of
from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.opening import open_copy
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import Refused, coded, not_permitted
from pyvospace_ngas.ngas import dtd

log = logging.getLogger(__name__)

# The real server has the same in three parts, each naming the next.
DEFINITIONS: Final = ("ngamsStatus.dtd", "ngamsInternal.dtd", "XmlStd.dtd")


async def handle(call: Call) -> web.StreamResponse:
    """Send the best copy: one of this node, else say where another is, else ask the partners.

    Of NGAS's parameters ``timeout`` counts for the partners; ``quick_location`` and ``domain``
    make no difference, as one look into the index finds every copy.
    """
    if (name := call.parameters.get("internal")) is not None:
        return _definitions(name)
    if not call.node.config.permissions.retrieve:
        raise not_permitted("Retrieve", "AllowRetrieveReq")
    copies = await _wanted(call)
    if not copies:
        return await partners.retrieve(call)
    here = [copy for copy in copies if call.node.holds(copy.disk)]
    if not here:
        return await proxying.elsewhere(call, copies[0].disk.host_id)
    for copy in here:
        if (response := await _answer(call, copy)) is not None:
            return response
    if call.node.config.data_mover.enabled:  # the volumes of its main node are not here
        return await proxying.elsewhere(call, here[0].disk.host_id)
    raise Refused(
        coded(
            "NGAMS_ER_DISK_INACCESSIBLE",
            f"The file {here[0].file.file_id} is registered on the disk {here[0].disk.disk_id}, "
            "but it cannot be read there.",
        ),
        500,
    )


async def _answer(call: Call, copy: Copy) -> web.StreamResponse | None:
    """Send a copy, or what the processing that is asked for makes of it; None: it is not there."""
    fd = open_copy(copy)
    if fd is None:
        return None
    name = processing.wanted(call)
    try:
        with call.node.busy():
            if name is not None:
                return await processing.send(call, copy, name)
            return await _send(call, copy, fd)
    finally:
        os.close(fd)


def _definitions(name: str) -> web.StreamResponse:
    """Answer with what the document type of every answer refers to."""
    if name not in DEFINITIONS:
        known = ", ".join(DEFINITIONS)
        raise Refused(coded("NGAMS_ER_RETRIEVE_CMD", f"internal names one of {known}."))
    return web.Response(
        text=dtd.text(), content_type="application/xml-dtd", headers={"Server": VERSION}
    )


async def _wanted(call: Call) -> Sequence[Copy]:
    given = call.parameters
    file_id = given.get("file_id")
    if not file_id:
        raise Refused(coded("NGAMS_ER_RETRIEVE_CMD", "RETRIEVE needs a file_id."))
    version = parameters.version(given, call.command)
    copies = await index.locate(call.node.database, file_id, version)
    return [
        copy
        for copy in copies
        if copy.file.version == copies[0].file.version
        and given.get("disk_id", copy.disk.disk_id) == copy.disk.disk_id
        and given.get("host_id", copy.disk.host_id) == copy.disk.host_id
    ]


async def _send(call: Call, copy: Copy, fd: int) -> web.StreamResponse:
    part = part_of(call.request, copy.file)
    headers = headers_of(copy.file, part)
    span = part.span
    if len(span) <= sending.SMALL and call.request.method != "HEAD":
        body = await sending.read_small(fd, span.start, len(span))
        return web.Response(status=part.status, body=body, headers=headers)
    response = web.StreamResponse(status=part.status, headers=headers)
    response.content_length = len(span)
    await response.prepare(call.request)
    if call.request.method != "HEAD":
        await _send_large(call, response, fd, part)
    return response


async def _send_large(call: Call, response: web.StreamResponse, fd: int, part: Part) -> None:
    try:
        await sending.send(call.request, response, fd, part.span, call.node.config.server.timeout)
    except (sending.ClientGone, EOFError, OSError) as error:
        # The status line is gone: a cut connection is the only honest answer left.
        log.info("a download of %d bytes ended early: %r", len(part.span), error)
        if call.request.transport is not None:
            call.request.transport.abort()
    except asyncio.CancelledError:
        if call.request.transport is not None:
            call.request.transport.abort()
        raise
