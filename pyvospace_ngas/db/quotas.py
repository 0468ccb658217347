"""Every query on quotas and what is reserved of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.quota import Quota

# A reservation is one while its job runs: it ends with the job, however that ends.
_RESERVED: Final = """
coalesce((select sum(r.bytes) from reservation r join job j on j.id = r.job_id
           where r.node_id = q.node_id and j.phase in ('QUEUED', 'EXECUTING')
             and j.id is distinct from $2), 0)::bigint as reserved
"""
# The containers by their own index, then what lies in each: a third of the time of one walk.
# Container by container (lateral), as the planner else may read the whole index for a join.
_SIZE: Final = """
with recursive folder as (
    select id from node where id = {0} and type = 4
     union all
    select n.id from folder join node n on n.parent_id = folder.id and n.type = 4
) select (coalesce((select length from node where id = {0}), 0)
          + coalesce((select sum(leaf.length) from folder cross join lateral (
                select sum(n.length) as length from node n where n.parent_id = folder.id) leaf), 0)
         )::bigint
"""


@dataclass(frozen=True, slots=True)
class Count:
    """What a ledger says, and what there is; both at one moment."""

    quota: Quota
    counted: int


async def read(db: Connection, ids: Sequence[int], job_id: str | None = None) -> list[Quota]:
    """Return those quotas; what ``job_id`` itself has reserved does not count."""
    rows = await db.fetch(
        f"""
        select q.node_id, q.bytes, q.used, {_RESERVED}
          from quota q where q.node_id = any($1) order by q.node_id
        """,
        ids,
        job_id,
    )
    return [_quota(row) for row in rows]


async def hold(db: Connection, ids: Sequence[int]) -> None:
    """Hold ledgers until the commit, by id; what is read afterwards is as it is after the wait."""
    await db.execute(
        "select node_id from quota where node_id = any($1) order by node_id for update", ids
    )


async def add(db: Connection, changes: Sequence[tuple[int, int]]) -> None:
    """Change what is used by so many bytes each; the ledgers are held."""
    await db.execute(
        """
        update quota set used = used + change.bytes
          from unnest($1::bigint[], $2::bigint[]) change (id, bytes)
         where quota.node_id = change.id
        """,
        [node_id for node_id, _ in changes],
        [delta for _, delta in changes],
    )


async def size(db: Connection, node_id: int) -> int:
    """Return the bytes of a node and of all below it: a sum over the tree."""
    found: int = await db.fetchval(_SIZE.format("$1"), node_id)
    return found


async def reserve(db: Connection, job_id: str, ids: Sequence[int], length: int) -> None:
    """Set bytes aside for a job; the ledgers are held."""
    await db.execute(
        """
        insert into reservation (job_id, node_id, bytes)
             select $1, node_id, $3 from quota where node_id = any($2)
        on conflict (job_id, node_id) do update set bytes = excluded.bytes
        """,
        job_id,
        ids,
        length,
    )


async def forget_ended(db: Connection) -> None:
    """Delete reservations that do not count any more."""
    await db.execute(
        """
        delete from reservation using job where job.id = reservation.job_id
           and job.phase not in ('PENDING', 'QUEUED', 'EXECUTING')
        """
    )


async def put(db: Connection, node_id: int, limit: int, used: int) -> None:
    """Give a container a quota, or another one."""
    await db.execute(
        """
        insert into quota (node_id, bytes, used) values ($1, $2, $3)
        on conflict (node_id) do update set bytes = excluded.bytes, used = excluded.used
        """,
        node_id,
        limit,
        used,
    )


async def drop(db: Connection, node_id: int) -> None:
    """Take a container's quota away."""
    await db.execute("delete from quota where node_id = $1", node_id)


async def set_used(db: Connection, node_id: int, used: int) -> None:
    """Put a ledger right."""
    await db.execute("update quota set used = $2 where node_id = $1", node_id, used)


async def everything(db: Connection) -> list[Quota]:
    """Return all quotas."""
    rows = await db.fetch(
        f"select q.node_id, q.bytes, q.used, {_RESERVED} from quota q where q.node_id > $1"
        " order by q.node_id",
        0 - 2**62,
        None,
    )
    return [_quota(row) for row in rows]


async def count(db: Connection, node_id: int) -> Count | None:
    """Compare a ledger with a new sum. One statement sees both at one moment, without a lock."""
    row = await db.fetchrow(
        f"select q.node_id, q.bytes, q.used, 0::bigint as reserved,"
        f" ({_SIZE.format('q.node_id')}) as counted from quota q where q.node_id = $1",
        node_id,
    )
    return None if row is None else Count(_quota(row), row["counted"])


def _quota(row: asyncpg.Record) -> Quota:
    return Quota(row["node_id"], row["bytes"], row["used"], row["reserved"])
