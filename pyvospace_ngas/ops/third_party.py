"""Jobs that call other servers: claimed, held while they are executed, and brought to an end."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from pyvospace_ngas.db import blobs, jobs, nodes
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import (
    InternalFault,
    NodeNotFound,
    PermissionDenied,
    ServiceUnavailable,
    VOSpaceError,
)
from pyvospace_ngas.model.access import check_scope_of_line, may_read
from pyvospace_ngas.model.content import Served
from pyvospace_ngas.model.job import THIRD_PARTY, Failure, Job, Progress, Tried
from pyvospace_ngas.model.node import ROOT_ID
from pyvospace_ngas.ops.accounts import identity_of
from pyvospace_ngas.ops.downloads import check_arrived

log = logging.getLogger(__name__)

LEASE: Final = 30.0  # seconds after which another server takes over the job of a dead one
RENEWAL: Final = 5.0
LOOK: Final = 0.4  # seconds between looks at whether a job was aborted
SHOWN: Final = 1.0  # seconds between notes of progress
SETTLE: Final = 20.0  # seconds to bring an end into a database that is away


class Lost(Exception):
    """The job is not this server's to do any more: ended by its owner, overdue, or taken over."""


class Meter:
    """Counts the bytes of one job as they pass."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None

    def begin(self, total: int | None) -> None:
        """Start again from nothing, towards ``total`` bytes."""
        self.done, self.total = 0, total

    @property
    def progress(self) -> Progress:
        return Progress(self.done, self.total)


async def claim(db: Connection, executor: str) -> Job | None:
    """Take the oldest job that waits, or whose server has died."""
    return await jobs.claim(db, THIRD_PARTY, executor, LEASE)


async def while_held(
    database: Database,
    job: Job,
    executor: str,
    work: Coroutine[None, None, None],
    meter: Meter,
) -> None:
    """Do ``work`` as long as ``job`` is ours; it is cancelled within half a second otherwise.

    The lease is renewed meanwhile, and what ``meter`` shows is stored. While the database is away
    the work goes on until the lease may be over.
    """
    task = asyncio.create_task(work, name=f"job-{job.id}")
    holder = _Holder(database, job.id, executor, meter)
    try:
        while not (await asyncio.wait([task], timeout=LOOK))[0]:
            if not await holder.look():
                break
    finally:
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        log.info("the job %s was stopped", job.id)
        return
    try:
        task.result()
    except Lost:
        log.info("the job %s was lost to its owner or to another server", job.id)


class _Holder:
    def __init__(self, database: Database, job_id: str, executor: str, meter: Meter) -> None:
        self._database = database
        self._job_id = job_id
        self._executor = executor
        self._meter = meter
        self._renewed = self._noted = time.monotonic()
        self._shown = Progress(0)

    async def look(self) -> bool:
        """Renew the lease when it is time; ``False`` when the job is not ours any more."""
        try:
            async with self._database.acquire() as db:
                return await self._look(db, time.monotonic())
        except ServiceUnavailable as error:
            log.warning("the lease of the job %s was not renewed: %s", self._job_id, error)
            return time.monotonic() - self._renewed < LEASE

    async def _look(self, db: Connection, now: float) -> bool:
        if not await jobs.is_executed_by(db, self._job_id, self._executor):
            await jobs.abort_overdue(db)  # which it may be
            return False
        if now - self._noted >= SHOWN and self._meter.progress != self._shown:
            self._shown, self._noted = self._meter.progress, now
            await jobs.set_progress(db, self._job_id, self._executor, self._shown)
        if now - self._renewed < RENEWAL:
            return True
        self._renewed = now
        return await jobs.renew(db, self._job_id, self._executor, LEASE)


async def note(db: Connection, job: Job, executor: str, tried: Sequence[Tried]) -> None:
    """Store which endpoints were called, before and after each; raise `Lost`."""
    if not await jobs.set_tried(db, job.id, executor, tried):
        raise Lost


async def show(db: Connection, job: Job, executor: str, meter: Meter) -> None:
    """Store how far a job is."""
    await jobs.set_progress(db, job.id, executor, meter.progress)


async def source(db: Connection, job: Job, authorities: Sequence[str]) -> Served:
    """Return the bytes that a pushFromVoSpace sends, if its owner may still read them."""
    assert job.node_id is not None  # noqa: S101 - a job in this phase was accepted
    found = await blobs.served(db, job.node_id, job.id)
    lineage = await nodes.lineage(db, job.node_id)
    if found is None or not lineage or lineage[-1].id != ROOT_ID:
        raise NodeNotFound("the node was deleted")
    who = await identity_of(db, job.owner, authorities, job.scope)
    check_scope_of_line(who, lineage)
    if not all(may_read(who, node) for node in lineage):
        raise PermissionDenied(f"{who} may not read this node any more")
    check_arrived(found)
    if not found.holds_data or (found.blob_id is None) != (found.length == 0):
        raise InternalFault("the node has no bytes that could be sent")
    return found


async def finish(database: Database, job: Job, executor: str, meter: Meter) -> None:
    """Complete a job whose bytes are where they should be; raise `Lost`."""

    async def end(db: Connection) -> None:
        if not await jobs.renew(db, job.id, executor, LEASE):
            raise Lost
        await jobs.set_progress(db, job.id, executor, meter.progress)
        await jobs.finish(db, job.id)

    await _insist(database, end)


async def fail(
    database: Database,
    job: Job,
    executor: str,
    error: VOSpaceError,
    describe: Callable[[VOSpaceError], str],
) -> None:
    """End a job in ERROR; raise `Lost` when it is not ours any more."""
    failure = Failure(error.fault(), error.message(), describe(error))

    async def end(db: Connection) -> None:
        if not await jobs.renew(db, job.id, executor, LEASE):
            raise Lost
        await jobs.fail(db, job.id, failure)

    await _insist(database, end)


async def tidy(database: Database, job: Job) -> None:
    """Remove the node that was made for a job which brought nothing."""
    if job.node_id is not None:
        async with database.acquire() as db:
            await nodes.delete_abandoned(db, job.node_id)


async def _insist(
    database: Database, end: Callable[[Connection], Coroutine[None, None, None]]
) -> None:
    """Run ``end`` in a transaction, again while the database is away, for a while.

    It may be run twice, when an answer was lost; what it does the second time must be the same.
    """
    until = time.monotonic() + SETTLE
    while True:
        try:
            async with database.transaction() as db:
                await end(db)
                return
        except ServiceUnavailable:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(0.5)
