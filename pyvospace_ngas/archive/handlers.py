"""A site's own handlers of archiving events, called one after the other, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from pyvospace_ngas.archive import plugins
from pyvospace_ngas.archive.events import Events
from pyvospace_ngas.archive.interfaces import ArchiveHandler, FileFacts

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 30.0  # for events that wait when the node ends
MANY: Final = 10_000  # events that wait: their handlers do not keep up


class Handlers:
    """Takes every event until it is closed, also those that come while the node goes offline."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._handlers: Sequence[ArchiveHandler] = ()
        self._waiting: deque[FileFacts] = deque()
        self._called = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def serve(self, handlers: Sequence[ArchiveHandler]) -> None:
        """Call these from now on."""
        self._handlers = handlers
        if handlers and self._task is None:
            self._events.listen(self._take)
            self._task = asyncio.create_task(self._work(), name="event-handlers")

    async def close(self) -> None:
        """Let what waits be handled, for some time; say what was not."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            names = ", ".join(file.file_id for file in self._waiting)
            log.error("%d archiving events were not handled: %s", len(self._waiting), names)  # noqa: TRY400 - the time-out's traceback says nothing
        self._task.cancel()
        await asyncio.wait([self._task])

    def _take(self, file: FileFacts) -> None:
        self._waiting.append(file)
        self._idle.clear()
        if len(self._waiting) == MANY:
            log.warning("%d archiving events wait for their handlers", MANY)
        self._called.set()

    async def _work(self) -> None:
        while True:
            while self._waiting:
                await self._handle(self._waiting[0])
                self._waiting.popleft()
            self._idle.set()
            self._called.clear()
            await self._called.wait()

    async def _handle(self, file: FileFacts) -> None:
        for handler in self._handlers:
            try:
                await plugins.call(handler.handle_event, file)
            except Exception:  # a site's own code; the others want to know as well
                log.exception("%s did not handle %s", type(handler).__name__, file.file_id)
