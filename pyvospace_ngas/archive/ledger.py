"""The requests database: what was asked of this node, how far it is, and how it ended.

Where `RequestDbBackend` says so it lies in a table of the index, for the whole cluster to see.
What is answered at once is written there once a second, all of it together, so that a request
costs no transaction of its own; what goes on after its answer (a job) is on record before it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from pyvospace_ngas.archive.parameters import CONTROL
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.settings.serving import RequestBackend
from pyvospace_ngas.archive.steps import Database, DatabaseError, Many, Row, Script, Statement
from pyvospace_ngas.ngas.status import Status

log = logging.getLogger(__name__)

KEPT_FOR: Final = timedelta(hours=24)
MOST: Final = 20_000  # ended requests in memory
WRITING_SECONDS: Final = 1.0
LONGEST_MESSAGE: Final = 1000
COLUMNS: Final = (
    "request_id, command, request_time, update_time, completion_time, expected_count, "
    "actual_count, succeeded, message"
)


@dataclass(slots=True)
class Entry:
    """A request. It changes while the request is under way, and not any more afterwards.

    Most are never asked about: what costs something is made when it is needed.
    """

    command: str = ""
    began: float = field(default_factory=time.time)  # seconds since 1970
    known_as: str = ""
    updated: str = ""
    completed: str = ""
    expected: int | None = None  # files to be dealt with, where a command counts them
    actual: int = 0
    succeeded: bool = True
    message: str = ""
    job: bool = False  # it goes on after its answer

    @property
    def id(self) -> str:
        """What the request is asked about by."""
        self.known_as = self.known_as or str(uuid.uuid4())
        return self.known_as

    @property
    def started(self) -> str:
        """When it came, as answers have it."""
        return stamp(datetime.fromtimestamp(self.began, UTC))

    def on(self, status: Status) -> Status:
        """Return a status that also tells of this request."""
        counted = self.expected is not None
        whole, left = self._times()
        return replace(
            status,
            request_id=self.id,
            request_time=self.started,
            completion_percent=self._percent(),
            expected_count=str(self.expected) if counted else "",
            actual_count=str(self.actual) if counted else "",
            est_total_time=whole,
            remaining_time=left,
            last_request_stat_update=self.updated,
            completion_time=self.completed,
        )

    def _percent(self) -> str:
        if self.completed:
            return "100.00"
        return f"{100 * self.actual / self.expected:.2f}" if self.expected else ""

    def _times(self) -> tuple[str, str]:
        """Return the seconds that it takes as a whole and those left, where that can be told."""
        took = _seconds(self.started, self.completed or self.updated or self.started)
        if self.completed:
            return str(took), "0.0"
        if not self.expected or not self.actual:
            return "", ""
        whole = took * self.expected / self.actual
        return f"{whole:.3f}", f"{max(whole - took, 0.0):.3f}"

    def row(self, host_id: str) -> tuple[object, ...]:
        """Return the values of the table's columns."""
        return (
            *(self.id, host_id, self.command, self.started, self.updated, self.completed),
            *(self.expected, self.actual, int(self.succeeded)),
            CONTROL.sub("?", self.message[:LONGEST_MESSAGE]),
        )


class Ledger:
    """The requests of one node, as its configuration has them kept."""

    def __init__(self, backend: RequestBackend, database: Database, host_id: str) -> None:
        self._backend = backend
        self._database = database
        self._host_id = host_id
        self._going: dict[str, Entry] = {}
        self._ended: dict[str, Entry] = {}  # the oldest first
        self._unwritten: dict[str, Entry] = {}
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Give up jobs of an earlier life of this node: nobody works on them any more."""
        if self._persistent:
            await self._database.run(_interrupt(self._host_id, stamp()))

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        try:
            await self._write()
        except DatabaseError:
            log.exception("%d requests were not recorded", len(self._unwritten))

    def begin(self, command: str) -> Entry:
        """Register a request."""
        entry = Entry(command)
        if self._backend is not RequestBackend.NULL:
            self._going[entry.id] = entry
        return entry

    async def accept(self, entry: Entry) -> None:
        """Make a request a job, and that durable: its client will rely on the answer."""
        entry.job, entry.updated = True, stamp()
        if self._persistent:
            await self._database.run(_write([entry], self._host_id))

    def progress(self, entry: Entry) -> None:
        """Take note that a request got further."""
        entry.updated = stamp()
        if entry.job:
            self._to_be_written(entry)

    def end(self, entry: Entry, *, succeeded: bool | None = None, message: str = "") -> None:
        """Take note of how a request ended; without an outcome it is what the entry says."""
        if entry.completed or (self._backend is RequestBackend.NULL and entry.expected is None):
            return
        entry.updated = entry.completed = stamp()
        entry.message = message or entry.message
        if succeeded is not None:
            entry.succeeded = succeeded
        if self._going.pop(entry.id, None) is None:
            return
        self._to_be_written(entry)
        if self._backend is RequestBackend.MEMORY:
            self._ended[entry.id] = entry
            _trim(self._ended)

    async def find(self, request_id: str) -> Entry | None:
        """Return a request of this node, or one that is on record in the index."""
        for known in (self._going, self._unwritten, self._ended):
            if found := known.get(request_id):
                return found
        if not self._persistent or CONTROL.search(request_id):
            return None
        rows = await self._database.look_up(
            f"select {COLUMNS} from archive_request where request_id = $1",  # noqa: S608
            request_id,
        )
        return _entry(rows[0]) if rows else None

    async def forget(self, now: datetime) -> int:
        """Forget what ended more than a day ago; return how much that was."""
        before = stamp(now - KEPT_FOR)
        old = [key for key, entry in self._ended.items() if entry.completed < before]
        for key in old:
            del self._ended[key]
        if self._persistent:
            return len(old) + await self._database.run(_forget(self._host_id, before))
        return len(old)

    @property
    def _persistent(self) -> bool:
        return self._backend is RequestBackend.PERSISTENT

    def _to_be_written(self, entry: Entry) -> None:
        if not self._persistent:
            return
        self._unwritten[entry.id] = entry
        _trim(self._unwritten)  # the index is away for long: the latest matter most
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_later(), name="requests")

    async def _write_later(self) -> None:
        while self._unwritten:
            await asyncio.sleep(WRITING_SECONDS)
            try:
                await self._write()
            except DatabaseError as error:
                log.warning("%d requests are recorded later: %s", len(self._unwritten), error)

    async def _write(self) -> None:
        batch = list(self._unwritten.values())
        if not batch:
            return
        rows = {entry.id: replace(entry) for entry in batch}
        await self._database.run(_write(list(rows.values()), self._host_id))
        for key, written in rows.items():
            if self._unwritten.get(key) == written:  # nothing happened to it meanwhile
                del self._unwritten[key]


def _trim(entries: dict[str, Entry]) -> None:
    """Drop the oldest, but not what a client was told to ask for."""
    while len(entries) > MOST:
        first = next(iter(entries))
        del entries[next((key for key, each in entries.items() if not each.job), first)]


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _entry(row: Row) -> Entry:
    return Entry(
        known_as=row[0],
        command=row[1],
        began=datetime.fromisoformat(row[2]).replace(tzinfo=UTC).timestamp(),
        updated=row[3],
        completed=row[4],
        expected=None if row[5] is None else int(row[5]),
        actual=int(row[6]),
        succeeded=bool(row[7]),
        message=row[8],
    )


def _write(entries: list[Entry], host_id: str) -> Script[None]:
    yield Many(
        "insert into archive_request (request_id, host_id, command, request_time, update_time, "
        "completion_time, expected_count, actual_count, succeeded, message) "
        "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (request_id) do update set "
        "update_time = excluded.update_time, completion_time = excluded.completion_time, "
        "expected_count = excluded.expected_count, actual_count = excluded.actual_count, "
        "succeeded = excluded.succeeded, message = excluded.message",
        [entry.row(host_id) for entry in entries],
    )


def _interrupt(host_id: str, now: str) -> Script[None]:
    yield Statement(
        "update archive_request set completion_time = $2, update_time = $2, succeeded = 0, "
        "message = 'The node ended before the request did; ask again for what is missing.' "
        "where host_id = $1 and completion_time = ''",
        (host_id, now),
    )


def _forget(host_id: str, before: str) -> Script[int]:
    gone = yield Statement(
        "delete from archive_request where host_id = $1 and completion_time > '' "
        "and completion_time < $2 returning request_id",
        (host_id, before),
    )
    return len(gone)
