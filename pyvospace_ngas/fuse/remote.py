"""The servers, for threads: how long to wait for an answer, and who does the waiting.

What is small is asked for by the thread that wants it; what is large, or goes on by itself, is the
business of an event loop in a thread of its own.
"""

import asyncio
import logging
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pyvospace_ngas.client import changes, direct, transfers, uploads
from pyvospace_ngas.client.blocking import BlockingConnection, done
from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.client.discovery import Service, discover
from pyvospace_ngas.client.downloads import Reader
from pyvospace_ngas.client.uploads import Stored
from pyvospace_ngas.client.wire import Span
from pyvospace_ngas.errors import (
    ArchiveUnreachable,
    NodeNotFound,
    ServiceUnavailable,
    VOSpaceError,
)
from pyvospace_ngas.fuse.entries import Entry, Words, entry, words
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.model.content import Step
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath

log = logging.getLogger(__name__)

T = TypeVar("T")
_AWAY: Final = (ServiceUnavailable, ArchiveUnreachable, TimeoutError)
_HASTE: Final = 1.0  # seconds for an operation while the server is known to be away
_PAUSE: Final = 0.25
_SLOWEST: Final = 1 << 20  # bytes a second at which an upload still is no failure


class Remote:
    """Requests of one mount. Its methods block, and are for any thread but the loop's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        who = (settings.url, settings.user, settings.password)
        self._connection = Connection(*who, timeout=settings.patience, pause=0.1)
        # What is small is asked for by the thread that wants it.
        self._blocking = BlockingConnection(*who, timeout=settings.patience, pause=0.1)
        self._service: Service | None = None
        self._away_since: float | None = None
        self._turning = threading.Lock()  # for whoever finds the server away, or back
        self._probing: Future[None] | None = None

    def start(self) -> None:
        """Begin; not before the process has forked for the last time."""
        self._thread.start()

        async def open_() -> Service:
            self._connection.open(None)
            return await discover(self._connection, None)

        self._service = self.spawn(self.patiently(open_)).result()
        self._loop.call_soon_threadsafe(self._watch)

    def _watch(self) -> None:
        self._blocking.cut_overdue()
        self._loop.call_later(_PAUSE, self._watch)

    def abandon(self) -> None:
        """Give up what is under way; who waits for it is told so."""

        async def cancel() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._blocking.abandon()
        self.spawn(cancel()).result(5)

    def stop(self) -> None:
        """End the loop and its thread, and what still goes on there."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=5)
        await self._connection.close()
        await self._blocking.close()

    @property
    def service(self) -> Service:
        if self._service is None:
            raise ServiceUnavailable("the mount has not begun")
        return self._service

    @property
    def words(self) -> Words:
        return words(self.service.space)

    @property
    def requests(self) -> int:
        """Return how many requests were sent."""
        return self._connection.requests + self._blocking.requests

    @property
    def is_away(self) -> bool:
        return self._away_since is not None

    def spawn(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin ``work`` on the loop; who asked for it waits, or does not."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(
        self,
        work: Callable[[Connection], Coroutine[Any, Any, T]],
        *,
        again: bool = True,
        more: float = 0.0,
    ) -> T:
        """Return what ``work`` does, done again while the server is away, until patience ends.

        What may not be done ``again`` is so only if it cannot have happened. Once the server is
        known to be away nobody waits long: a shell must not hang for each name that it looks at.
        ``more`` seconds are given to large work. The calling thread does it by itself.
        """
        connection = self._blocking
        return done(self._patiently(lambda: work(connection), connection, again=again, more=more))

    def large(self, work: Callable[[Callable[[int], None]], Awaitable[T]], more: float) -> T:
        """`call`, for what the loop does better: send while it reads, and wait for both.

        The time for it begins anew with each step that it reports: a slow link is no server that
        is away.
        """
        limit = _Limit()
        begin = partial(work, limit.step)
        return self.spawn(
            self._patiently(begin, self._connection, more=more, limit=limit.within)
        ).result()

    async def patiently(
        self, work: Callable[[], Awaitable[T]], *, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """`call`, for the loop's own thread.

        Patience begins anew with each ``progress`` of work that goes on from there: a slow link is
        no server that is away.
        """
        return await self._patiently(work, self._connection, progress=progress)

    async def _patiently(
        self,
        work: Callable[[], Awaitable[T]],
        connection: Connection,
        *,
        again: bool = True,
        more: float = 0.0,
        progress: Callable[[], int] = lambda: 0,
        limit: Callable[[float], AbstractAsyncContextManager[None]] | None = None,
    ) -> T:
        patience = _HASTE if self.is_away else self._settings.patience
        until, seen = time.monotonic() + patience, progress()
        within = limit or connection.within
        while True:
            try:
                async with within(patience + more):
                    found = await work()
            except _AWAY as error:
                if progress() != seen:
                    until, seen = time.monotonic() + patience, progress()
                    continue
                happened = isinstance(error, TimeoutError) or direct.may_have_happened(error)
                if (happened and not again) or time.monotonic() + _PAUSE > until:
                    self._went_away(error)
                    raise
            else:
                self._came_back()
                return found
            await connection.sleep(_PAUSE)

    def _went_away(self, error: Exception) -> None:
        with self._turning:
            if self._away_since is not None:
                return
            log.warning("the server is away: %s", error)
            self._away_since = time.monotonic()
        self._probing = self.spawn(self._probe())

    async def _probe(self) -> None:
        """Ask until the server answers: then everybody may wait for it again."""
        while self.is_away:
            await asyncio.sleep(_PAUSE)
            try:
                async with asyncio.timeout(self._settings.patience):
                    await direct.get(self._connection, self.service, self._settings.root)
            except _AWAY:
                continue
            except VOSpaceError:
                log.debug("the server refuses, but it is there")
            self._came_back()

    def _came_back(self) -> None:
        if self._away_since is None:
            return
        with self._turning:
            since, self._away_since = self._away_since, None
        if since is not None:
            log.warning("the server is back after %.0f seconds", time.monotonic() - since)

    def node(self, path: NodePath, known: Entry | None = None, *, endpoint: bool = False) -> Entry:
        """Return a node as it is now: ``known``, if it still is that.

        With the ``endpoint`` of its bytes, if that is asked for and the server tells.
        """
        etag = known.etag if known is not None else None
        asked = time.monotonic()
        seen = self.call(
            lambda line: direct.get(line, self.service, path, etag, endpoint=endpoint)
        )
        if isinstance(seen, direct.Seen):
            return entry(seen.node, self.words, seen.etag, asked)._replace(place=seen.place)
        assert known is not None  # noqa: S101  asked for with its tag
        return known if seen.place is None else known._replace(place=seen.place)

    def listing(self, path: NodePath) -> dict[str, Entry]:
        """Return all children of a container, in one request."""

        asked = time.monotonic()
        answer = self.call(lambda line: direct.listing(line, self.service, path))
        own, children = self.words, direct.document(answer).children
        return {child.path.name: entry(child, own, None, asked) for child in children}

    def create(
        self,
        path: NodePath,
        type_: NodeType,
        properties: Mapping[str, str],
        target: str | None = None,
    ) -> Entry:
        """Make a node that must not exist."""

        asked = time.monotonic()
        seen = self.call(
            lambda line: direct.create(line, self.service, path, type_, properties, target),
            again=False,
        )
        return entry(seen.node, self.words, seen.etag, asked)

    def create_file(
        self, path: NodePath, properties: Mapping[str, str]
    ) -> tuple[Entry, str | None]:
        """Make a data node that must not exist; also tell where its bytes go, if known."""

        asked = time.monotonic()
        kind, service = NodeType.UNSTRUCTURED, self.service
        seen = self.call(
            lambda line: direct.create(line, service, path, kind, properties, endpoint=True),
            again=False,
        )
        return entry(seen.node, self.words, seen.etag, asked), seen.place

    def change(self, path: NodePath, properties: Mapping[str, str | None]) -> Entry:
        """Set and take away properties."""
        asked = time.monotonic()
        seen = self.call(lambda line: direct.change(line, self.service, path, properties))
        return entry(seen.node, self.words, seen.etag, asked)

    def delete(self, path: NodePath, *, empty: bool = False) -> None:
        """Delete a node; a container only if nothing is in it."""
        self.call(lambda line: direct.delete(line, self.service, path, empty=empty), again=False)

    def move(self, source: NodePath, destination: NodePath, *, over: bool = True) -> Step | None:
        """Move a node, atomically and ``over`` a file that is there, or not at all.

        Return what that made of the node, where the server tells.
        """
        space = self.service.space

        names = space.uri(source), space.uri(destination)
        return self.call(
            lambda line: transfers.move_over(line, self.service, *names, over=over), again=False
        )

    def changes(self) -> AsyncGenerator[changes.Event, None]:
        """Return what others change below the mount's container; for the loop's own thread."""
        return changes.follow(self._connection, self.service, self._settings.root)

    def reader(self, path: NodePath, place: str | None = None) -> Reader:
        """Return a reader of ranges; its own methods are for the loop."""
        return direct.reader(self._connection, self.service, path, place)

    def fetch(self, path: NodePath, place: str | None, span: Span, match: str) -> None:
        """Fill a short ``span``, as a reader does; the calling thread does it by itself."""
        self.call(lambda line: direct.reader(line, self.service, path, place).fill(span, match))

    def push(
        self,
        path: NodePath,
        file: Path,
        size: int,
        replaced: str | None,
        endpoint: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Stored:
        """Store a file's bytes, with ``properties`` (see `uploads.push`); return what was taken.

        ``replaced`` is the MD5 of the bytes that may be replaced: `PreconditionFailed` for others.
        An ``endpoint`` that is known saves asking for one, while it is good.
        """
        uri = self.service.space.uri(path)
        match = None if replaced is None else f'"{replaced}"'
        known = [] if endpoint is None else [endpoint]

        async def send(
            line: Connection,
            source: uploads.Source,
            report: Callable[[int], None] | None = None,
        ) -> Stored:
            async def offer() -> list[str]:
                if known:
                    return [known.pop()]
                return await transfers.offered_put(line, self.service, uri)

            was_known = bool(known)
            try:
                return await uploads.push(line, offer, source, match, report, properties)
            except NodeNotFound:
                if not was_known:
                    raise
            # The node of the endpoint is gone; what has its name now is another one, or is made.
            return await uploads.push(line, offer, source, match, report, properties)

        async def send_large(report: Callable[[int], None]) -> Stored:
            async with uploads.opened(file, None) as source:
                return await send(self._connection, source, report)

        if size > uploads.HELD:
            return self.large(send_large, size / _SLOWEST)
        source = uploads.held(file.read_bytes())
        return self.call(lambda line: send(line, source), more=size / _SLOWEST)


class _Limit:
    """Time for work on the loop, which begins anew with each of its steps."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None
        self._seconds = 0.0

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` in what takes longer for one step."""
        self._seconds = seconds
        async with asyncio.timeout(seconds) as self._timeout:
            yield

    def step(self, _size: int) -> None:
        """Begin anew."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)


def away(error: BaseException) -> bool:
    """Tell whether ``error`` says that a server is not there, and nothing about the file."""
    return isinstance(error, _AWAY)
