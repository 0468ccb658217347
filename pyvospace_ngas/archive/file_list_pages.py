"""A page of STATUS?file_list as gzipped XML, written without ever holding it."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import records
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.file_lists import FileList, position
from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.steps import DatabaseError, Row
from pyvospace_ngas.ngas.status import file_line, status_line

log = logging.getLogger(__name__)

GZIP: Final = 31  # zlib's way to say so


async def send(call: Call, wanted: FileList, limit: int | None) -> web.StreamResponse:
    """Send the next page of a list; only one that was sent whole counts as sent."""
    database = call.node.database
    left = await wanted.count(database)
    page = left if limit is None else min(left, limit)
    response = web.StreamResponse(
        headers={
            "Server": VERSION,
            "Content-Type": "application/x-gxml",
            "Content-Disposition": f'attachment; filename="file_list_{wanted.id}.xml.gz"',
        }
    )
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    try:
        wanted.after = await _write(call, response, wanted, page, left - page)
    except (DatabaseError, ConnectionError) as error:
        # The status line is gone: a cut connection is the only honest answer left.
        log.warning("a list of files broke off: %r", error)
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


async def _write(
    call: Call, response: web.StreamResponse, wanted: FileList, page: int, remaining: int
) -> tuple[str, int, str]:
    packer = zlib.compressobj(wbits=GZIP)
    after = wanted.after
    # Clients look for this line and take it apart at its spaces.
    title = f'<FileList Id="{wanted.id}" Status="REMAINING_DATA_OBJECTS: {remaining}">\n'
    status = call.node.status(f"Successfully handled command {call.command}")
    head = b'<?xml version="1.0" ?>\n<NgamsStatus>\n' + status_line(status) + title.encode()
    await response.write(packer.compress(head))
    async for rows in wanted.batches(call.node.database, page):
        await response.write(await asyncio.to_thread(_pack, packer, rows))
        after = position(rows[-1])
    tail = packer.compress(b"</FileList>\n</NgamsStatus>\n") + packer.flush()
    await response.write(tail)
    await response.write_eof()
    return after


def _pack(packer: zlib._Compress, rows: Sequence[Row]) -> bytes:
    lines = (
        file_line(records.file(row).status(), DiskId=row[0], HostId=row[-1] or "") for row in rows
    )
    return packer.compress(b"".join(lines))
