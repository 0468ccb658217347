"""Reading a file from whichever node has it, and going on at another when one breaks off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pyvospace_ngas.ngas import download
from pyvospace_ngas.ngas.download import Reading
from pyvospace_ngas.ngas.errors import Busy, Malformed, NgasError, NotFound, Refused, Unreachable
from pyvospace_ngas.ngas.placement import Entry, read_order
from pyvospace_ngas.ngas.registry import Registry, Retry

FAILURES: Final = (Unreachable, Malformed)
Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class Copy:
    """Where one copy of a file was put: entry (``host:port``), host, disk and version."""

    entry: str
    host_id: str
    disk_id: str
    file_version: int


class Download:
    """The bytes [``start``, ``end``) of a file. ``entry`` is the node that they come from now."""

    entry: Entry

    def __init__(
        self,
        registry: Registry,
        copies: Sequence[Copy],
        file_id: str,
        start: int,
        end: int,
        rng: random.Random,
        retry: Retry,
    ) -> None:
        self._registry = registry
        self._file_id = file_id
        self._at = start
        self._end = end
        self._reading: Reading | None = None
        self._version = copies[0].file_version if copies else None
        self._versions: dict[Entry, int] = {}
        for copy in copies:
            entry = registry.holder(copy.host_id) or registry.named(copy.entry)
            if entry is not None:
                self._versions.setdefault(entry, copy.file_version)
        self._order = read_order(registry.entries, registry.standings(), list(self._versions), rng)
        self._rest = list(self._order)
        self._resumed = False
        self._retry = retry

    async def open(self) -> None:
        """Find a node that begins to answer, or raise `NotFound` or `Unreachable`."""
        reasons: dict[Entry, NgasError] = {}
        while self._rest:
            entry = self._rest.pop(0)
            try:
                self._reading = await self._open_at(entry)
            except NgasError as error:
                reasons[entry] = error
            else:
                self.entry = self._reading.entry
                return
            if not self._rest and await self._retry_for(reasons):
                self._rest = [one for one in self._order if isinstance(reasons.get(one), Busy)]
        text = f"{self._file_id}: " + "; ".join(map(str, reasons.values()))
        if all(isinstance(one, NotFound) and one.online for one in reasons.values()):
            raise NotFound(text, None, text, online=True)
        raise Unreachable(text)

    @property
    def left(self) -> int:
        """How many of the wanted bytes are still to come."""
        return self._end - self._at

    @property
    def can_pour(self) -> bool:
        """Whether `pour` works here."""
        return self._reading is not None and self._reading.can_pour

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the wanted bytes, in pieces of 256 KiB at most; once. See `read`."""
        while piece := await self.read():
            yield piece

    async def read(self) -> bytes:
        """Return some of the wanted bytes, 256 KiB at most, and none when they are complete.

        When a node breaks off the next one goes on at the same byte, each once; `Unreachable` is
        raised when none is left.
        """
        return await self._next(Reading.read, len) or b""

    async def pour(self, pipe: int) -> int:
        """Put what `read` would return into an empty pipe, and return how much that is."""
        return await self._next(lambda reading: reading.pour(pipe), int) or 0

    async def _next(
        self, take: Callable[[Reading], Awaitable[Taken]], size: Callable[[Taken], int]
    ) -> Taken | None:
        while self._reading is not None:
            try:
                taken = await take(self._reading)
            except Unreachable as error:
                await self._resume(error)
                continue
            if not size(taken):
                self.close()
                return None
            self._at += size(taken)
            return taken
        return None

    def close(self) -> None:
        """Let go of the node."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
            self._registry.release(self._admitted)

    async def _retry_for(self, reasons: Mapping[Entry, NgasError]) -> bool:
        """Whether to ask those nodes again that were busy, after a pause."""
        busy = any(isinstance(reason, Busy) for reason in reasons.values())
        return busy and await self._retry.pause()

    async def _resume(self, error: Unreachable) -> None:
        broken = self._admitted
        self._registry.failed(broken)
        self.close()
        if not self._resumed:
            self._resumed = True
            self._rest = [entry for entry in self._order if entry != broken] + [broken]
        try:
            await self.open()
        except NgasError as last:
            raise Unreachable(f"{error}; {last}") from error

    async def _open_at(self, entry: Entry) -> Reading:
        known = self._registry[entry]
        await self._registry.admit(lambda: [entry])
        reading = None
        try:
            try:
                reading = await self._ask(entry, exact=known.does_ranges)
            except Refused as refusal:
                if not known.does_ranges or isinstance(refusal, NotFound):
                    raise
                known.does_ranges = False  # another server listens here now
                reading = await self._ask(entry, exact=False)
        except FAILURES:
            self._registry.failed(entry)
            raise
        finally:
            if reading is None:
                self._registry.release(entry)
        if reading.entry == entry:
            known.does_ranges = known.does_ranges or reading.shows_ranges
        self._admitted = entry
        return reading

    async def _ask(self, entry: Entry, *, exact: bool) -> Reading:
        return await download.retrieve(
            self._registry.pool,
            entry,
            self._file_id,
            self._versions.get(entry, self._version),
            self._at,
            self._end,
            exact=exact,
            members=self._registry.entries,
        )
