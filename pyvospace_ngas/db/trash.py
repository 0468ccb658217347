"""Every query on the trash, but for the deletes that fill it (`branches.detach` and its like)."""

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.node import TRASH_ID, NodeType
from pyvospace_ngas.model.trash import Position, Trashed

_SELECT = """
select t.node_id, t.parent_id, t.path, t.name, t.deleted_by, t.deleted, n.type, n.length, n.owner
  from trash t join node n on n.id = t.node_id
"""


async def listed(
    db: Connection, deleted_by: str | None, after: Position | None, limit: int
) -> list[Trashed]:
    """Return what ``deleted_by`` (``None``: anybody) deleted, the last first."""
    rows = await db.fetch(
        f"""
        {_SELECT}
         where t.purging is null and ($1::text is null or t.deleted_by = $1)
           and ($2::timestamptz is null or (t.deleted, t.node_id) < ($2, $3))
         order by t.deleted desc, t.node_id desc limit $4
        """,
        deleted_by,
        None if after is None else after.deleted,
        0 if after is None else after.id,
        limit,
    )
    return [_trashed(row) for row in rows]


async def hold(db: Connection, node_id: int) -> Trashed | None:
    """Return what can still be had back, held until the commit: no purge begins meanwhile."""
    row = await db.fetchrow(
        f"{_SELECT} where t.node_id = $1 and t.purging is null for update of t", node_id
    )
    return None if row is None else _trashed(row)


async def forget(db: Connection, node_id: int) -> None:
    """Take the entry out; the tree itself is hung elsewhere in the same transaction."""
    await db.execute("delete from trash where node_id = $1", node_id)


async def condemn(db: Connection, node_id: int) -> None:
    """Let the tree be purged next."""
    await db.execute(
        "update trash set purging = now() where node_id = $1 and purging is null", node_id
    )


async def take_due(db: Connection, delay: int) -> int | None:
    """Return a tree to be purged, which cannot be restored from now on.

    It was condemned, was begun by a server that died, or has been here for ``delay`` seconds.
    """
    found: int | None = await db.fetchval(
        """
        update trash set purging = coalesce(purging, now()) where node_id = (
            select t.node_id from trash t join node n on n.id = t.node_id
             where (t.purging is not null or t.deleted <= now() - make_interval(secs => $1))
               and n.parent_id = $2
             order by t.purging, t.deleted limit 1)
        returning node_id
        """,
        float(delay),
        TRASH_ID,
    )
    return found


def _trashed(row: asyncpg.Record) -> Trashed:
    return Trashed(
        row["node_id"],
        row["parent_id"],
        row["path"],
        row["name"],
        NodeType(row["type"]),
        row["length"],
        row["owner"],
        row["deleted_by"],
        row["deleted"],
    )
