"""The commands of NGAS that we use, at one node. Whatever it does becomes one of our errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from pyvospace_ngas.ngas import status as documents
from pyvospace_ngas.ngas.errors import (
    Busy,
    Malformed,
    NgasError,
    NotFound,
    Refused,
    RemovalRefused,
    Unreachable,
)
from pyvospace_ngas.ngas.placement import Entry, Room
from pyvospace_ngas.ngas.status import Answer, DiskStatus, FileStatus, Status
from pyvospace_ngas.ngas.wire import Connection, Head, Pool, request_head

ILLEGAL_REQUEST: Final = 4017
DISCARD_GRANTED: Final = 4065
NOT_FOUND: Final = frozenset({4019, 4063})
DONE: Final = frozenset({200, 201})  # 201: a subscription that was there already
TOO_MANY_REQUESTS: Final = 4062
NOBODY: Final = "vospace-probe"  # no disk and no file is called so


class Discarded(StrEnum):
    """How a discard went well."""

    DISCARDED = "discarded"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Filed:
    """A file as a node answers for it, with the disk that holds it."""

    disk: DiskStatus
    file: FileStatus
    asked: Status


async def status(pool: Pool, entry: Entry) -> Status:
    """Ask a node how it is."""
    return (await ask(pool, entry, "STATUS", {})).status


async def file_status(pool: Pool, entry: Entry, file_id: str) -> tuple[Filed, ...]:
    """Ask a node for the latest version of a file, or raise `NotFound`.

    In a cluster that shares a database any node answers for the files of all.
    """
    return filed_in(await ask(pool, entry, "STATUS", {"file_id": file_id}), file_id)


async def room(pool: Pool, entry: Entry, host_id: str) -> Room | None:
    """Return the free bytes of a node's own volumes, or None where it does not tell."""
    query = {"query": "disks_list", "format": "json"}
    head, body = await _fetch(pool, entry, "QUERY", query)
    if head.status != 200:
        return None
    try:
        return _room(json.loads(body), host_id)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


async def may_discard(pool: Pool, entry: Entry) -> bool | None:
    """Tell whether a node removes files, by asking without doing it; None: it did not say.

    A node that is not configured to remove refuses before it looks for the file.
    """
    parameters = {"disk_id": NOBODY, "file_id": NOBODY, "file_version": "1"}
    try:
        await ask(pool, entry, "DISCARD", parameters)
    except NotFound:
        return True
    except Refused as refusal:
        return False if refusal.code == ILLEGAL_REQUEST else None
    except NgasError:
        return None
    return True


async def discard(pool: Pool, entry: Entry, file_id: str, disk_id: str, version: int) -> Discarded:
    """Remove one copy at the node that holds it.

    ABSENT is this node's word only, and given only while it is ONLINE. Raises `RemovalRefused`.
    """
    parameters = {
        "disk_id": disk_id,
        "file_id": file_id,
        "file_version": str(version),
        "execute": "1",
    }
    try:
        answer = await ask(pool, entry, "DISCARD", parameters, repeatable=False)
    except NotFound as missing:
        if not missing.online:
            raise Unreachable(f"{entry.address} is not ONLINE") from missing
        return Discarded.ABSENT
    except Refused as refusal:
        if refusal.code == ILLEGAL_REQUEST:
            text = f"{entry.address} is not configured to remove files (AllowRemoveReq)"
            raise RemovalRefused(text, refusal.code, refusal.message) from refusal
        raise
    if answer.status.code == DISCARD_GRANTED:
        raise Malformed(f"{entry.address} only granted a discard that was to be done")
    return Discarded.DISCARDED


def interpret(entry: Entry, head: Head, body: bytes) -> Answer:
    """Return the document of an answer that says SUCCESS; anything else is raised as an error."""
    if head.status == 503:
        raise Busy(f"{entry.address} serves as many requests as it can")
    try:
        answer = documents.parse(body)
    except documents.MalformedAnswer as error:
        text = f"{entry.address} answered {head.status} without a status document"
        if 400 <= head.status < 500:
            raise Refused(text, http=head.status) from error
        raise Malformed(text) from error
    if answer.status.succeeded and head.status in DONE:
        return answer
    raise _refusal(entry, head, answer.status)


def _refusal(entry: Entry, head: Head, said: Status) -> NgasError:
    text = f"{entry.address} answered {head.status} {said.status}: {said.message}"
    if said.code in NOT_FOUND:
        return NotFound(text, said.code, said.message, online=said.state == "ONLINE")
    if said.code == TOO_MANY_REQUESTS:
        return Busy(text)
    if said.status != "FAILURE":
        return Malformed(text)
    return Refused(text, said.code, said.message, http=head.status)


async def ask(
    pool: Pool,
    entry: Entry,
    command: str,
    parameters: Mapping[str, str],
    *,
    repeatable: bool = True,
) -> Answer:
    head, body = await _fetch(pool, entry, command, parameters, repeatable=repeatable)
    return interpret(entry, head, body)


async def _fetch(
    pool: Pool,
    entry: Entry,
    command: str,
    parameters: Mapping[str, str],
    *,
    repeatable: bool = True,
) -> tuple[Head, bytes]:
    wait = pool.patience.ask
    connection, head = await begin(
        pool, entry, command, parameters, {}, wait=wait, repeatable=repeatable
    )
    try:
        body = await connection.document(head)
    except (NgasError, asyncio.CancelledError):
        connection.close()
        raise
    pool.give(connection, head)
    return head, body


async def begin(
    pool: Pool,
    entry: Entry,
    command: str,
    parameters: Mapping[str, str],
    fields: Mapping[str, str],
    *,
    wait: float,
    repeatable: bool = True,
) -> tuple[Connection, Head]:
    """Send a GET and read the head of its answer, for which the node has ``wait`` seconds.

    A kept connection may have been closed by the node in the same moment: then a fresh one is
    tried, once. What may not be done twice gets a fresh one from the start.
    """
    target = f"/{command}" + (f"?{urlencode(parameters)}" if parameters else "")
    sent = request_head("GET", target, entry, fields, keep=repeatable)
    connection = await (pool.take(entry) if repeatable else pool.connect(entry))
    while True:
        try:
            await connection.send(sent)
            return connection, await connection.head(wait)
        except Unreachable:
            connection.close()
            if not connection.used:
                raise
        except (Malformed, asyncio.CancelledError):
            connection.close()
            raise
        connection = await pool.connect(entry)


def filed_in(answer: Answer, file_id: str) -> tuple[Filed, ...]:
    """Return the copies of a file in an answer that must have one."""
    found = tuple(
        Filed(disk, file, answer.status)
        for disk in answer.disks
        for file in disk.files
        if file.file_id == file_id
    )
    if not found:
        raise Malformed(f"{answer.status.host_id} answered without the file {file_id}")
    return found


def _room(rows: list[dict[str, object]], host_id: str) -> Room:
    """Read disks_list, which names the disks of a whole cluster."""
    free = [
        int(str(row["available_mb"])) * 2**20
        for row in rows
        if row["host_id"] == host_id and row["mounted"] and not row["completed"]
    ]
    return Room(min(free, default=0), max(free, default=0))
