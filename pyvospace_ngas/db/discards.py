"""Every query on the discard queue, and on the mark that tells a restored database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.content import Copy

MARK: Final = "database_mark"
# Another server, a promoted or rewound one, another database, or tables that were restored into
# this one: whatever was discarded since the dump was made is not known here.
_CURRENT: Final = """
    (select system_identifier from pg_control_system())
    || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || '/' || (select oid from pg_database where datname = current_database())
    || '/' || 'discard'::regclass::oid
"""
_COLUMNS: Final = (
    "id, file_id, entry, host_id, disk_id, version, reason, queued, not_before, after_blob, tries,"
    " last_error, absent"
)


@dataclass(frozen=True, slots=True)
class Discard:
    """A file that NGAS may forget, and how far that has come."""

    id: int
    copy: Copy
    reason: str
    queued: datetime
    not_before: datetime
    after_blob: int | None
    tries: int
    last_error: str | None
    absent: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """The queue in numbers. ``failing`` were tried at least once in vain."""

    waiting: int
    due: int
    failing: int
    oldest: datetime | None


async def queue(db: Connection, copy: Copy, reason: str, delay: float) -> bool:
    """Queue one file; ``False`` when it is queued already."""
    done = await db.execute(
        """
        insert into discard (file_id, entry, host_id, disk_id, version, reason, not_before)
             values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
        on conflict do nothing
        """,
        copy.file_id,
        copy.entry,
        copy.host_id,
        copy.disk_id,
        copy.version,
        reason,
        delay,
    )
    return bool(done == "INSERT 0 1")


async def take(db: Connection, limit: int) -> list[Discard]:
    """Return what is due; it is not due again for a while that grows, so that nobody else gets it.

    A file that holds the bytes of a blob is never returned, however it came into the queue.
    """
    rows = await db.fetch(
        f"""
        update discard
           set tries = tries + 1, not_before = now() + least(
                 interval '1 day', interval '1 minute' * power(2, least(tries, 11)))
         where id = any(array(
            select id from discard d
             where not_before <= now()
               and not exists (select 1 from copy c
                                where c.file_id = d.file_id and c.host_id = d.host_id
                                  and c.disk_id = d.disk_id and c.version = d.version)
             order by not_before limit $1 for update skip locked))
        returning {_COLUMNS}
        """,
        limit,
    )
    return [_discard(row) for row in rows]


async def done(db: Connection, discard_id: int) -> None:
    """Strike out what is gone."""
    await db.execute("delete from discard where id = $1", discard_id)


async def postpone(db: Connection, discard_id: int, why: str) -> None:
    """Note why it did not work this time."""
    await db.execute("update discard set last_error = $2 where id = $1", discard_id, why[:1000])


async def denied(db: Connection, discard_id: int, apart: float) -> bool:
    """Note that no node has the file; ``True`` when all said so already ``apart`` seconds ago."""
    twice = await db.fetchval(
        """
        update discard set absent = coalesce(absent, now()), last_error = 'no node has the file'
         where id = $1 returning absent <= now() - make_interval(secs => $2)
        """,
        discard_id,
        apart,
    )
    return bool(twice)


async def found_again(db: Connection, discard_id: int) -> None:
    """Note that the file is somewhere after all."""
    await db.execute("update discard set absent = null where id = $1", discard_id)


async def listed(db: Connection, limit: int) -> list[Discard]:
    """Return the queue, the next due first."""
    rows = await db.fetch(
        f"select {_COLUMNS} from discard order by not_before, id limit $1", limit
    )
    return [_discard(row) for row in rows]


async def counts(db: Connection) -> Counts:
    """Return the queue in numbers."""
    row = await db.fetchrow(
        """
        select count(*) as waiting, count(*) filter (where not_before <= now()) as due,
               count(*) filter (where last_error is not null) as failing, min(queued) as oldest
          from discard
        """
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return Counts(row["waiting"], row["due"], row["failing"], row["oldest"])


async def is_same_database(db: Connection) -> bool:
    """Tell whether the database is the one that was marked; the first caller marks it."""
    same: bool = await db.fetchval(
        f"""
        with first as (
            insert into setting (name, value) values ($1, {_CURRENT})
            on conflict do nothing returning true
        )
        select coalesce((select value = {_CURRENT} from setting where name = $1), true)
        """,
        MARK,
    )
    return same


async def mark(db: Connection) -> None:
    """Accept the database as it is now."""
    await db.execute(
        f"""
        insert into setting (name, value) values ($1, {_CURRENT})
        on conflict (name) do update set value = excluded.value
        """,
        MARK,
    )


def _discard(row: asyncpg.Record) -> Discard:
    return Discard(
        row["id"],
        Copy(row["file_id"], row["entry"], row["host_id"], row["disk_id"], row["version"]),
        row["reason"],
        row["queued"],
        row["not_before"],
        row["after_blob"],
        row["tries"],
        row["last_error"],
        row["absent"],
    )
