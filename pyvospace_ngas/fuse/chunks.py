"""Bytes that were read: in memory, by version, fetched ahead of those who read in order."""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final

from pyvospace_ngas.client.downloads import Reader
from pyvospace_ngas.errors import TransferFailed
from pyvospace_ngas.fuse.remote import Remote

BLOCK: Final = 1 << 20
_LONGEST: Final = 8  # blocks that are asked for at once
_AHEAD: Final = 16  # blocks that may be on their way ahead of a reader
_SMALL: Final = 128 << 10  # what is fetched at a place that nobody comes to in order

Key = tuple[str, int, int]  # the version's MD5, and from where on how many bytes


class Chunks:
    """Spans of files, up to so many bytes. They are keyed by version: two never mix."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, bytes] = OrderedDict()
        self.size = 0

    def get(self, key: Key) -> bytes | None:
        with self._lock:
            data = self._held.get(key)
            if data is not None:
                self._held.move_to_end(key)
            return data

    def put(self, key: Key, data: bytes) -> None:
        with self._lock:
            if key in self._held:
                return
            self._held[key] = data
            self.size += len(data)
            while self.size > self._limit and len(self._held) > 1:
                _, gone = self._held.popitem(last=False)
                self.size -= len(gone)


class Content:
    """The bytes of one version of a file. A request that is under way is made once."""

    def __init__(
        self, remote: Remote, chunks: Chunks, reader: Reader, md5: str, size: int
    ) -> None:
        self._remote = remote
        self._chunks = chunks
        self._reader = reader
        self._md5 = md5
        self.size = size
        self._lock = threading.Lock()
        self._coming: dict[int, Future[bytes]] = {}
        self._next = 0  # where one who reads in order comes next
        self._window = 0  # blocks of the last request in order
        self._fetched = 0  # blocks up to here were asked for

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes; `PreconditionFailed` once the server has another version."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        in_order = offset == 0 or abs(offset - self._next) <= 4 * BLOCK
        if not in_order and not self._has(offset // BLOCK):
            self._next = end
            return self._apart(offset, end)
        self._next = max(end, self._next) if in_order else end
        parts = []
        for block in range(offset // BLOCK, (end - 1) // BLOCK + 1):
            data = self._block(block)
            start = block * BLOCK
            parts.append(data[max(0, offset - start) : end - start])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _key(self, block: int) -> Key:
        return self._md5, block * BLOCK, BLOCK

    def _has(self, block: int) -> bool:
        return block in self._coming or self._chunks.get(self._key(block)) is not None

    def _block(self, block: int) -> bytes:
        self._ahead(block)
        with self._lock:
            coming = self._coming.get(block)
            if coming is None:
                data = self._chunks.get(self._key(block))
                if data is not None:
                    return data
                self._request(block, 1)
                coming = self._coming[block]
        return coming.result()

    def _ahead(self, block: int) -> None:
        """Ask for what comes after ``block``, more each time, unless enough is on its way."""
        last = (self.size - 1) // BLOCK
        with self._lock:
            if not block <= self._fetched <= block + _AHEAD:
                self._fetched, self._window = block, 0
            while self._fetched <= min(last, block + self._window):
                self._window = min(_LONGEST, max(1, self._window * 2))
                count = min(self._window, last - self._fetched + 1)
                self._request(self._fetched, count)
                self._fetched += count

    def _request(self, first: int, count: int) -> None:
        """Begin to fetch blocks that are not there; the lock is held."""
        wanted = [n for n in range(first, first + count) if not self._has(n)]
        if not wanted:
            return
        first, count = wanted[0], wanted[-1] - wanted[0] + 1
        futures: list[Future[bytes]] = [Future() for _ in range(count)]
        for number, future in enumerate(futures, first):
            self._coming[number] = future
        self._remote.spawn(self._fetch(first, futures))

    async def _fetch(self, first: int, futures: list[Future[bytes]]) -> None:
        start = first * BLOCK
        try:
            data = await self._span(start, min(len(futures) * BLOCK, self.size - start))
        except Exception as error:  # noqa: BLE001  told to everybody who waits
            failure: Exception | None = error
            data = b""
        else:
            failure = None
        view = memoryview(data)
        for number, future in enumerate(futures):
            piece = bytes(view[number * BLOCK : (number + 1) * BLOCK])
            if failure is None:
                self._chunks.put(self._key(first + number), piece)
            with self._lock:
                self._coming.pop(first + number, None)
            if failure is None:
                future.set_result(piece)
            else:
                future.set_exception(failure)

    def _apart(self, offset: int, end: int) -> bytes:
        """Return bytes from somewhere, with a few around them."""
        start = offset // _SMALL * _SMALL
        stop = min(self.size, -(-end // _SMALL) * _SMALL)
        key = (self._md5, start, stop - start)
        data = self._chunks.get(key)
        if data is None:
            data = self._remote.spawn(self._span(start, stop - start)).result()
            self._chunks.put(key, data)
        return data[offset - start : end - start]

    async def _span(self, start: int, length: int) -> bytes:
        async def ask() -> bytes:
            return await self._reader.read(start, length, f'"{self._md5}"')

        data = await self._remote.patiently(ask)
        if len(data) != length:
            raise TransferFailed(f"{len(data)} of {length} bytes came")
        return data
