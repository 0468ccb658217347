"""Sending bytes: from memory, a file or a stream, to whichever endpoint takes them."""

import asyncio
import hashlib
import json
import os
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import digests
from pyvospace_ngas.client.connection import ATTEMPTS, BROKEN, UNSENT, Connection
from pyvospace_ngas.client.faults import fault
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.content import PROPERTIES, Step

Offer = Callable[[], Awaitable[Sequence[str]]]

_PIECE: Final = 1 << 20  # bytes that are read and summed at once
_CHUNK: Final = 256 << 10  # bytes that are sent at once, each time within the patience
HELD: Final = 256 << 10  # bytes that are sent at once, from memory
_WORTH_ASKING: Final = 4 << 20  # bytes; larger bodies wait for "100 Continue" before they start
_DIGEST_FIRST: Final = 5 << 20  # bytes; smaller files are summed before they are sent
_SLOWEST_ARCHIVING: Final = 5 << 20  # bytes a second, after the last byte was sent
_RETRIED: Final = (
    errors.ServiceUnavailable,
    errors.ArchiveUnreachable,
    errors.InternalFault,
    errors.TransferFailed,
    errors.ChecksumMismatch,
    errors.PreconditionFailed,
    errors.EndpointNotFound,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the service has taken; ``step`` is what that made of the node, where it is told."""

    length: int
    md5: str
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to send. ``md5`` is known where that was cheap; ``once`` for a stream that is read.

    A few bytes are ``held`` in memory.
    """

    open: Callable[[], AsyncIterator[bytes]]
    length: int | None
    md5: bytes | None = None
    once: bool = False
    held: bytes | None = None


def held(data: bytes) -> Source:
    """Return a few bytes as a source."""
    return Source(partial(_pieces, data), len(data), _md5(data), held=data)


@asynccontextmanager
async def opened(
    data: bytes | Path | AsyncIterable[bytes], length: int | None
) -> AsyncIterator[Source]:
    """Give ``data`` as a source; a stream's ``length`` is the caller's word, or unknown.

    A file stays open throughout: all attempts send the same one, whatever its name means by then.
    """
    if isinstance(data, bytes) and len(data) <= HELD:
        yield held(data)
    elif isinstance(data, bytes):
        md5 = await asyncio.to_thread(_md5, data)
        yield Source(partial(_pieces, data), len(data), md5)
    elif isinstance(data, Path):
        with await asyncio.to_thread(data.open, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HELD:
                yield held(await asyncio.to_thread(os.pread, file.fileno(), size, 0))
                return
            small = size <= _DIGEST_FIRST
            known = await asyncio.to_thread(_file_md5, file.fileno(), size) if small else None
            yield Source(partial(_file, file.fileno(), size), size, known)
    else:
        yield Source(partial(_stream, data), length, once=True)


async def push(
    connection: Connection,
    offer: Offer,
    source: Source,
    match: str | None = None,
    report: Callable[[int], None] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Stored:
    """Send ``source`` to the first endpoint that takes it, out of those that ``offer`` names.

    A failure that may pass leads to the next endpoint, and after the last one to a new offer.
    ``match`` is the entity tag of the bytes that may be replaced: `PreconditionFailed` for others.
    ``report`` is told how many bytes went, and took back when they are sent again.
    ``properties`` are to be the node's together with the bytes. They are if the service tells the
    step (see `Stored`); else it may not know how to.
    """
    failure: VOSpaceError = errors.TransferFailed("the service offered no endpoint")
    fields = {} if match is None else {"If-Match": match}
    if properties:
        fields[PROPERTIES] = json.dumps(properties)
    for attempt in range(1, ATTEMPTS + 1):
        for endpoint in await offer():
            meter = digests.Meter(report)
            try:
                return await _put(connection, endpoint, source, fields, meter)
            except _RETRIED as error:
                meter.take_back()
                failure = error
                if source.once or (match and isinstance(error, errors.PreconditionFailed)):
                    raise
        if attempt < ATTEMPTS:
            await connection.pause(attempt)
    raise failure


async def _put(
    connection: Connection,
    endpoint: str,
    source: Source,
    fields: Mapping[str, str],
    meter: digests.Meter,
) -> Stored:
    if source.held is not None:
        meter.count(len(source.held))
        return await _put_held(connection, endpoint, source, source.held, fields)
    sending = _Sending(source, meter, connection.timeout)
    try:
        async with asyncio.timeout(None) as sending.limit:
            status, told, body = await _send(connection, endpoint, source, sending, fields)
    except BROKEN as error:
        if sending.failure is not None:
            raise sending.failure from None
        if sending.finished and await _has(connection, endpoint, md5 := await meter.md5()):
            return Stored(meter.length, md5.hex())
        raise connection.unreachable(endpoint, error) from error
    if status not in (200, 201):
        raise fault(status, body)
    return _checked(Stored(meter.length, (await meter.md5()).hex()), told)


async def _put_held(
    connection: Connection,
    endpoint: str,
    source: Source,
    data: bytes,
    fields: Mapping[str, str],
) -> Stored:
    """Send a few bytes, which need no order in which to wait for what."""
    md5 = source.md5 or _md5(data)
    stored, url = Stored(len(data), md5.hex()), URL(endpoint, encoded=True)
    patience = connection.timeout + len(data) / _SLOWEST_ARCHIVING
    try:
        answer = await connection.send(
            "PUT", url, _headers(source, fields), data, patience=patience
        )
    except BROKEN as error:
        if not isinstance(error, UNSENT) and await _has(connection, endpoint, md5):
            return stored
        raise connection.unreachable(endpoint, error) from error
    if answer.status not in (200, 201):
        raise fault(answer.status, answer.body)
    return _checked(stored, answer.headers)


def _checked(sent: Stored, fields: Mapping[str, str]) -> Stored:
    announced = digests.announced(fields)
    if announced is not None and announced.hex() != sent.md5:
        raise errors.ChecksumMismatch("the service stored other bytes than were sent")
    return replace(sent, step=Step.told(fields))


def _headers(source: Source, fields: Mapping[str, str]) -> dict[str, str]:
    headers = {"Content-Type": "application/octet-stream", **fields}
    if source.length is not None:
        headers["Content-Length"] = str(source.length)
    if source.md5 is not None:
        headers["Digest"] = digests.header(source.md5)
    return headers


async def _send(
    connection: Connection,
    endpoint: str,
    source: Source,
    sending: "_Sending",
    fields: Mapping[str, str],
) -> tuple[int, Mapping[str, str], bytes]:
    headers = _headers(source, fields)
    large = source.length is None or source.length > _WORTH_ASKING
    body = sending.chunks() if source.length != 0 else b""
    sending.finished = source.length == 0
    async with connection.endpoint(
        "PUT", endpoint, headers, body, expect=large, patience=_until_archived(source, sending)
    ) as response:
        return response.status, response.headers, await response.read()


async def _has(connection: Connection, endpoint: str, md5: bytes) -> bool:
    """Tell whether an upload whose answer was lost had arrived after all."""
    try:
        answer = await connection.send("HEAD", URL(endpoint, encoded=True), {})
    except BROKEN:
        return False
    return answer.status == 200 and digests.announced(answer.headers) == md5


def _until_archived(source: Source, sending: "_Sending") -> float:
    return sending.patience + (source.length or 0) / _SLOWEST_ARCHIVING


class _Sending:
    """One body on its way: what was sent, what went wrong in its source, and how long to wait."""

    def __init__(self, source: Source, meter: digests.Meter, patience: float) -> None:
        self.source = source
        self.meter = meter
        self.patience = patience
        self.limit: asyncio.Timeout | None = None
        self.failure: Exception | None = None
        self.finished = False

    async def chunks(self) -> AsyncIterator[memoryview]:
        """Give the source's bytes; the time allowed runs from one chunk to the next."""
        try:
            async for piece in self.source.open():
                await self.meter.add(piece)
                for start in range(0, len(piece), _CHUNK):
                    self._wait(self.patience)
                    yield memoryview(piece)[start : start + _CHUNK]
                self._wait(None)  # for as long as the source takes
            self._check()
        except Exception as error:
            # aiohttp tells of its own failure to send; the cause is here.
            self.failure = error
            raise
        self._wait(_until_archived(self.source, self))
        self.finished = True

    def _check(self) -> None:
        if self.source.length is not None and self.meter.length != self.source.length:
            raise errors.LengthMismatch(
                f"{self.meter.length} bytes came where {self.source.length} were promised"
            )

    def _wait(self, seconds: float | None) -> None:
        if self.limit is not None and not self.limit.expired():
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(None if seconds is None else now + seconds)


async def _stream(data: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for chunk in data:
        yield chunk


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


async def _file(fd: int, size: int) -> AsyncIterator[bytes]:
    """Give the first ``size`` bytes of a file; a file that grows does not disturb."""
    start = 0
    while start < size:
        piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, size - start), start)
        if not piece:
            return
        start += len(piece)
        yield piece


def _file_md5(fd: int, size: int) -> bytes:
    return _md5(os.pread(fd, size, 0))


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
