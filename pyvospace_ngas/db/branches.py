"""A node with all that hangs below it: what is there, moving it, copying it, taking it away."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection, transaction
from pyvospace_ngas.errors import ContainerNotFound, DuplicateNode
from pyvospace_ngas.model.node import HIDDEN_ID, TRASH_ID, Node, NodeType
from pyvospace_ngas.model.standard import IS_LOCKED, QUOTA
from pyvospace_ngas.model.uri import NodePath

# Moves and detaches of containers queue here: two that checked at once could make a cycle.
STRUCTURE_LOCK: Final = 0x74726565
# Waits for other moves and detaches of containers, and keeps them out until the commit. It is a
# statement of its own, the first of its transaction where that can be: one that checks the chain
# as well would have its snapshot from before the wait, and two moves could make a cycle.
ALONE: Final = f"select pg_advisory_xact_lock({STRUCTURE_LOCK})"
# The same, but for others that do so.
SHARED: Final = f"select pg_advisory_xact_lock_shared({STRUCTURE_LOCK})"

_COPY: Final = f"""
with recursive tree as (
    select id from node where id = $1
     union all
    select n.id from tree join node n on n.parent_id = tree.id and not n.provisional
), numbered as (
    select id, case when id = $1 then $3::bigint
                    else nextval(pg_get_serial_sequence('node', 'id')) end as copy from tree
)
insert into node (id, parent_id, name, type, owner, group_read, group_write, public_read, length,
                  md5, blob_id, target, props)
     select this.copy, coalesce(above.copy, {HIDDEN_ID}),
            case when n.id = $1 then this.copy::text else n.name end, n.type, $2, n.group_read,
            n.group_write, n.public_read, n.length, n.md5, n.blob_id, n.target,
            n.props - '{QUOTA}' - '{IS_LOCKED}'
       from numbered this join node n on n.id = this.id
       left join numbered above on above.id = n.parent_id and n.id <> $1
"""


async def containers_below(
    db: Connection, node_id: int, limit: int
) -> tuple[int, list[tuple[str, str | None]]]:
    """Return how many containers the tree has, counting to ``limit`` + 1, and their rights.

    The rights are the distinct pairs of owner and ``groupwrite``.
    """
    rows = await db.fetch(
        """
        with recursive tree as (
            select id, owner, group_write from node where id = $1 and type = 4
             union all
            select n.id, n.owner, n.group_write
              from tree join node n on n.parent_id = tree.id and n.type = 4
        ), bounded as (select owner, group_write from tree limit $2)
        select owner, group_write, count(*) as number from bounded group by owner, group_write
        """,
        node_id,
        limit + 1,
    )
    rights = [(row["owner"], row["group_write"]) for row in rows]
    return sum(row["number"] for row in rows), rights


async def rights_below(db: Connection, node_id: int) -> list[Node]:
    """Return one bare node for each distinct set of rights in the whole tree."""
    rows = await db.fetch(
        """
        with recursive tree as (
            select id, owner, group_read, group_write, public_read from node where id = $1
             union all
            select n.id, n.owner, n.group_read, n.group_write, n.public_read
              from tree join node n on n.parent_id = tree.id and not n.provisional
        ) select distinct owner, group_read, group_write, public_read from tree
        """,
        node_id,
    )
    return [
        Node(
            id=node_id,
            parent_id=None,
            name="",
            type=NodeType.NODE,
            owner=row["owner"],
            group_read=row["group_read"],
            group_write=row["group_write"],
            public_read=row["public_read"],
        )
        for row in rows
    ]


async def holds_files_of(db: Connection, node_id: int, entries: Sequence[str]) -> bool:
    """Tell whether bytes of the tree below ``node_id`` lie at one of ``entries`` (host:port)."""
    found: bool = await db.fetchval(
        """
        with recursive tree as (
            select id, blob_id from node where id = $1
             union all
            select n.id, n.blob_id from tree join node n on n.parent_id = tree.id
        )
        select exists (select 1 from tree join copy on copy.blob_id = tree.blob_id
                        where copy.entry = any($2))
        """,
        node_id,
        list(entries),
    )
    return found


async def holds_locked(db: Connection, node_id: int) -> bool:
    """Tell whether anything below the container ``node_id`` is locked."""
    found: bool = await db.fetchval(
        f"""
        with recursive tree as (
            select id from node where id = $1
             union all
            select n.id from tree join node n on n.parent_id = tree.id and n.type = 4
        )
        select exists (select 1 from tree join node n on n.parent_id = tree.id
                        where n.props ? '{IS_LOCKED}')
        """,
        node_id,
    )
    return found


async def lock_structure(db: Connection) -> None:
    """Wait as `ALONE` says, within a transaction."""
    await db.execute(ALONE)


async def attach(
    db: Connection, node_id: int, origin: tuple[int | None, str], parent_id: int, name: str
) -> int | None:
    """Hang a node, with all below it, at another place; return the version that it has there.

    ``None``, and nothing is done, when it left ``origin``.

    ``origin`` is its container and its name there: a file may be deleted at any time, and must
    not be moved out of the trash, from which it would be purged wherever it is.
    """
    try:
        row = await db.fetchrow(
            """
            with parent as (
                select id from node where id = $2 and type = 4 for share
            ), moved as (
                update node set parent_id = parent.id, name = $3, ctime = now(),
                       version = version + 1
                  from parent where node.id = $1 and node.parent_id = $4 and node.name = $5
             returning node.version
            ), noted as (
                insert into change (parent_id, name)
                     select place.parent_id, place.name
                       from moved, (values ($2::bigint, $3::text), ($4::bigint, $5::text))
                                   as place (parent_id, name)
                      where place.parent_id >= 0 -- neither the trash nor where copies are made
            )
            select exists (select from parent) as is_there, (select version from moved) as version
            """,
            node_id,
            parent_id,
            name,
            *origin,
        )
    except asyncpg.UniqueViolationError as error:
        raise DuplicateNode(name) from error
    assert row is not None  # noqa: S101 - it is one row whatever is found
    if not row["is_there"]:
        raise ContainerNotFound("the container went away meanwhile")
    version: int | None = row["version"]
    return version


async def copy_tree(db: Connection, node_id: int, owner: str) -> int | None:
    """Copy a tree below the hidden container, sharing its bytes; return the copy's id.

    ``None`` when bytes of the tree were replaced and released between read and write: try again.
    """
    copied: int = await db.fetchval("select nextval(pg_get_serial_sequence('node', 'id'))")
    try:
        async with transaction(db):  # a savepoint: the key error undoes only this try
            await db.execute(_COPY, node_id, owner, copied)
    except asyncpg.ForeignKeyViolationError:
        return None
    return copied


async def detach(db: Connection, node: Node, path: NodePath, who: str | None) -> bool:
    """Move the tree out of sight into the trash; ``False`` when it is not there any more."""
    moved = await db.fetchval(
        """
        with gone as (
            update node set parent_id = $4, name = id::text, version = version + 1
             where id = $1 and parent_id = $2 and name = $3 returning id
        ), noted as (
            insert into change (parent_id, name) select $2::bigint, $3::text from gone
        )
        insert into trash (node_id, parent_id, path, name, deleted_by)
             select id, $2, $5, $3, $6 from gone returning node_id
        """,
        node.id,
        node.parent_id,
        node.name,
        TRASH_ID,
        str(path),
        who,
    )
    return moved is not None


async def delete_leaves(db: Connection, parent_id: int, limit: int) -> tuple[int, list[int]]:
    """Delete up to ``limit`` children that are no containers; return how many, and their blobs."""
    rows = await db.fetch(
        """
        delete from node where id = any(array(
            select id from node where parent_id = $1 and type <> 4
             order by id limit $2 for update skip locked
        )) returning blob_id
        """,
        parent_id,
        limit,
    )
    return len(rows), [row["blob_id"] for row in rows if row["blob_id"] is not None]


async def delete_one(db: Connection, node_id: int) -> list[int]:
    """Delete one node and return its blob; one that has children (again) is left alone."""
    try:
        async with transaction(db):  # a savepoint: a child made meanwhile must not end the rest
            rows = await db.fetch("delete from node where id = $1 returning blob_id", node_id)
    except asyncpg.ForeignKeyViolationError:
        return []
    return [row["blob_id"] for row in rows if row["blob_id"] is not None]


async def child_containers(db: Connection, parent_id: int, limit: int) -> list[int]:
    """Return containers directly below ``parent_id``."""
    rows = await db.fetch(
        "select id from node where parent_id = $1 and type = 4 order by id limit $2",
        parent_id,
        limit,
    )
    return [row["id"] for row in rows]
