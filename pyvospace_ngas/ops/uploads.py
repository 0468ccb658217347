"""Uploads: the claim before bytes flow, and the one transaction that puts them in place."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pyvospace_ngas.db import attempts, blobs, jobs, nodes
from pyvospace_ngas.db import uploads as rows
from pyvospace_ngas.db.connect import Connection, Database, transaction
from pyvospace_ngas.errors import (
    EndpointNotFound,
    EndpointSpent,
    InternalFault,
    NodeBusy,
    NodeLocked,
    NodeNotFound,
    PermissionDenied,
    ServiceUnavailable,
)
from pyvospace_ngas.model.access import check_scope_of_line, is_locked, may_share, may_write
from pyvospace_ngas.model.condition import condition, etag
from pyvospace_ngas.model.content import (
    Archived,
    Attempt,
    Committed,
    Content,
    Copy,
    Step,
    check_replaced,
)
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.job import Job, Kind, Phase
from pyvospace_ngas.model.node import NULL_ID, ROOT_ID, Node
from pyvospace_ngas.model.properties import NOTHING, Settings, timestamp
from pyvospace_ngas.model.quota import Room
from pyvospace_ngas.ngas.federation import Stored
from pyvospace_ngas.ops import quotas
from pyvospace_ngas.ops.accounts import identity_of

log = logging.getLogger(__name__)

LEASE: Final = 30.0  # seconds without a heartbeat until a node is not busy any more
HEARTBEAT: Final = 5.0
SETTLE: Final = 20.0  # seconds to find out what became of a commit whose answer was lost


async def state(db: Connection, endpoint: Endpoint) -> Committed | None:
    """Return what was put through ``endpoint`` already, or ``None`` while it waits for bytes.

    Raises `EndpointNotFound` when it is good for nothing any more.
    """
    job = await jobs.get(db, endpoint.job_id)
    if job is None or job.kind is not Kind.PUSH or job.node_id != endpoint.node_id:
        raise EndpointNotFound("the transfer of this endpoint is not known any more")
    if job.phase is Phase.EXECUTING:
        return None
    if job.phase is not Phase.COMPLETED:
        raise EndpointNotFound(f"the transfer of this endpoint is {job.phase}")
    committed = await attempts.committed_by(db, job.id)
    if committed is None:  # what went to .null was not kept
        raise EndpointSpent("this endpoint was used already")
    return committed


async def claim(
    db: Connection, endpoint: Endpoint, executor: str, lease: float, match: str | None = None
) -> Attempt:
    """Begin an attempt at ``endpoint``: from now on its node is busy, while the lease is renewed.

    An older attempt at the same endpoint is superseded; `NodeBusy` while another job's is alive.
    """
    async with transaction(db):
        # The node's row is what claims, commits and changes of one node queue at.
        node = await nodes.by_id(db, endpoint.node_id, for_update=True)
        if node is None:
            raise NodeNotFound("the node was deleted")
        check_replaced(match, node.md5)
        claimed = await attempts.claim(db, endpoint.job_id, node.id, node.version, executor, lease)
    return replace(claimed, replaces=node.blob_id)


async def room(db: Connection, endpoint: Endpoint) -> Room | None:
    """Return how many bytes may come through ``endpoint``, where quotas bound them."""
    return await quotas.room(db, endpoint.job_id, endpoint.node_id)


async def drop(db: Connection, endpoint: Endpoint) -> None:
    """End the job of bytes that were sent to ``.null``."""
    if not await jobs.finish(db, endpoint.job_id):
        raise EndpointNotFound("the transfer of this endpoint is over")


async def commit(
    database: Database,
    attempt: Attempt,
    content: Content,
    stored: Stored | None,
    authorities: Sequence[str],
    discard_delay: int,
    match: str | None = None,
    given: Settings = NOTHING,
) -> Committed:
    """Put the bytes in place, if the attempt, the job, the node and the permission still stand.

    ``stored`` is ``None`` for an empty file, which has no blob. ``match`` are the entity tags of
    bytes that may be replaced, ``given`` the properties that came with the new ones. When the
    database goes away at the commit, the outcome is asked for.
    """
    step = None
    try:
        async with database.transaction() as db:
            step = await _commit(
                db, attempt, content, stored, authorities, discard_delay, match, given
            )
    except ServiceUnavailable as error:
        if not await was_committed(database, attempt, error):
            raise
    return Committed(content.length, content.md5, step)


async def _commit(
    db: Connection,
    attempt: Attempt,
    content: Content,
    stored: Stored | None,
    authorities: Sequence[str],
    discard_delay: int,
    match: str | None,
    given: Settings,
) -> Step:
    if attempt.replaces is not None:
        # Bytes before structure, as in a copy, which holds the bytes of the tree that it has read.
        await blobs.hold(db, [attempt.replaces])
    job, node = await _hold(db, attempt)
    line = await nodes.lineage(db, node.id)
    if line[-1].id != ROOT_ID:
        raise NodeNotFound("the node was deleted during the upload")
    if not node.type.holds_data:
        raise InternalFault("the node holds no bytes")
    await _check_allowed(db, job, node, line, authorities, given)
    check_replaced(match, node.md5)
    condition(job.if_match, job.if_none_match).check(node)
    archived = None if stored is None else _archived(stored)
    placed = await rows.place(db, attempt, node, content, archived, given)
    await quotas.charge(db, line, content.length - node.length, job.id)
    if node.blob_id is not None:
        await blobs.release(db, [node.blob_id], "replaced", discard_delay, placed.blob_id)
    return Step(etag(node), etag(placed), timestamp(placed.mtime))


async def _hold(db: Connection, attempt: Attempt) -> tuple[Job, Node]:
    """Return the job and the node of ``attempt``, held until the commit, if all still stand."""
    held = await rows.hold(db, attempt)
    if held.job is None:
        raise EndpointNotFound("the transfer was ended during the upload")
    if held.node is None:
        raise NodeNotFound("the node was deleted during the upload")
    if not held.is_current:
        raise NodeBusy("a newer upload at this endpoint has taken over")
    if held.job.phase is not Phase.EXECUTING:
        raise EndpointNotFound("the transfer was ended during the upload")
    return held.job, held.node


async def _check_allowed(
    db: Connection,
    job: Job,
    node: Node,
    line: Sequence[Node],
    authorities: Sequence[str],
    given: Settings,
) -> None:
    who = await identity_of(db, job.owner, authorities, job.scope)
    check_scope_of_line(who, line)
    if not may_write(who, node):
        raise PermissionDenied(f"{who} may not write this node any more")
    if is_locked(node):
        raise NodeLocked("the node was locked during the upload")
    if given.public_read not in (None, node.public_read) and not may_share(who, node):
        raise PermissionDenied("only the owner of a node says who may read it")


async def store_blob(db: Connection, content: Content, stored: Stored) -> int:
    """Store where bytes lie that are about to be a node's; return the blob's id."""
    return await blobs.insert(db, content, _archived(stored))


def _archived(stored: Stored) -> Archived:
    copy = Copy(
        stored.file_id, stored.entry.address, stored.host_id, stored.disk_id, stored.version
    )
    return Archived(copy, stored.checksum, stored.variant)


async def was_committed(database: Database, attempt: Attempt, error: ServiceUnavailable) -> bool:
    """Ask for the outcome of an attempt until the database answers; raise ``error`` after a while.

    Without an answer the client is told to come again: the same bytes are then taken as a
    repetition if they were committed.
    """
    try:
        async with asyncio.timeout(SETTLE):
            while True:
                try:
                    async with database.acquire() as db:
                        return await attempts.was_committed(db, attempt.id)
                except ServiceUnavailable:
                    await asyncio.sleep(0.5)
    except TimeoutError:
        log.warning("attempt %d: the outcome of its commit is not known", attempt.id)
        raise error from None


def is_null(endpoint: Endpoint) -> bool:
    """Tell whether bytes of ``endpoint`` go nowhere, or come from nothing."""
    return endpoint.node_id == NULL_ID


async def renew(db: Connection, attempt: Attempt, lease: float) -> bool:
    """Say that the bytes of ``attempt`` still flow; ``False`` when it has ended."""
    return await attempts.renew(db, attempt.id, lease)


async def sent_to(db: Connection, attempt: Attempt, entry: str) -> None:
    """Note the NGAS node that the bytes of ``attempt`` are about to go to."""
    await attempts.sent_to(db, attempt.id, entry)


async def give_up(db: Connection, attempt: Attempt) -> None:
    """End ``attempt`` unless it has ended; its endpoint is good for another one."""
    await attempts.fail(db, attempt.id)
