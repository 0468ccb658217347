"""Changes of the tree, read once by each server for all who follow them there."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from time import monotonic
from typing import Final

from aiohttp import web

from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.errors import ChangesPruned, ServiceUnavailable, TooManyRequests
from pyvospace_ngas.model.change import Change
from pyvospace_ngas.ops import changes

TICK: Final = 0.1  # seconds between looks at the table, while somebody follows
MOST: Final = 1000  # who follow at one server
MOST_EACH: Final = 16  # of them with one name, or from one address without
_RECENT: Final = 4096  # changes that are kept for those who are not quite up to date
_LATER: Final = 60  # seconds after which one may ask again


class Feed:
    """The latest changes, for as long as somebody follows.

    It takes no more memory for a slow reader: who falls behind reads from the database. ``end``
    is where the next changes will be, ``current`` the moment up to which all that was committed
    is known.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: deque[Change] = deque()
        self._first = 0  # all from here on are among the recent ones
        self._begun = False
        self._samples: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._readers: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self.end = 0
        self.current: float | None = None
        self.is_closed = False

    @contextmanager
    def place(self, name: str) -> Iterator[None]:
        """Take a reader in; `TooManyRequests` where there are too many already."""
        if self._readers.total() >= MOST:
            raise ServiceUnavailable("too many follow changes at this server; try again later")
        if self._readers[name] >= MOST_EACH:
            raise TooManyRequests(f"{MOST_EACH} streams of changes are open already", _LATER)
        self._readers[name] += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._readers[name] -= 1
            if not self._readers[name]:
                del self._readers[name]
            if not self._readers:
                self._wanted.clear()

    async def begin(self, since: int | None) -> int:
        """Return where to read from; `ChangesPruned` when ``since`` is too long ago."""
        async with self._database.acquire() as db:
            return await changes.begin(db, since)

    async def read(self, since: int) -> tuple[Sequence[Change], int]:
        """Return changes from ``since`` on, and where the next ones will be."""
        if not self._begun or since < self._first:
            async with self._database.acquire() as db:
                page = await changes.page(db, since)
            return page.changes, page.end
        latest = takewhile(lambda change: change.number >= since, reversed(self._recent))
        return list(latest)[::-1], max(since, self.end)

    async def wait(self, since: int, seconds: float, *, or_current: bool) -> None:
        """Return once there may be changes from ``since`` on, or after so many seconds.

        Also once ``current`` is known, if that is asked for.
        """
        if self.is_closed or (self._begun and since < self.end):
            return
        if or_current and self.current is not None:
            return
        news = self._news
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return

    async def tick(self) -> None:
        """Read what is new; waits while nobody follows."""
        if not self._wanted.is_set():
            self._begun, self.current = False, None
            await self._wanted.wait()
        try:
            while not await self._read():
                pass
        except ChangesPruned:
            self._begun = False  # nobody here is up to date any more, and all are told so

    def close(self) -> None:
        """Let everybody go."""
        self.is_closed = True
        self._tell()

    async def _read(self) -> bool:
        """Read a page; tell whether it was the last one."""
        at = monotonic()
        async with self._database.acquire() as db:
            if not self._begun:
                self._restart(await changes.begin(db, None))
            page = await changes.page(db, self.end)
        self._recent.extend(page.changes)
        while len(self._recent) > _RECENT:
            self._first = self._recent.popleft().number + 1
        self.end = page.end
        self._samples.append((at, page.next))
        was_unknown = self.current is None
        # Whatever was committed before a sample was taken has a number below its ``next``.
        while self._samples and self._samples[0][1] <= self.end:
            self.current = self._samples.popleft()[0]
        if page.changes or (was_unknown and self.current is not None):
            self._tell()
        return page.is_last

    def _restart(self, end: int) -> None:
        self._recent.clear()
        self._samples.clear()
        self._first = self.end = end
        self.current = None
        self._begun = True

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


FEED: Final[web.AppKey[Feed]] = web.AppKey("feed", Feed)
