"""UWS jobs: made, found, waited for, aborted, and cleaned up after."""

import asyncio
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from pyvospace_ngas.db import jobs, nodes, quotas
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import (
    JobNotFound,
    PermissionDenied,
)
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.job import (
    ACTIVE,
    Event,
    Job,
    JobFilter,
    Kind,
    Phase,
    advance,
    is_over,
)
from pyvospace_ngas.model.token import WHOLE
from pyvospace_ngas.model.transfer import Transfer
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ops import transfers

KEPT: Final = timedelta(days=7)  # until a job is archived, unless its client says otherwise
ARCHIVED_FOR: Final = timedelta(days=30)  # then its record goes as well
LONGEST_KEPT: Final = timedelta(days=365)
LONGEST_DURATION: Final = 30 * 86_400  # seconds
LONGEST_WAIT: Final = 60.0  # seconds; below the time-outs of proxies and clients
LEFT_AFTER: Final = 3600.0  # seconds that a client has to go on with a new file's broken upload
ABANDONED_AFTER: Final = 10.0  # seconds that a push has between finding a node and its job


def new(
    who: Identity,
    transfer: Transfer,
    document: str,
    run_id: str | None,
    space: Space,
    if_match: str | None = None,
    if_none_match: str | None = None,
) -> Job:
    """Return a PENDING job for ``transfer``, whose text is ``document``; to be stored.

    ``if_match`` and ``if_none_match`` say, as the header fields of these names, what a node has
    to be to be overwritten.
    """
    kind = transfers.kind_of(transfer, space)
    return _pending(who, kind, document, run_id, transfer.size, if_match, if_none_match)


async def create(db: Connection, job: Job) -> Job:
    """Store a `new` job, which its owner runs, or never does."""
    return await jobs.insert(db, job)


async def create_walk(
    db: Connection, who: Identity, kind: Kind, document: str, run_id: str | None
) -> Job:
    """Store a PENDING job that goes through the tree at what ``document`` describes."""
    return await jobs.insert(db, _pending(who, kind, document, run_id))


def _pending(
    who: Identity,
    kind: Kind,
    document: str,
    run_id: str | None,
    size: int | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
) -> Job:
    return Job(
        id=uuid.uuid4().hex,
        kind=kind,
        owner=who.user,
        phase=Phase.PENDING,
        document=document,
        created=datetime.now(UTC),
        run_id=run_id,
        destruction=datetime.now(UTC) + KEPT,
        scope=who.scope,
        size=size,
        if_match=if_match,
        if_none_match=if_none_match,
    )


async def get(db: Connection, who: Identity, job_id: str) -> Job:
    """Return a job of the caller's own; one of an anonymous caller is anybody's who knows it.

    With a token one has the jobs that may do no more than the token may.
    """
    job = await jobs.get(db, job_id)
    if job is None:
        raise JobNotFound(job_id)
    if job.owner is not None and job.owner != who.user and not who.admin:
        raise PermissionDenied(f"the job {job_id} is not yours")
    if not who.scope.contains(job.scope):
        raise PermissionDenied(f"the job {job_id} may do more than this token")
    return job


async def listed(db: Connection, who: Identity, wanted: JobFilter) -> list[Job]:
    """Return the caller's own jobs; an anonymous caller has none that are listed."""
    if who.scope == WHOLE:
        return await jobs.listed(db, who.user, wanted)
    found = await jobs.listed(db, who.user, replace(wanted, last=None))
    own = [job for job in found if who.scope.contains(job.scope)]
    return own[: -wanted.last - 1 : -1] if wanted.last else own


async def limit(db: Connection, job: Job, seconds: int) -> None:
    """Let ``job`` execute for so many seconds at most; 0 means as long as we allow."""
    await jobs.set_duration(db, job.id, min(seconds, LONGEST_DURATION))


async def destroy_at(db: Connection, job: Job, moment: datetime) -> None:
    """Let ``job`` go at ``moment``, or as late as we keep any."""
    await jobs.set_destruction(db, job.id, min(moment, datetime.now(UTC) + LONGEST_KEPT))


async def wait(
    database: Database, who: Identity, job_id: str, seconds: float, phase: Phase | None
) -> Job:
    """Return the job once its phase changes, or after ``seconds`` (-1: as long as we allow).

    With ``phase`` a job in any other phase is returned at once (UWS 1.1, section 2.2.1.1).
    """
    limit = LONGEST_WAIT if seconds < 0 else min(seconds, LONGEST_WAIT)
    end = time.monotonic() + limit
    pause = 0.05
    async with database.acquire() as db:
        first = job = await get(db, who, job_id)
    while job.phase is first.phase and job.phase in ACTIVE and phase in (None, job.phase):
        left = end - time.monotonic()
        if left <= 0:
            break
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.5)
        async with database.acquire() as db:
            job = await get(db, who, job_id)
    return job


async def abort(db: Connection, job: Job) -> None:
    """Stop a job; its endpoints are void from now on. `IllegalTransition` when it is over."""
    advance(job.phase, Event.ABORT)
    if not await jobs.advance(db, job.id, Event.ABORT):
        await refuse(db, job.id, Event.ABORT)
    if job.node_id is not None:
        await nodes.delete_abandoned(db, job.node_id)


async def delete(db: Connection, job: Job) -> None:
    """Forget a job; one that runs is stopped first."""
    if not is_over(job.phase):
        await jobs.advance(db, job.id, Event.ABORT)
    await jobs.delete(db, job.id)
    if job.node_id is not None:
        await nodes.delete_abandoned(db, job.node_id)


async def clean_up(db: Connection) -> None:
    """Abort what is overdue, archive what is outdated, remove nodes that never got their bytes."""
    await jobs.delete_outdated(db)
    over = [
        *await jobs.abort_overdue(db),
        *await jobs.abort_left(db, LEFT_AFTER),
        *await jobs.archive_outdated(db, ARCHIVED_FOR),
    ]
    for node_id in dict.fromkeys(over):
        await nodes.delete_abandoned(db, node_id)
    await quotas.forget_ended(db)
    await nodes.delete_abandoned(db, age=ABANDONED_AFTER)


async def refuse(db: Connection, job_id: str, event: Event) -> None:
    """Raise what ``event`` meets in a job that somebody else moved on meanwhile."""
    job = await jobs.get(db, job_id)
    if job is None:
        raise JobNotFound(job_id)
    advance(job.phase, event)
