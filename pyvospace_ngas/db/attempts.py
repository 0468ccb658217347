"""Every query on upload attempts: one row for each time that bytes flow towards a node."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import HASTY, Connection
from pyvospace_ngas.errors import NodeBusy
from pyvospace_ngas.model.content import Attempt, Committed

_COLUMNS: Final = "id, job_id, node_id, node_version, number, file_id"


@dataclass(frozen=True, slots=True)
class Leftover:
    """An attempt that ended without being committed: NGAS may hold something of it."""

    id: int
    file_id: str
    ended: datetime


async def claim(
    db: Connection, job_id: str, node_id: int, node_version: int, executor: str, lease: float
) -> Attempt:
    """Begin an attempt, ending an older one of the same job; raise `NodeBusy` for another job's.

    The caller holds the node's row, so that claims of one node come one after the other.
    """
    row = await db.fetchrow(
        f"""
        with over as (
            update attempt
               set ended = now(),
                   outcome = case when job_id = $1 then 'superseded' else 'expired' end
             where node_id = $2 and ended is null and (job_id = $1 or lease <= now())
        )
        insert into attempt (job_id, node_id, node_version, number, file_id, executor, lease)
             select $1, $2, $3,
                    (select coalesce(max(number), 0) + 1 from attempt where job_id = $1),
                    setting.value || '-' || replace(gen_random_uuid()::text, '-', ''),
                    $4, now() + make_interval(secs => $5)
               from setting
              where setting.name = 'space_id'
                and not exists (select 1 from attempt where node_id = $2 and ended is null
                                   and job_id <> $1 and lease > now())
          returning {_COLUMNS}
        """,
        job_id,
        node_id,
        node_version,
        executor,
        lease,
    )
    if row is None:
        raise NodeBusy("another transfer writes this node right now")
    return _attempt(row)


async def renew(db: Connection, attempt_id: int, lease: float) -> bool:
    """Say that the bytes still flow; ``False`` when the attempt has ended."""
    done = await db.execute(
        f"""
        with hasty as ({HASTY})
        update attempt set lease = now() + make_interval(secs => $2) from hasty
         where id = $1 and ended is null
        """,
        attempt_id,
        lease,
    )
    return bool(done == "UPDATE 1")


async def sent_to(db: Connection, attempt_id: int, entry: str) -> None:
    """Note the NGAS node that the bytes are about to be sent to."""
    await db.execute(
        f"""
        with hasty as ({HASTY}) update attempt set entry = $2 from hasty where id = $1
        """,
        attempt_id,
        entry,
    )


async def hold(db: Connection, attempt_id: int) -> bool:
    """Hold the row until the commit; ``False`` when the attempt is not current any more."""
    found = await db.fetchval(
        "select id from attempt where id = $1 and ended is null for update", attempt_id
    )
    return found is not None


async def commit(
    db: Connection, attempt_id: int, blob_id: int | None, length: int, md5: str
) -> None:
    """End an attempt well."""
    await db.execute(
        """
        update attempt set ended = now(), outcome = 'committed', blob_id = $2, length = $3,
               md5 = $4
         where id = $1
        """,
        attempt_id,
        blob_id,
        length,
        md5,
    )


async def fail(db: Connection, attempt_id: int) -> None:
    """End an attempt that came to nothing, unless it has ended already."""
    await db.execute(
        """
        update attempt set ended = now(), outcome = 'failed' where id = $1 and ended is null
        """,
        attempt_id,
    )


async def was_committed(db: Connection, attempt_id: int) -> bool:
    """Tell how an attempt ended, after any transaction that is still at work on it."""
    outcome = await db.fetchval("select outcome from attempt where id = $1 for update", attempt_id)
    return bool(outcome == "committed")


async def committed_by(db: Connection, job_id: str) -> Committed | None:
    """Return what a job put in place."""
    row = await db.fetchrow(
        """
        select length, md5 from attempt
         where job_id = $1 and outcome = 'committed' and unpack_id is null
        """,
        job_id,
    )
    return None if row is None else Committed(row["length"], row["md5"])


async def expire(db: Connection) -> int:
    """End the attempts whose server has not been heard of; return how many."""
    done: str = await db.execute(
        """
        update attempt set ended = now(), outcome = 'expired' where id = any(array(
            select id from attempt where ended is null and lease <= now()
               for update skip locked))
        """
    )
    return int(done.rpartition(" ")[2])


async def take_leftovers(db: Connection, grace: float, pause: float, limit: int) -> list[Leftover]:
    """Return attempts to sweep after; nobody else gets them for ``pause`` seconds.

    ``grace``: the seconds since an attempt ended in which a node may still be at work on it.
    """
    rows = await db.fetch(
        """
        update attempt set sweep_at = now() + make_interval(secs => $2) where id = any(array(
            select id from attempt
             where outcome <> 'committed' and swept is null and sweep_at <= now()
               and ended <= now() - make_interval(secs => $1)
             order by sweep_at limit $3 for update skip locked))
        returning id, file_id, ended
        """,
        grace,
        pause,
        limit,
    )
    return [Leftover(row["id"], row["file_id"], row["ended"]) for row in rows]


async def swept(db: Connection, attempt_id: int) -> None:
    """Note that what an attempt left behind was seen to."""
    await db.execute("update attempt set swept = now() where id = $1", attempt_id)


async def forget(db: Connection, age: float, limit: int) -> int:
    """Delete rows whose jobs are gone and that were seen to; return how many."""
    done: str = await db.execute(
        """
        delete from attempt where id = any(array(
            select id from attempt a
             where a.ended <= now() - make_interval(secs => $1)
               and (a.outcome = 'committed' or a.swept is not null)
               and not exists (select 1 from job where job.id = a.job_id)
             limit $2 for update skip locked))
        """,
        age,
        limit,
    )
    return int(done.rpartition(" ")[2])


async def prefix(db: Connection) -> str:
    """Return what every file_id of this space begins with."""
    space_id: str = await db.fetchval("select value from setting where name = 'space_id'")
    return f"{space_id}-"


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(
        row["id"],
        row["job_id"],
        row["node_id"],
        row["node_version"],
        row["number"],
        row["file_id"],
    )
