"""RETRIEVE: exactly the wanted bytes of a file from one node, whatever ranges it understands."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pyvospace_ngas.ngas import splicing
from pyvospace_ngas.ngas.client import begin, interpret
from pyvospace_ngas.ngas.errors import Malformed, NgasError, Refused, Unreachable
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.wire import READ, Connection, Head, Pool, addresses

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes [first, last) that an answer holds; ``last`` is None where it does not tell."""

    first: int
    last: int | None
    offered: bool  # a whole file, with the remark that ranges are understood


class Reading:
    """The wanted bytes of a file, as they arrive; to be closed."""

    def __init__(
        self, pool: Pool, connection: Connection, head: Head, span: Span, start: int, end: int
    ) -> None:
        self.entry = connection.entry
        self.shows_ranges = head.status == 206 or span.offered
        self._pool = pool
        self._connection = connection
        self._head = head
        self._surplus = start - span.first
        self._left = end - start
        self._cut = span.last != end

    @property
    def can_pour(self) -> bool:
        """Whether `pour` works here."""
        return self._connection.can_pour

    async def read(self) -> bytes:
        """Return some bytes, and none when the wanted ones are complete."""
        await self._skip()
        if not self._left:
            return b""
        piece = await self._piece(self._left)
        self._left -= len(piece)
        return piece

    async def pour(self, pipe: int) -> int:
        """Put what `read` would return into an empty pipe, and return how much that is."""
        await self._skip()
        if not self._left:
            return 0
        count = await self._connection.pour(pipe, min(self._left, splicing.LARGE))
        if not count:
            raise self._broken()
        self._left -= count
        return count

    def close(self) -> None:
        """Give the connection back, or cut it where something is still to come."""
        if self._left or self._cut:
            self._connection.close()
        else:
            self._pool.give(self._connection, self._head)

    async def _skip(self) -> None:
        while self._surplus:
            self._surplus -= len(await self._piece(self._surplus))

    async def _piece(self, most: int) -> bytes:
        piece = await self._connection.read(min(most, READ))
        if not piece:
            raise self._broken()
        return piece

    def _broken(self) -> Unreachable:
        return Unreachable(f"{self.entry.address} closed in the middle of a file")


async def retrieve(
    pool: Pool,
    entry: Entry,
    file_id: str,
    version: int | None,
    start: int,
    end: int,
    *,
    exact: bool,
    members: Collection[Entry],
) -> Reading:
    """Open the bytes [``start``, ``end``) of a file.

    ``exact`` asks for the end too, which only nodes that answer 206 understand; of the others the
    surplus is cut off. A redirect is followed once, and only to one of ``members``.
    """
    parameters = {"file_id": file_id} | ({} if version is None else {"file_version": str(version)})
    fields = _range(start, end, exact=exact)
    wait = pool.patience.answer
    connection, head = await begin(pool, entry, "RETRIEVE", parameters, fields, wait=wait)
    try:
        if head.status in REDIRECTS:
            connection.close()
            holder = await _member(head.fields.get("location", ""), entry, members)
            connection, head = await begin(pool, holder, "RETRIEVE", parameters, fields, wait=wait)
        if head.status not in (200, 206):
            interpret(entry, head, await connection.document(head))
            raise Malformed(f"{entry.address} answered a file with status {head.status}")
        span = _span(connection.entry, head)
        if span.first > start or (span.last is not None and span.last < end):
            raise Malformed(f"{entry.address} has not the bytes {start}-{end} of {file_id}")
        return Reading(pool, connection, head, span, start, end)
    except (NgasError, asyncio.CancelledError):
        connection.close()
        raise


def _range(start: int, end: int, *, exact: bool) -> dict[str, str]:
    if exact:
        return {"Range": f"bytes={start}-{end - 1}"}
    return {"Range": f"bytes={start}-"} if start else {}


def _span(entry: Entry, head: Head) -> Span:
    text = head.fields.get("content-range")
    if text is None:
        if head.status == 206:
            raise Malformed(f"{entry.address} answered a part without saying which")
        return Span(0, head.length, head.fields.get("accept-ranges") == "bytes")
    found = CONTENT_RANGE.match(text)
    if found is None:
        raise Malformed(f"{entry.address} answered with Content-Range {text!r}")
    first, last = int(found[1]), int(found[2]) + 1
    if last <= first or head.length not in (None, last - first):
        raise Malformed(f"{entry.address} answered with a range and a length that differ")
    return Span(first, last, offered=False)


async def _member(location: str, asked: Entry, members: Collection[Entry]) -> Entry:
    """Return the member that a redirect names, by its name or by its address."""
    refusal = Refused(f"{asked.address} redirects outside the federation")
    try:
        parts = urlsplit(location)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        raise refusal from None
    near = [entry for entry in members if entry.port == port]
    for entry in near:
        if entry.host.lower() == host:
            return entry
    for entry in near:
        if host in await addresses(entry):
            return entry
    raise refusal
