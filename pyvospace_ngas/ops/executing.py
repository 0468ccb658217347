"""UWS jobs run: negotiated for their clients, executed by a request or by a worker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyvospace_ngas.db import branches, jobs
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import InternalFault, ServiceUnavailable, VOSpaceError
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.condition import condition
from pyvospace_ngas.model.job import (
    RECURSIVE,
    THIRD_PARTY,
    Event,
    Failure,
    Job,
    Kind,
    Phase,
    advance,
)
from pyvospace_ngas.model.node import NodeTemplate
from pyvospace_ngas.model.search import Search
from pyvospace_ngas.model.standard import PUBLIC_SHARE
from pyvospace_ngas.model.transfer import Transfer
from pyvospace_ngas.model.uri import NULL, NodePath, Space
from pyvospace_ngas.ops import accounts, recursive, relocation, searches, transfers
from pyvospace_ngas.ops.jobs import get, refuse
from pyvospace_ngas.ops.transfers import Offer

log = logging.getLogger(__name__)

LEASE: Final = 30.0  # seconds after which another server takes over the job of a dead one
EXECUTED_HERE: Final = (Kind.MOVE, Kind.COPY)
# And done by a worker, not by the request.
_QUEUED: Final = (*EXECUTED_HERE, *RECURSIVE, Kind.SEARCH)

Describe = Callable[[VOSpaceError], str]


@dataclass(frozen=True, slots=True)
class Running:
    """What is needed to run jobs, on behalf of a request or of the worker."""

    database: Database
    offer: Offer
    authorities: tuple[str, ...]
    delete_limit: int
    refusing: Callable[[], Awaitable[Collection[str]]]  # NGAS nodes that do not delete now
    read: Callable[[str], Transfer]  # of a stored document
    read_node: Callable[[str], NodeTemplate]  # of a job over a whole tree
    read_search: Callable[[str], Search]
    describe: Describe  # an error's detail as faults write it

    @property
    def space(self) -> Space:
        return self.offer.space


async def run(running: Running, who: Identity, job: Job, transfer: Transfer | None = None) -> None:
    """Start a job. Transfers are negotiated before this returns; what a server does is queued.

    A refusal ends the job in ERROR and is not raised; `IllegalTransition` is. ``transfer`` is what
    the job's document says, for who has read it.
    """
    who = replace(who, scope=job.scope)  # which `get` has found to be no wider
    advance(job.phase, Event.RUN)
    if job.kind in _QUEUED:
        async with running.database.acquire() as db:
            if not await jobs.advance(db, job.id, Event.RUN):
                await refuse(db, job.id, Event.RUN)
        return
    try:
        transfer = transfer or running.read(job.document)
        async with running.database.transaction() as db:
            if not await jobs.advance(db, job.id, Event.RUN):
                await refuse(db, job.id, Event.RUN)
            if job.kind in THIRD_PARTY:
                await transfers.accept(db, job, transfer, who, running.space)
            else:
                await transfers.offer(db, job, transfer, who, running.offer)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        if not await _end_in_error(running, job.id, error):
            raise


async def execute(running: Running, who: Identity, job: Job, transfer: Transfer) -> None:
    """Do what a move or copy says, now; the job ends in the transaction that changes the tree."""
    try:
        relocate = await _relocation(running, who, job, transfer)
        async with running.database.transaction(_lock(job)) as db:
            path = (await relocate(db)).path
            await _finish(db, job.id, relocation.results(path, running.space))
    except _Aborted:
        log.info("the job %s was aborted; nothing of it was kept", job.id)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        await _end_in_error(running, job.id, error)


def _aimed(running: Running, job: Job, transfer: Transfer) -> tuple[NodePath, relocation.Aim]:
    """Return what a move or copy is about, and where it is to go."""
    overwriting = transfers.overwrites(transfer, running.space)
    overwrite = condition(job.if_match, job.if_none_match) if overwriting else None
    exact = transfers.is_exact(transfer, running.space)
    source = running.space.parse(transfer.target)
    return source, relocation.Aim(running.space.parse(transfer.direction), overwrite, exact)


async def _relocation(
    running: Running, who: Identity, job: Job, transfer: Transfer
) -> Callable[[Connection], Awaitable[relocation.Moved]]:
    """Return what moves or copies inside a transaction."""
    source, aim = _aimed(running, job, transfer)
    deletes = job.kind is Kind.MOVE and aim.path.name == NULL
    refusing = await running.refusing() if deletes else ()

    async def relocate(db: Connection) -> relocation.Moved:
        if job.kind is Kind.MOVE:
            return await relocation.move(db, who, source, aim, running.delete_limit, refusing)
        return relocation.Moved(await relocation.copy(db, who, source, aim))

    return relocate


def _lock(job: Job) -> str:
    """Return what a relocation begins with; a copy comes to be out of sight, and waits then."""
    return branches.ALONE if job.kind is Kind.MOVE else ""


class _Aborted(Exception):
    """The job was ended by its owner while it was executed."""


async def _finish(db: Connection, job_id: str, results: Sequence[tuple[str, str]]) -> None:
    if not await jobs.finish(db, job_id, results):
        raise _Aborted


async def run_now(running: Running, who: Identity, job: Job, transfer: Transfer) -> Job:
    """Store and run a new job to where its client can go on; return it as it is then.

    That is what a synchronous transfer asks for. But for a copy, which may take long, all of it
    is one transaction: nobody could see, or stop, what is over in moments.
    """
    try:
        match job.kind:
            case Kind.COPY:
                await _execute_now(running, who, job, transfer)
            case Kind.MOVE:
                return await _move_now(running, who, job, transfer)
            case _:
                return await _offer_now(running, who, job, transfer)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        async with running.database.acquire() as db:
            await jobs.insert(db, job)
        await _end_in_error(running, job.id, error)
    async with running.database.acquire() as db:
        return await get(db, who, job.id)


async def _move_now(running: Running, who: Identity, job: Job, transfer: Transfer) -> Job:
    source, aim = _aimed(running, job, transfer)
    async with running.database.acquire() as db:
        done = await relocation.move_at_once(db, who, source, aim, job, running.space)
    if done is not None:
        return done
    relocate = await _relocation(running, who, job, transfer)
    async with running.database.transaction(branches.ALONE) as db:
        moved = await relocate(db)
        done = await jobs.insert_completed(db, job, relocation.results(moved.path, running.space))
        return relocation.stepped(done, moved)


async def _offer_now(running: Running, who: Identity, job: Job, transfer: Transfer) -> Job:
    # What a crash of the database makes void is asked for anew; not so a share, which others have.
    shared = any(protocol.uri == PUBLIC_SHARE for protocol in transfer.protocols)
    queued = replace(job, phase=advance(job.phase, Event.RUN))
    async with running.database.transaction() as db:
        await jobs.insert(db, queued, hasty=not shared)
        await transfers.offer(db, queued, transfer, who, running.offer)
        return await get(db, who, job.id)


async def _execute_now(running: Running, who: Identity, job: Job, transfer: Transfer) -> None:
    # If this server dies a worker takes over, as with any other job.
    executor = f"request:{job.id}"
    async with running.database.acquire() as db:
        begun = replace(job, phase=Phase.EXECUTING)
        await jobs.insert(db, begun, hasty=True, executor=executor, lease=LEASE)
    keeping = asyncio.create_task(_keep(running, job.id, executor), name=f"lease-{job.id}")
    try:
        await execute(running, who, job, transfer)
    except ServiceUnavailable as error:
        await _end_in_error(running, job.id, error)  # its client is told, and may ask again
        raise
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _keep(running: Running, job_id: str, executor: str) -> None:
    """Renew the lease of a job for as long as it is the executor's."""
    held = True
    while held:
        await asyncio.sleep(LEASE / 6)
        try:
            async with running.database.acquire() as db:
                held = await jobs.renew(db, job_id, executor, LEASE)
        except ServiceUnavailable as error:
            log.warning("the lease of the job %s was not renewed: %s", job_id, error)


async def work_one(
    running: Running, executor: str, kinds: Collection[Kind] = EXECUTED_HERE
) -> bool:
    """Claim and execute one queued job of ``kinds``; ``False`` when there is none.

    The lease is renewed while it runs, and an abort by its owner stops it within a second.
    """
    async with running.database.acquire() as db:
        job = await jobs.claim(db, kinds, executor, LEASE)
    if job is None:
        return False
    work = asyncio.create_task(_execute_for_owner(running, job, executor), name=f"job-{job.id}")
    try:
        while not (await asyncio.wait([work], timeout=0.5))[0]:
            async with running.database.acquire() as db:
                if not await jobs.renew(db, job.id, executor, LEASE):
                    work.cancel()
    finally:
        work.cancel()
        await asyncio.wait([work])
    if not work.cancelled():
        work.result()
    return True


async def _execute_for_owner(running: Running, job: Job, executor: str) -> None:
    try:
        async with running.database.acquire() as db:
            who = await accounts.identity_of(db, job.owner, running.authorities, job.scope)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        await _end_in_error(running, job.id, error)
        return
    try:
        if job.kind in RECURSIVE:
            await _execute_recursive(running, who, job, executor)
        elif job.kind is Kind.SEARCH:
            await _execute_search(running, who, job)
        else:
            await execute(running, who, job, running.read(job.document))
    except ServiceUnavailable:
        raise
    except Exception:
        # A job that fails in a way nobody foresaw must not be tried for ever.
        log.exception("the job %s failed", job.id)
        await _end_in_error(running, job.id, InternalFault("see the server's log"))


async def _execute_recursive(running: Running, who: Identity, job: Job, executor: str) -> None:
    refusing = await running.refusing() if job.kind is Kind.DELETE else ()
    try:
        await recursive.execute(
            recursive.Task(
                running.database,
                job,
                executor,
                who,
                running.read_node(job.document),
                running.delete_limit,
                refusing,
            )
        )
    except recursive.Superseded:
        log.info("the job %s was ended, or is gone on with elsewhere", job.id)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        await _end_in_error(running, job.id, error)


async def _execute_search(running: Running, who: Identity, job: Job) -> None:
    try:
        search = running.read_search(job.document)
        await searches.execute(running.database, job, who, search, running.space)
    except ServiceUnavailable:
        raise
    except VOSpaceError as error:
        await _end_in_error(running, job.id, error)


async def _end_in_error(running: Running, job_id: str, error: VOSpaceError) -> bool:
    failure = Failure(error.fault(), error.message(), running.describe(error))
    async with running.database.transaction() as db:
        await jobs.advance(db, job_id, Event.RUN)  # a job refused in PENDING was run all the same
        return await jobs.fail(db, job_id, failure)
