"""The end of an upload: all that it holds, and all that it writes, in one statement each."""

from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.db import blobs, jobs
from pyvospace_ngas.db.branches import STRUCTURE_LOCK
from pyvospace_ngas.db.changes import NOTE
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.db.rows import columns
from pyvospace_ngas.db.rows import node as node_of
from pyvospace_ngas.model.content import Archived, Attempt, Content
from pyvospace_ngas.model.job import Job
from pyvospace_ngas.model.node import Node
from pyvospace_ngas.model.properties import Settings

# One after the other, as each refers to the one before: the structure, as with `SHARED`,
# the job, before its node as where that is aborted and a new node goes with it, and the attempt.
# The chain around the node is for a later statement: this one's snapshot is from before its waits.
_HOLD: Final = f"""
with shared as materialized (select pg_advisory_xact_lock_shared({STRUCTURE_LOCK}))
select current.id is not null, {", ".join(f"job.{field}" for field in jobs.FIELDS)},
       {columns("node")}, false
  from shared
  left join lateral (
    select {", ".join(jobs.FIELDS)} from job where id = $1 for update) job on true
  left join lateral (
    select {columns("n")} from node n where n.id = job.node_id for update) node on true
  left join lateral (
    select id from attempt
     where id = $2 and node_id = node.id and ended is null for update) current on true
"""
_PLACE: Final = f"""
with {blobs.STORE}, finished as (
    update job set phase = 'COMPLETED', ended = clock_timestamp() where id = $11
), placed as (
    update node set blob_id = (select id from whole), length = $1, md5 = $2, props = $14,
           public_read = coalesce($15, public_read), provisional = false,
           mtime = now(), ctime = now(), version = version + 1
     where id = $12 returning parent_id, name, version, mtime
), noted as ({NOTE} placed)
update attempt set ended = now(), outcome = 'committed', blob_id = (select id from whole),
       length = $1, md5 = $2
 where id = $13
returning blob_id, (select version from placed) as version, (select mtime from placed) as mtime
"""


@dataclass(frozen=True, slots=True)
class Held:
    """The rows of an upload, held until the commit, as far as they still are."""

    job: Job | None
    node: Node | None
    is_current: bool  # the attempt has not ended


async def hold(db: Connection, attempt: Attempt) -> Held:
    """Hold the tree's structure, the job, its node and the attempt as they are, in this order."""
    row = await db.fetchrow(_HOLD, attempt.job_id, attempt.id)
    assert row is not None  # noqa: S101 - whatever is gone is null in it
    is_current, *rest = row
    job, node = rest[: len(jobs.FIELDS)], rest[len(jobs.FIELDS) :]
    return Held(
        None if job[0] is None else jobs.job_of(dict(zip(jobs.FIELDS, job, strict=True))),
        None if node[0] is None else node_of(node),
        is_current,
    )


async def place(
    db: Connection,
    attempt: Attempt,
    node: Node,
    content: Content,
    archived: Archived | None,
    given: Settings,
) -> Node:
    """Point the node at its new bytes, complete the job and end the attempt; return the node.

    The client's properties go, but for those ``given`` with the bytes, and sharing stays
    (PSH-08). All rows are held.
    """
    values, props, public = blobs.stored(content, archived), dict(given.props), given.public_read
    row = await db.fetchrow(_PLACE, *values, attempt.job_id, node.id, attempt.id, props, public)
    assert row is not None  # noqa: S101 - the attempt is held
    return node._replace(
        blob_id=row["blob_id"],
        length=content.length,
        md5=content.md5,
        props=props,
        public_read=node.public_read if public is None else public,
        mtime=row["mtime"],
        ctime=row["mtime"],
        version=row["version"],
    )
