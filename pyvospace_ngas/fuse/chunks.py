"""Bytes that were read: in memory, by version, fetched ahead of those who read in order."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final
from weakref import WeakSet

from pyvospace_ngas.client.downloads import Reader
from pyvospace_ngas.client.wire import Span
from pyvospace_ngas.fuse.remote import Remote

BLOCK: Final = 1 << 20
_SURE: Final = 2  # blocks at once, after which it is no header that somebody reads
_LONGEST: Final = 32  # blocks that are asked for at once
_AHEAD: Final = 2 * _LONGEST  # blocks that may be on their way ahead of a reader
_SMALL: Final = 128 << 10  # what is fetched at a place that nobody comes to in order
_PASSED: Final = 8  # blocks that were read to their end in order
_SPARE: Final = 48  # blocks that are kept for what comes next

Fetch = Callable[[Span, str], None]  # with the entity tag that the file must have
Key = tuple[str, int, int]  # the version's MD5, and from where on how many bytes


class Block:
    """Memory for bytes of a file, which its last user gives back: new memory is dear."""

    __slots__ = ("_spare", "data")

    def __init__(self, size: int, spare: deque[bytearray]) -> None:
        self._spare = spare
        try:
            self.data = spare.pop() if size == BLOCK else bytearray(size)
        except IndexError:
            self.data = bytearray(size)

    def __del__(self) -> None:
        if len(self.data) == BLOCK:
            self._spare.append(self.data)

    def copy(self, start: int, into: memoryview) -> int:
        """Copy bytes from ``start`` on, as many as there are; return how many."""
        count = min(len(into), len(self.data) - start)
        into[:count] = memoryview(self.data)[start : start + count]
        return count


class Chunks:
    """Spans of files, up to so many bytes. They are keyed by version: two never mix."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Block] = OrderedDict()
        self._passed: deque[Key] = deque()
        self._spare: deque[bytearray] = deque(maxlen=_SPARE)
        self._readers: WeakSet[Content] = WeakSet()  # who have bytes fetched ahead
        self.size = 0

    def new(self, size: int) -> Block:
        """Return memory, with anything in it."""
        return Block(size, self._spare)

    def get(self, key: Key) -> Block | None:
        with self._lock:
            block = self._held.get(key)
            if block is not None:
                self._held.move_to_end(key)
            return block

    def put(self, key: Key, block: Block) -> None:
        gone = []  # what becomes of them is no matter for the lock
        with self._lock:
            if key in self._held:
                return
            self._held[key] = block
            self.size += len(block.data)
            while self.size > self._limit and len(self._held) > 1:
                _, last = self._held.popitem(last=False)
                self.size -= len(last.data)
                gone.append(last)

    def passed(self, key: Key) -> None:
        """Take in that one who reads in order has come to the end of a block.

        It is in the kernel's pages now; of such blocks only the last few are kept here as well.
        """
        gone = None
        with self._lock:
            if key in self._held and key not in self._passed:
                self._passed.append(key)
            if len(self._passed) > _PASSED:
                gone = self._held.pop(self._passed.popleft(), None)
                self.size -= len(gone.data) if gone is not None else 0

    def share(self, reader: "Content") -> int:
        """Return how many blocks ``reader`` may ask for at once, of all who read in order.

        As many again wait here until he comes to them. Those of all readers are half of what is
        kept, at most: nobody's are to go before he has come to them, and be fetched again.
        """
        with self._lock:
            self._readers.add(reader)
            return max(1, min(_LONGEST, self._limit // BLOCK // (4 * len(self._readers))))

    def leave(self, reader: "Content") -> None:
        """Take in that ``reader`` asks for no more."""
        with self._lock:
            self._readers.discard(reader)


class Content:
    """The bytes of one version of a file. A request that is under way is made once."""

    def __init__(
        self,
        remote: Remote,
        chunks: Chunks,
        reader: Reader,
        md5: str,
        size: int,
        fetch: Fetch | None = None,
    ) -> None:
        """Begin; ``fetch`` is for who reads a file of one block, and better waits by himself."""
        self._fetch_here = fetch if size <= BLOCK else None
        self._remote = remote
        self._chunks = chunks
        self._reader = reader
        self._md5 = md5
        self.size = size
        self._lock = threading.Lock()
        self._coming: dict[int, Future[Block]] = {}
        self._next = 0  # where one who reads in order comes next
        self._window = 0  # blocks of the last request in order
        self._fetched = 0  # blocks up to here were asked for

    def read(self, offset: int, into: memoryview) -> int:
        """Read bytes; `PreconditionFailed` once the server has another version."""
        end = min(offset + len(into), self.size)
        if offset >= end:
            return 0
        in_order = offset == 0 or abs(offset - self._next) <= 4 * BLOCK
        if not in_order and not self._has(offset // BLOCK):
            self._next = end
            return self._apart(offset, into[: end - offset])
        self._next = max(end, self._next) if in_order else end
        done = 0
        while offset + done < end:
            number, start = divmod(offset + done, BLOCK)
            done += self._block(number).copy(start, into[done : end - offset])
            if in_order and (offset + done) % BLOCK == 0:
                self._chunks.passed(self._key(number))
        return done

    def _key(self, block: int) -> Key:
        return self._md5, block * BLOCK, BLOCK

    def _has(self, block: int) -> bool:
        return block in self._coming or self._chunks.get(self._key(block)) is not None

    def _block(self, block: int) -> Block:
        if self._fetch_here is not None:
            return self._only(self._fetch_here)
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

    def _only(self, fetch: Fetch) -> Block:
        """Return the only block, fetched by the first who wants it."""
        key, mine = self._key(0), None
        with self._lock:
            data = self._chunks.get(key)
            if data is not None:
                return data
            coming = self._coming.get(0)
            if coming is None:
                coming = mine = self._coming[0] = Future()
        if mine is None:
            return coming.result()
        try:
            data = self._chunks.new(self.size)
            fetch(Span(0, [memoryview(data.data)], lambda _: None), f'"{self._md5}"')
        except BaseException as error:
            self._give_up([mine], 0, error if isinstance(error, Exception) else None)
            raise
        self._arrived(0, data, mine)
        return data

    def _arrived(self, block: int, data: Block, coming: "Future[Block]") -> None:
        self._chunks.put(self._key(block), data)
        with self._lock:
            self._coming.pop(block, None)
        coming.set_result(data)

    def _ahead(self, block: int) -> None:
        """Ask for what comes after ``block``, more each time, unless enough is on its way."""
        last = (self.size - 1) // BLOCK
        with self._lock:
            if not block <= self._fetched <= block + _AHEAD:
                self._fetched, self._window = block, 0
            while self._fetched <= min(last, block + self._window):
                longer = self._window * (2 if self._window < _SURE else 4)
                self._window = min(self._chunks.share(self), max(1, longer))
                count = min(self._window, last - self._fetched + 1)
                self._request(self._fetched, count)
                self._fetched += count
        if block == last:
            self._chunks.leave(self)

    def _request(self, first: int, count: int) -> None:
        """Begin to fetch blocks that are not there; the lock is held."""
        wanted = [n for n in range(first, first + count) if not self._has(n)]
        if not wanted:
            return
        first, count = wanted[0], wanted[-1] - wanted[0] + 1
        futures: list[Future[Block]] = [Future() for _ in range(count)]
        for number, future in enumerate(futures, first):
            self._coming[number] = future
        self._remote.spawn(self._fetch(first, futures))

    async def _fetch(self, first: int, futures: list[Future[Block]]) -> None:
        sizes = [
            min(BLOCK, self.size - each * BLOCK) for each in range(first, first + len(futures))
        ]
        blocks = [self._chunks.new(size) for size in sizes]

        def arrived(number: int) -> None:
            self._arrived(first + number, blocks[number], futures[number])

        span = Span(first * BLOCK, [memoryview(block.data) for block in blocks], arrived)
        failure: Exception | None = None
        try:
            await self._fill(span)
        except Exception as error:  # noqa: BLE001  told to everybody who waits
            failure = error
        finally:
            self._give_up(futures[span.done :], first + span.done, failure)

    def _give_up(
        self, futures: Sequence[Future[Block]], first: int, failure: Exception | None
    ) -> None:
        """Tell who waits for blocks that do not come; without a ``failure`` the mount ends."""
        for number, future in enumerate(futures, first):
            with self._lock:
                self._coming.pop(number, None)
            if failure is None:
                future.cancel()
            else:
                future.set_exception(failure)

    def _apart(self, offset: int, into: memoryview) -> int:
        """Read bytes from somewhere, with a few around them."""
        start = offset // _SMALL * _SMALL
        stop = min(self.size, -(-(offset + len(into)) // _SMALL) * _SMALL)
        key = (self._md5, start, stop - start)
        block = self._chunks.get(key)
        if block is None:
            block = self._chunks.new(stop - start)
            # Who still fills the memory keeps the block by this, however the reader ends.
            span = Span(start, [memoryview(block.data)], lambda _: self._chunks.put(key, block))
            self._remote.spawn(self._fill(span)).result()
        return block.copy(offset - start, into)

    async def _fill(self, span: Span) -> None:
        await self._remote.patiently(
            lambda: self._reader.fill(span, f'"{self._md5}"'), progress=lambda: span.done
        )
