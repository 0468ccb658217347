"""What is known of each node of a federation, kept fresh by asking, and its requests in flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.ngas import client
from pyvospace_ngas.ngas.errors import Busy, NgasError, Unreachable
from pyvospace_ngas.ngas.placement import CAP, Entry, Room, Standing, backoff, below_cap, distinct
from pyvospace_ngas.ngas.wire import Pool

log = logging.getLogger(__name__)

RELUCTANCE: Final = 60.0  # seconds in which a node that refused a write goes after the others
INTRODUCTION: Final = 2.0  # seconds that a request waits for the host ids of nodes
WILLINGNESS: Final = 60.0  # seconds for which an answer about discarding counts


@dataclass(slots=True)
class Known:
    """One node. ``next_probe`` is a time of the clock; the beginning of time means: at once."""

    healthy: bool | None = None
    failures: int = 0
    next_probe: float = float("-inf")
    host_id: str | None = None
    room: Room | None = None
    in_flight: int = 0
    reluctant_until: float = float("-inf")
    does_ranges: bool = False
    discards: bool | None = None
    discards_until: float = float("-inf")


class Retry:
    """Pauses that grow, until a time is over."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._deadline = clock() + seconds
        self._clock = clock
        self._pause = 0.1

    async def pause(self) -> bool:
        """Wait a little; return False at once when the time is over."""
        if self._clock() >= self._deadline:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, 2.0)
        return True


class Registry:
    """The nodes of a federation."""

    def __init__(
        self,
        entries: Iterable[Entry],
        pool: Pool,
        *,
        cap: int = CAP,
        probe_interval: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entries = distinct(entries)
        if not self.entries:
            raise ValueError("a federation needs a node")
        self.pool = pool
        self._cap = cap
        self._interval = probe_interval
        self._clock = clock
        self._known = {entry: Known(host_id=entry.host_id) for entry in self.entries}
        self._freed = asyncio.Event()
        self._stirred = asyncio.Event()

    def __getitem__(self, entry: Entry) -> Known:
        return self._known[entry]

    def standings(self) -> dict[Entry, Standing]:
        """Return how all nodes stand at this moment."""
        now = self._clock()
        return {
            entry: Standing(
                known.healthy, known.in_flight, known.room, reluctant=now < known.reluctant_until
            )
            for entry, known in self._known.items()
        }

    def holder(self, host_id: str) -> Entry | None:
        """Return the node that goes by ``host_id``, a healthy one where two entries lead to it."""
        found = [entry for entry in self.entries if self._known[entry].host_id == host_id]
        found.sort(key=lambda entry: self._known[entry].healthy is False)
        return found[0] if host_id and found else None

    def named(self, address: str) -> Entry | None:
        """Return the entry that is recorded as ``host:port``."""
        return next((entry for entry in self.entries if entry.address == address), None)

    def worked(self, entry: Entry) -> None:
        """A node did what it was asked for."""
        known = self._known[entry]
        known.healthy, known.failures = True, 0

    def failed(self, entry: Entry) -> None:
        """A node failed: it goes last, and is probed again after a while that grows."""
        known = self._known[entry]
        known.healthy, known.failures = False, known.failures + 1
        known.next_probe = self._clock() + backoff(known.failures)
        self._stirred.set()

    def refused_write(self, entry: Entry) -> None:
        """A node is up but does not take files now."""
        self._known[entry].reluctant_until = self._clock() + RELUCTANCE

    async def admit(self, order: Callable[[], list[Entry]]) -> Entry | None:
        """Wait until one of the nodes that ``order`` returns has a request to spare, and count it.

        None when ``order`` returns no node; `Busy` when all stayed full. Give it back by
        `release`.
        """
        try:
            async with asyncio.timeout(self.pool.patience.admission):
                while candidates := order():
                    entry = below_cap(candidates, self.standings(), self._cap)
                    if entry is not None:
                        self._known[entry].in_flight += 1
                        return entry
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise Busy("every node has as many requests as it may have at once") from None
        return None

    def release(self, entry: Entry) -> None:
        """Give a request back that `admit` counted."""
        self._known[entry].in_flight -= 1
        self._freed.set()

    async def probe(self, entry: Entry) -> bool:
        """Ask a node how it is and how much room it has; return whether it is up."""
        known = self._known[entry]
        try:
            said = await client.status(self.pool, entry)
            if entry.host_id is None:
                known.host_id = said.host_id
            if said.state != "ONLINE":
                raise Unreachable(f"{entry.address} is {said.state}")
            known.room = await client.room(self.pool, entry, said.host_id)
        except NgasError as error:
            if known.healthy is not False:
                log.warning("NGAS node %s does not serve: %s", entry.address, error)
            self.failed(entry)
            return False
        if known.healthy is False:
            log.info("NGAS node %s serves again", entry.address)
        self.worked(entry)
        known.next_probe = self._clock() + self._interval
        return True

    async def introduce(self) -> None:
        """Ask those nodes for their host id that never gave it and are not known to be down."""
        unknown = [
            entry for entry, known in self._known.items() if not known.host_id and self._due(known)
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(INTRODUCTION):
                await self._probe(unknown)

    async def probe_all(self) -> bool:
        """Ask every node how it is; return whether any is up."""
        return any(await self._probe(self.entries))

    async def may_discard(self) -> dict[Entry, bool | None]:
        """Return which nodes remove files; None for those that did not say. Cached."""
        return dict(
            zip(
                self.entries, await asyncio.gather(*map(self._discards, self.entries)), strict=True
            )
        )

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Probe in the background for as long as the context lasts."""
        task = asyncio.create_task(self._watch(), name="watch NGAS nodes")
        task.add_done_callback(_die_loudly)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            self._stirred.clear()
            await self._probe(entry for entry, known in self._known.items() if self._due(known))
            soonest = min(known.next_probe for known in self._known.values())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, soonest - self._clock())):
                    await self._stirred.wait()

    async def _probe(self, entries: Iterable[Entry]) -> list[bool]:
        return await asyncio.gather(*[self.probe(entry) for entry in entries])

    def _due(self, known: Known) -> bool:
        return known.next_probe <= self._clock()

    async def _discards(self, entry: Entry) -> bool | None:
        known = self._known[entry]
        if self._clock() >= known.discards_until:
            known.discards = await client.may_discard(self.pool, entry)
            if known.discards is not None:
                known.discards_until = self._clock() + WILLINGNESS
        return known.discards


def _die_loudly(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("nobody watches the NGAS nodes any more", exc_info=error)
