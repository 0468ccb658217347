"""CRETRIEVE: a container with all that is below it, as one stream."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import ClientError, web

from pyvospace_ngas.archive import containers, containing, packing, sending
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.containers import Tree
from pyvospace_ngas.archive.downloads import disposition
from pyvospace_ngas.archive.node import VERSION, Node
from pyvospace_ngas.archive.opening import open_copy
from pyvospace_ngas.archive.packing import Packed
from pyvospace_ngas.archive.peers import PeerAway
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import Refused, coded, not_permitted

log = logging.getLogger(__name__)

MULTIPART: Final = "ngas/container"
SHAPES: Final[dict[str, Callable[[Tree], Packed]]] = {
    MULTIPART: packing.as_multipart,
    "multipart/mixed": packing.as_multipart,
    "application/x-tar": packing.as_tar,
}


class _BrokeOff(Exception):
    """A file that was being sent ended early."""


async def handle(call: Call) -> web.StreamResponse:
    """Send the container; nothing of it before all files are known to be within reach."""
    node = call.node
    if not node.config.permissions.retrieve:
        raise not_permitted("Retrieve", "AllowRetrieveReq")
    format_ = call.parameters.get("format", MULTIPART)
    if format_ not in SHAPES:
        raise Refused(f"Invalid format: {format_[:80]}; use one of {', '.join(SHAPES)}")
    container = await containing.named(call)
    tree = await containers.tree(node.database, container, node.host_id)
    with node.busy():
        packed = await asyncio.to_thread(SHAPES[format_], tree)
        await _all_within_reach(node, packed.copies)
        response = web.StreamResponse(
            headers={
                "Server": VERSION,
                "Content-Type": format_,
                "Content-Disposition": disposition(container.name),
                "X-Content-Type-Options": "nosniff",
            }
        )
        response.content_length = packed.length
        await response.prepare(call.request)
        if call.request.method != "HEAD":
            await _send_all(call, response, packed)
    return response


async def _all_within_reach(node: Node, copies: Sequence[Copy]) -> None:
    here = [copy for copy in copies if node.holds(copy.disk)]
    missing = await asyncio.to_thread(_missing, here)
    if missing is None:
        for host_id in {copy.disk.host_id for copy in copies if not node.holds(copy.disk)}:
            await node.peers.address(host_id)
        away = (copy for copy in copies if not copy.disk.mounted)
        missing = next(away, None)
    if missing is not None:
        text = f"The file {missing.file.file_id} of the container cannot be read now."
        raise Refused(coded("NGAMS_ER_DISK_INACCESSIBLE", text), 500)


def _missing(copies: Sequence[Copy]) -> Copy | None:
    for copy in copies:
        fd = open_copy(copy)
        if fd is None:
            return copy
        os.close(fd)
    return None


async def _send_all(call: Call, response: web.StreamResponse, packed: Packed) -> None:
    try:
        for piece in packed.pieces:
            if isinstance(piece, bytes):
                await response.write(piece)
            elif call.node.holds(piece.disk):
                await _send_own(call.node, response, piece)
            else:
                await _send_others(call.node, response, piece)
    except (
        *(sending.ClientGone, ClientError, TimeoutError, ConnectionError, EOFError, OSError),
        *(PeerAway, _BrokeOff),
    ) as error:
        # The status line is gone: a cut connection is the only honest answer left.
        log.info("a container of %d bytes was not sent whole: %r", packed.length, error)
        if call.request.transport is not None:
            call.request.transport.abort()


async def _send_own(node: Node, response: web.StreamResponse, copy: Copy) -> None:
    fd = await asyncio.to_thread(open_copy, copy)
    if fd is None:
        raise _BrokeOff(copy.file.file_id)
    try:
        span = range(copy.file.size)
        await sending.send_plainly(response, fd, span, node.config.server.timeout)
    finally:
        os.close(fd)


async def _send_others(node: Node, response: web.StreamResponse, copy: Copy) -> None:
    """Pass on the bytes from the node that has them."""
    file = copy.file
    wanted = {
        "file_id": file.file_id,
        "file_version": str(file.version),
        "disk_id": file.disk_id,
    }
    left = file.size
    host_id = copy.disk.host_id
    async with node.peers.ask(host_id, "RETRIEVE", wanted, proxied=True) as source:
        if source.status != 200:
            raise _BrokeOff(f"{host_id} answered {source.status} for {file.file_id}")
        async for chunk in source.content.iter_any():
            left -= len(chunk)
            if left < 0:
                break
            await response.write(chunk)
    if left:
        raise _BrokeOff(f"{host_id} sent another length of {file.file_id}")
