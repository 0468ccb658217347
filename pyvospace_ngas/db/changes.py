"""Every query on what has changed in the tree: written down with each change, read in order.

A transaction's number is given when it begins to write, and it commits at any time after. So only
what is below the oldest transaction that still runs is read: nothing can come before it any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeType

# Goes on with the name of rows that have changed in the same statement: no round trip more, and
# 2 % more of PostgreSQL's time a createNode (measured), so that no trigger was tried.
NOTE: Final = "insert into change (parent_id, name) select parent_id, name from"
# For a statement that may change any number of rows, as who follows reads a transaction whole. A
# name of the root's own stands for all of the tree.
_MOST: Final = 1000
_MARKS: Final = 30  # seconds between two marks, at most

_FIELDS: Final = (
    "id", "parent_id", "name", "type", "owner", "group_read", "group_write", "public_read",
    "length", "version",
)  # fmt: skip

# Whole transactions, so that a number is all that one needs to go on from.
_READ: Final = """
with seen as materialized (select pg_current_snapshot() as snapshot)
select pg_snapshot_xmin(snapshot)::text::bigint as "end",
       pg_snapshot_xmax(snapshot)::text::bigint as next,
       (select tx::text::bigint from change_mark order by change_mark.tx limit 1) as first,
       noted.tx::text::bigint as number, noted.parent_id, noted.name
  from seen left join lateral (
    select tx, parent_id, name from change
     where tx >= $1::text::xid8 and tx < pg_snapshot_xmin(seen.snapshot)
     order by change.tx fetch first $2 rows with ties
  ) noted on true order by noted.tx
"""


def note_many(table: str) -> str:
    """Return the statement that notes the names in ``table``, or too many of them as one."""
    return f"""
        insert into change (parent_id, name)
             select parent_id, name from {table} where (select count(*) from {table}) <= {_MOST}
              union all
             select null, '' where (select count(*) from {table}) > {_MOST}
    """


def _columns(table: str) -> str:
    return ", ".join(f"{table}.{field}" for field in _FIELDS)


# Each step is a look-up, as where a path is resolved.
_LINES: Final = f"""
with recursive line as (
    select n.id as start, {_columns("n")}, 0 as height from node n where n.id = any($1)
     union all
    select line.start, {_columns("n")}, line.height + 1
      from line cross join lateral (
           select {_columns("m")} from node m where m.id = line.parent_id limit 1) n
) select line.start, {_columns("line")} from line order by line.start, line.height desc
"""

_HOLDERS: Final = f"""
select {_columns("n")}
  from unnest($1::bigint[], $2::text[]) wanted (parent_id, name)
 cross join lateral (
    select {_columns("m")} from node m
     where m.parent_id = wanted.parent_id and m.name = wanted.name collate "C" limit 1) n
"""


@dataclass(frozen=True, slots=True)
class Position:
    """What can be read: from ``first`` to before ``end``; no transaction has a number ``next``."""

    first: int
    end: int
    next: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name that something was done about, in the transaction ``number``."""

    number: int
    parent_id: int | None
    name: str


async def position(db: Connection) -> Position:
    """Return what can be read now."""
    return (await read(db, 2**62, 1))[0]


async def read(db: Connection, since: int, limit: int) -> tuple[Position, list[Name]]:
    """Return ``limit`` names, and all more of the last transaction, in order of transactions."""
    rows = await db.fetch(_READ, str(since), limit)
    row = rows[0]
    names = [
        Name(row["number"], row["parent_id"], row["name"])
        for row in rows
        if row["number"] is not None
    ]
    first = row["end"] if row["first"] is None else row["first"]
    return Position(first, row["end"], row["next"]), names


async def lines(db: Connection, containers: Collection[int]) -> dict[int, list[Node]]:
    """Return each container with all around it, outermost first; detached ones are left out."""
    found: dict[int, list[Node]] = {}
    for row in await db.fetch(_LINES, list(containers)):
        found.setdefault(row["start"], []).append(_node(row))
    return {start: line for start, line in found.items() if line[0].id == ROOT_ID}


async def holders(
    db: Connection, places: Sequence[tuple[int, str]]
) -> dict[tuple[int | None, str], Node]:
    """Return the nodes that have those names in those containers."""
    rows = await db.fetch(_HOLDERS, [parent for parent, _ in places], [name for _, name in places])
    return {(row["parent_id"], row["name"]): _node(row) for row in rows}


async def mark(db: Connection) -> None:
    """Note how far transactions have come, unless that was done a moment ago."""
    await db.execute(
        """
        insert into change_mark (tx)
             select pg_snapshot_xmin(pg_current_snapshot())
              where not exists (select 1 from change_mark
                                 where at > now() - make_interval(secs => $1))
        on conflict (tx) do update set at = now()
        """,
        _MARKS,
    )


async def forget_foreign(db: Connection) -> None:
    """Delete what another server's transactions have written, before the database was restored.

    Their numbers are still to come here.
    """
    for table in ("change", "change_mark"):
        await db.execute(
            f"delete from {table} where tx >= pg_snapshot_xmax(pg_current_snapshot())"
        )


async def advance(db: Connection, age: float) -> int:
    """Give up what is older than ``age`` seconds; return the first number that is kept."""
    await db.execute(
        """
        delete from change_mark
         where tx < (select old.tx from change_mark old
                      where old.at <= now() - make_interval(secs => $1)
                      order by old.tx desc limit 1)
        """,
        age,
    )
    return (await position(db)).first


async def prune(db: Connection, first: int, limit: int) -> int:
    """Delete up to ``limit`` rows that are not kept; return how many."""
    done: str = await db.execute(
        """
        delete from change where ctid = any(array(
            select ctid from change where tx < $1::text::xid8 limit $2 for update skip locked))
        """,
        str(first),
        limit,
    )
    return int(done.rpartition(" ")[2])


def _node(row: asyncpg.Record) -> Node:
    return Node(
        id=row["id"],
        parent_id=row["parent_id"],
        name=row["name"],
        type=NodeType(row["type"]),
        owner=row["owner"],
        group_read=row["group_read"],
        group_write=row["group_write"],
        public_read=row["public_read"],
        length=row["length"],
        version=row["version"],
    )
