"""Queries that walk a tree to pack it, and that build one to be attached at once."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from pyvospace_ngas.db.changes import note_many
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import ContainerNotFound, DuplicateNode
from pyvospace_ngas.model.content import Copy
from pyvospace_ngas.model.node import HIDDEN_ID, ROOT_ID, Node, NodeType
from pyvospace_ngas.model.tree import Entry, Growth, Leaf, Page, Reserved

_FIELDS: Final = (
    "n.id, n.name, n.type, n.owner, n.group_read, n.group_write, n.public_read, n.length,"
    " n.md5, n.mtime, n.blob_id, n.target,"
    " array(select (file_id, entry, host_id, disk_id, version) from copy"
    " where copy.blob_id = n.blob_id) as copies"
)

# The standing is seen in the same snapshot as the rows, and is there without any.
_PAGE: Final = f"""
with recursive line as (
    select n.id, n.parent_id from node n where n.id = $1
     union all
    select n.id, n.parent_id from line join node n on n.id = line.parent_id
), trunk as (
    select n.id, n.parent_id from node n where n.id = $2
     union all
    select n.id, n.parent_id from trunk join node n on n.id = trunk.parent_id
), standing as (
    select exists (select 1 from line where id = $2) as is_below,
           exists (select 1 from trunk where id = {ROOT_ID}) as is_rooted,
           (select phase from job where id = $3) as job_phase
)
select standing.is_below, standing.is_rooted, standing.job_phase, page.*
  from standing left join lateral (
    select {_FIELDS} from node n
     where n.parent_id = $1 and n.name > $4 and not n.provisional order by n.name limit $5
  ) page on true order by page.name
"""


async def page(
    db: Connection, container: int, root: int, job_id: str, after: str, limit: int
) -> Page:
    """Return children of ``container`` by name, and whether it still hangs below ``root``."""
    rows = await db.fetch(_PAGE, container, root, job_id, after, limit)
    found = [_entry(row, container) for row in rows if row["id"] is not None]
    first = rows[0]
    return Page(found, first["is_below"], first["is_rooted"], first["job_phase"])


async def entry(db: Connection, node_id: int) -> Entry | None:
    """Return one node as it is now."""
    row = await db.fetchrow(f"select {_FIELDS}, parent_id from node n where n.id = $1", node_id)
    return None if row is None else _entry(row, row["parent_id"])


async def start(db: Connection, attempt_id: int, owner: str, like: Node) -> int:
    """Make the hidden root of what ``attempt_id`` unpacks, shared as ``like`` is."""
    root: int = await db.fetchval(
        """
        insert into node (parent_id, name, type, owner, group_read, group_write, public_read)
             values ($1, $2, 4, $3, $4, $5, $6) returning id
        """,
        HIDDEN_ID,
        f"unpack-{attempt_id}",
        owner,
        like.group_read,
        like.group_write,
        like.public_read,
    )
    await db.execute("insert into unpack (attempt_id, node_id) values ($1, $2)", attempt_id, root)
    return root


async def reserve(
    db: Connection, growth: Growth, count: int, executor: str, lease: float
) -> list[Reserved]:
    """Claim file ids for members of the archive; an attempt each, so that the sweep knows them.

    Their numbers are below 0, where no upload of the same job looks for its own: that one would
    wait here for this archive to end, which waited for the number.
    """
    rows = await db.fetch(
        """
        insert into attempt (job_id, node_id, node_version, number, file_id, executor, lease,
                             unpack_id)
             select $1, $2, 1, seen.number - n,
                    setting.value || '-' || replace(gen_random_uuid()::text, '-', ''),
                    $4, now() + make_interval(secs => $5), $6
               from generate_series(1, $3::int) n, setting,
                    (select least(min(number), 0) as number from attempt where job_id = $1) seen
              where setting.name = 'space_id'
          returning id, file_id
        """,
        growth.job_id,
        growth.root_id,
        count,
        executor,
        lease,
        growth.attempt_id,
    )
    return [Reserved(row["id"], row["file_id"]) for row in rows]


async def renew(db: Connection, attempt_id: int, lease: float) -> bool:
    """Say that an archive still arrives, with all its members; ``False`` when that has ended."""
    rows = await db.fetch(
        """
        update attempt set lease = now() + make_interval(secs => $2)
         where ended is null and (id = $1 or unpack_id = $1)
           and exists (select 1 from job where job.id = job_id and job.phase = 'EXECUTING')
        returning id
        """,
        attempt_id,
        lease,
    )
    return any(row["id"] == attempt_id for row in rows)


async def child(db: Connection, parent_id: int, name: str) -> tuple[int, NodeType] | None:
    """Return the id and the type of a child."""
    row = await db.fetchrow(
        "select id, type from node where parent_id = $1 and name = $2", parent_id, name
    )
    return None if row is None else (row["id"], NodeType(row["type"]))


async def grow(db: Connection, growth: Growth, leaves: Sequence[Leaf]) -> list[tuple[int, str]]:
    """Insert ``leaves`` where their names are free; return the parent and name of each that was.

    All are shared as the container that the tree is for.
    """
    rows = await db.fetch(
        """
        insert into node (parent_id, name, type, owner, group_read, group_write, public_read,
                          length, md5, mtime, blob_id, target)
             select * from (
                select parent, name, type, $1::text, $2::text, $3::text, $4::boolean, length, md5,
                       mtime, blob, target
                  from unnest($5::bigint[], $6::text[], $7::smallint[], $8::bigint[], $9::text[],
                              $10::timestamptz[], $11::bigint[], $12::text[])
                       as leaf (parent, name, type, length, md5, mtime, blob, target)
             ) leaf
        on conflict (parent_id, name) do nothing returning parent_id, name
        """,
        growth.owner,
        growth.like.group_read,
        growth.like.group_write,
        growth.like.public_read,
        [leaf.parent_id for leaf in leaves],
        [leaf.name for leaf in leaves],
        [leaf.type.value for leaf in leaves],
        [leaf.length for leaf in leaves],
        [leaf.md5 for leaf in leaves],
        [leaf.mtime for leaf in leaves],
        [leaf.blob_id for leaf in leaves],
        [leaf.target for leaf in leaves],
    )
    return [(row["parent_id"], row["name"]) for row in rows]


async def taken(db: Connection, container: int, names: Sequence[str]) -> str | None:
    """Return one of ``names`` that ``container`` has already."""
    found: str | None = await db.fetchval(
        "select name from node where parent_id = $1 and name = any($2) order by name limit 1",
        container,
        list(names),
    )
    return found


async def become_link(db: Connection, node_id: int, target: str) -> int | None:
    """Make a LinkNode out of a file; return the blob that it had."""
    blob: int | None = await db.fetchval("select blob_id from node where id = $1", node_id)
    await db.execute(
        """
        update node set type = 5, target = $2, blob_id = null, length = 0, md5 = null
         where id = $1
        """,
        node_id,
        target,
    )
    return blob


async def kept(db: Connection, attempt_ids: Sequence[int]) -> None:
    """End attempts of members whose bytes nodes have now."""
    await db.execute(
        "update attempt set ended = now(), outcome = 'committed' where id = any($1)",
        list(attempt_ids),
    )


async def attach(db: Connection, root_id: int, container: int) -> None:
    """Hang all that was unpacked into ``container``, and forget the hidden root.

    Raises `DuplicateNode` when a name was taken meanwhile.
    """
    parent = await db.fetchval(
        "select id from node where id = $1 and type = 4 for share", container
    )
    if parent is None:
        raise ContainerNotFound("the container went away meanwhile")
    try:
        await db.execute(
            f"""
            with attached as (
                update node set parent_id = $2 where parent_id = $1 returning parent_id, name
            ) {note_many("attached")}
            """,
            root_id,
            container,
        )
    except asyncpg.UniqueViolationError as error:
        raise DuplicateNode("a name of the archive was taken meanwhile") from error
    await db.execute("delete from unpack where node_id = $1", root_id)
    await db.execute("delete from node where id = $1", root_id)


async def unused(db: Connection, attempt_ids: Sequence[int]) -> None:
    """End attempts under whose file ids nothing was ever sent: there is nothing to sweep."""
    await db.execute(
        """
        update attempt set ended = now(), outcome = 'failed', swept = now()
         where id = any($1) and ended is null
        """,
        list(attempt_ids),
    )


async def abandon(db: Connection, attempt_id: int) -> None:
    """End what still runs of an archive that is not unpacked to its end."""
    await unused(db, [attempt_id])
    await db.execute(
        """
        update attempt set ended = now(), outcome = 'failed'
         where unpack_id = $1 and ended is null
        """,
        attempt_id,
    )


async def abandoned(db: Connection, limit: int) -> list[int]:
    """Return hidden roots of archives that were not unpacked to their end."""
    rows = await db.fetch(
        """
        select unpack.node_id from unpack left join attempt on attempt.id = unpack.attempt_id
         where attempt.id is null or attempt.outcome <> 'committed'
         order by unpack.node_id limit $1
        """,
        limit,
    )
    return [row["node_id"] for row in rows]


async def forget(db: Connection, root_id: int) -> None:
    """Forget a hidden root that was purged."""
    await db.execute("delete from unpack where node_id = $1", root_id)


def _entry(row: asyncpg.Record, parent_id: int) -> Entry:
    node = Node(
        id=row["id"],
        parent_id=parent_id,
        name=row["name"],
        type=NodeType(row["type"]),
        owner=row["owner"],
        group_read=row["group_read"],
        group_write=row["group_write"],
        public_read=row["public_read"],
        length=row["length"],
        md5=row["md5"],
        mtime=row["mtime"],
        blob_id=row["blob_id"],
        target=row["target"],
    )
    return Entry(node, [Copy(*copy) for copy in row["copies"]])
