"""What goes on after its answer: STATUS?request_id= tells how far it is and how it ended."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine
from typing import Any, Final

from pyvospace_ngas.archive.ledger import Entry, Ledger
from pyvospace_ngas.archive.refusals import Refused

log = logging.getLogger(__name__)

CUT_SHORT: Final = "The node went offline before the request ended; ask again for what is missing."


class Jobs:
    """Runs jobs until they are done or the node goes offline, and has each one's end recorded."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, entry: Entry, work: Coroutine[Any, Any, None]) -> None:
        """Begin a job that the ledger has accepted; it fails by what it raises."""
        task = asyncio.create_task(work, name=f"{entry.command} {entry.id}")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._record, entry))

    async def stop(self) -> None:
        """Cancel them all and wait until they are gone."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _record(self, entry: Entry, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._ledger.end(entry, succeeded=False, message=CUT_SHORT)
            return
        match task.exception():
            case None:
                self._ledger.end(entry)
            case Refused() as refusal:
                self._ledger.end(entry, succeeded=False, message=refusal.message)
            case error:
                log.error("%s failed", entry.command, exc_info=error)
                self._ledger.end(entry, succeeded=False, message="The node failed to do it.")
