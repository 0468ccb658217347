"""QARCHIVE and the like: bytes to one node, with an eye on its answer while they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import urlencode

from pyvospace_ngas.ngas.checksum import Buffer
from pyvospace_ngas.ngas.client import Filed, filed_in, interpret
from pyvospace_ngas.ngas.errors import LostAnswer, Malformed, Unreachable, WrongLength
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.status import Answer
from pyvospace_ngas.ngas.wire import Connection, Head, Pool, request_head

LINGER: Final = 10.0  # seconds for the answer of a node that stopped reading


async def archive(
    pool: Pool,
    entry: Entry,
    file_id: str,
    length: int,
    body: AsyncIterator[Buffer],
    mime_type: str,
) -> Filed:
    """Send a file of ``length`` bytes to a node.

    Raises `LostAnswer` when all was sent and the outcome is not known; after any other error the
    node stored nothing. What ``body`` raises passes through.
    """
    parameters = {
        "filename": f"{file_id}.bin",
        "file_id": file_id,
        "mime_type": mime_type,
        "crc_variant": "crc32c",
    }
    fields = {"Content-Type": mime_type}
    answer = await push(pool, entry, "QARCHIVE", parameters, fields, length, body)
    try:
        return filed_in(answer, file_id)[0]
    except Malformed as error:
        raise LostAnswer(f"no telling what {entry.address} did: {error}") from error


async def push(
    pool: Pool,
    entry: Entry,
    command: str,
    parameters: Mapping[str, str],
    fields: Mapping[str, str],
    length: int,
    body: AsyncIterator[Buffer],
) -> Answer:
    """Send ``length`` bytes with a command, and return the answer that says SUCCESS.

    Raises as `archive` does.
    """
    target = f"/{command}?{urlencode(parameters)}"
    sent = {**fields, "Content-Length": str(length)}
    connection = await pool.connect(entry)
    answering = asyncio.create_task(_read_answer(connection))
    try:
        await connection.send(request_head("POST", target, entry, sent))
        complete = await _send_until_answered(connection, answering, length, body)
        wait = pool.patience.after(length) if complete else min(LINGER, pool.patience.idle)
        await asyncio.wait([answering], timeout=wait)
        return _outcome(entry, answering, complete=complete)
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        connection.close()


async def _read_answer(connection: Connection) -> tuple[Head, bytes]:
    head = await connection.head(None)
    return head, await connection.document(head)


async def _send_until_answered(
    connection: Connection,
    answering: asyncio.Task[tuple[Head, bytes]],
    length: int,
    body: AsyncIterator[Buffer],
) -> bool:
    """Send ``body``; stop, and return False, once the node answers or breaks off."""
    sent = 0
    async for piece in body:
        sent += len(piece)
        if sent > length:
            raise WrongLength(f"more than the {length} bytes that were announced")
        sending = asyncio.create_task(connection.send(piece))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()  # does nothing to one that is done
            (failure,) = await asyncio.gather(sending, return_exceptions=True)
        if failure is not None or (answering.done() and sent < length):
            return False
    if sent < length:
        raise WrongLength(f"{sent} bytes of the {length} that were announced")
    return True


def _outcome(
    entry: Entry, answering: asyncio.Task[tuple[Head, bytes]], *, complete: bool
) -> Answer:
    """Turn what became of an upload into its answer, or an error that tells what is known."""
    if not answering.done():
        text = f"{entry.address} did not answer in time"
        raise LostAnswer(text) if complete else Unreachable(text)
    try:
        answer = interpret(entry, *answering.result())
    except (Unreachable, Malformed) as error:
        if complete:
            raise LostAnswer(f"no telling what {entry.address} did: {error}") from error
        raise
    if not complete:
        raise Malformed(f"{entry.address} accepted a file before it was sent")
    return answer
