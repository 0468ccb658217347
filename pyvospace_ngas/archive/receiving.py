"""The body of an upload: small ones into memory, larger ones flat through a worker to the disk."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from pyvospace_ngas.archive import placement
from pyvospace_ngas.archive.refusals import Refused, coded, no_room
from pyvospace_ngas.archive.upload import NoRoom, refusal
from pyvospace_ngas.archive.volume import MEBIBYTE, Staging
from pyvospace_ngas.archive.writeback import Writeback
from pyvospace_ngas.ngas.checksum import Crc, Variant

log = logging.getLogger(__name__)

SMALL: Final = MEBIBYTE
BURST: Final = 256 * 1024  # less is not worth waking a thread for
QUEUE_BYTES: Final = 8 * MEBIBYTE  # of one upload
ALL_BYTES: Final = 64 * MEBIBYTE  # of all together
# Busy only while bytes are there: an idle client holds no thread.
WORKERS: Final = ThreadPoolExecutor(8, "receive")


@dataclass(frozen=True, slots=True)
class Received:
    """A body that arrived whole: in memory, or staged and durable."""

    size: int
    checksum: str
    body: bytes | None
    seconds: float  # spent with the disk


class Content(Protocol):
    """Bytes that come bit by bit."""

    async def readany(self) -> bytes:
        """Return what is there, at least a byte; nothing at the end."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file's bytes come from: from the client, or from where the node fetches them."""

    content: Content
    length: int | None
    pulled: bool = False

    def broken(self, text: str, status: int = 400) -> Refused:
        """Return what a source that ends early means for its request."""
        if not self.pulled:
            found = coded("NGAMS_ER_ARCH_RECV", f"{text}; nothing is kept.")
            return Refused(found, status, close=True)
        found = coded("NGAMS_ER_ARCHIVE_PULL_REQ", f"From the source {text}; nothing is kept.")
        return Refused(found, 504 if status == 408 else 502)


class Pieces:
    """What an iterator gives, as content."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def readany(self) -> bytes:
        """Return the next piece; nothing at the end."""
        return await anext(self._pieces, b"")


class Limited:
    """Bytes of unknown number, which must not fill the volume to its last."""

    def __init__(self, content: Content, most: int) -> None:
        self._content = content
        self._left = most

    async def readany(self) -> bytes:
        """Return what comes, or raise `NoRoom`."""
        chunk = await self._content.readany()
        self._left -= len(chunk)
        if self._left < 0:
            raise NoRoom("no volume has room")
        return chunk


class Receiver:
    """Takes bodies in; knows how much of them is in memory."""

    def __init__(self, *, idle: float, durable: bool) -> None:
        self._idle = idle
        self._durable = durable
        self._streams = 0

    async def receive(
        self, request: web.Request, volume: Staging, token: str, variant: Variant
    ) -> Received:
        """Read the whole body, or raise and leave nothing behind."""
        source = Source(request.content, request.content_length)
        return await self.take(source, volume, token, variant)

    async def take(
        self,
        source: Source,
        volume: Staging,
        token: str,
        variant: Variant,
        *,
        staged: bool = False,
        alone: asyncio.Lock | None = None,
    ) -> Received:
        """Read a source to its end, or raise and leave nothing behind.

        ``staged`` puts even a small file into the staging folder; ``alone`` is held while bytes
        are written (not while they are waited for).
        """
        chunks = self._chunks(source)
        try:
            first = None if staged else await self._first(chunks, source.length)
            body, ended = first or (b"", False)
            if not ended:
                sink = self._sink(volume, token, variant, alone)
                return await self._stream(sink, body, chunks, volume, token)
            crc = Crc(variant)
            crc.update(body)
            return Received(len(body), crc.text, body, 0.0)
        except OSError as error:
            raise _as_refusal(error, source) from error
        finally:
            await chunks.aclose()

    async def _first(
        self, chunks: AsyncIterator[bytes], length: int | None
    ) -> tuple[bytes, bool] | None:
        """Return what fits in memory, and whether that is all; None for what surely does not."""
        if length is not None and length >= SMALL:
            return None
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) >= SMALL:
                return bytes(body), False
        return bytes(body), True

    async def _chunks(self, source: Source) -> AsyncGenerator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await source.content.readany()
            except TimeoutError:
                raise source.broken(f"no data came for {self._idle:.0f} seconds", 408) from None
            except (ClientError, HttpProcessingError, ConnectionError) as error:
                raise source.broken("the data ended early") from error
            if not chunk:
                return
            yield chunk

    def _sink(
        self, volume: Staging, token: str, variant: Variant, alone: asyncio.Lock | None
    ) -> _Sink:
        fd = placement.create(volume, token)
        return _Sink(fd, variant, durable=self._durable, alone=alone)

    async def _stream(
        self,
        sink: _Sink,
        first: bytes,
        chunks: AsyncIterator[bytes],
        volume: Staging,
        token: str,
    ) -> Received:
        self._streams += 1
        complete = False
        try:
            await sink.take(first, QUEUE_BYTES)
            async for chunk in chunks:
                await sink.take(chunk, self._allowance())
            await sink.finish()
            complete = True
        finally:
            self._streams -= 1
            await sink.close()
            if not complete:
                placement.clear(volume, [token])
        return Received(sink.size, sink.crc.text, None, sink.seconds)

    def _allowance(self) -> int:
        return max(min(QUEUE_BYTES, ALL_BYTES // self._streams), BURST)


async def drop(volume: Staging, token: str, received: Received) -> None:
    """Throw away what was received."""
    if received.body is None:
        await asyncio.to_thread(placement.clear, volume, [token])


class _Sink:
    """Bytes on their way to one file: one job at a time, which takes all that waits."""

    def __init__(
        self, fd: int, variant: Variant, *, durable: bool, alone: asyncio.Lock | None
    ) -> None:
        self.crc = Crc(variant)
        self.size = 0
        self.seconds = 0.0
        self._fd = fd
        self._durable = durable
        self._writeback = Writeback(fd)
        self._alone = alone
        self._waiting: list[bytes] = []
        self._bytes = 0  # waiting
        self._held = 0  # in the job under way
        self._job: asyncio.Future[None] | None = None

    async def take(self, chunk: bytes, allowance: int) -> None:
        """Take bytes in; wait when too many are on their way."""
        self._waiting.append(chunk)
        self._bytes += len(chunk)
        self.size += len(chunk)
        if self._bytes < BURST:
            return
        if self._job is not None and (self._job.done() or self._bytes + self._held > allowance):
            await self._settle()
        if self._job is None:
            self._start(last=False)

    async def finish(self) -> None:
        """Write what is left and make the file durable."""
        await self._settle()
        self._start(last=True)
        await self._settle()

    async def close(self) -> None:
        """Let the job under way end, then the file go."""
        if self._job is not None:
            await asyncio.wait([self._job])
            self._job.exception()
        os.close(self._fd)

    async def _settle(self) -> None:
        if self._job is not None:
            await asyncio.shield(self._job)
            self._job, self._held = None, 0

    def _start(self, *, last: bool) -> None:
        buffers, self._waiting = self._waiting, []
        self._held, self._bytes = self._bytes, 0
        loop = asyncio.get_running_loop()
        if self._alone is None:
            self._job = loop.run_in_executor(WORKERS, self._write, buffers, last)
        else:
            self._job = asyncio.create_task(self._write_alone(self._alone, buffers, last=last))

    async def _write_alone(self, alone: asyncio.Lock, buffers: list[bytes], *, last: bool) -> None:
        async with alone:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(WORKERS, self._write, buffers, last)

    def _write(self, buffers: list[bytes], last: bool) -> None:
        started = time.perf_counter()
        for buffer in buffers:
            self.crc.update(buffer)
            placement.write_all(self._fd, buffer)
            if self._durable:
                self._writeback.wrote(len(buffer))
        if last:
            os.fchmod(self._fd, 0o444)
            if self._durable:
                os.fdatasync(self._fd)
        self.seconds += time.perf_counter() - started


def _as_refusal(error: OSError, source: Source) -> Refused:
    problem = refusal(error, "the volume refused the file")
    if isinstance(problem, NoRoom):
        found = no_room()
        return Refused(found.message, found.status, close=not source.pulled)
    log.error("receiving failed", exc_info=error)
    return Refused(coded("NGAMS_ER_ARCHIVE_PUSH_REQ", str(problem)), 500, close=not source.pulled)
