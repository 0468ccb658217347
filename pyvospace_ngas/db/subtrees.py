"""Every query of the jobs that go through a whole tree, a page at a time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from pyvospace_ngas.db.changes import NOTE
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model import walk as model
from pyvospace_ngas.model.node import TRASH_ID, Node, NodeType
from pyvospace_ngas.model.properties import Settings
from pyvospace_ngas.model.standard import IS_LOCKED
from pyvospace_ngas.model.walk import Frame, Walk

_COLUMNS: Final = (
    "n.id, n.parent_id, n.name, n.type, n.owner, n.group_read, n.group_write, n.public_read,"
    " n.length, n.props, n.version"
)


@dataclass(frozen=True, slots=True)
class Tree:
    """What hangs at a container: how many nodes, the rights of its containers, any lock.

    It counts itself. The rights are the distinct pairs of owner and ``groupwrite``.
    """

    nodes: int
    rights: Sequence[tuple[str, str | None]]
    locked: bool


async def load(db: Connection, job_id: str) -> Walk:
    """Return how far a job has come."""
    return model.read(await db.fetchval("select detail -> 'walk' from job where id = $1", job_id))


async def save(db: Connection, job_id: str, executor: str, walk: Walk) -> bool:
    """Store how far a job has come; ``False`` when it is not its executor's any more."""
    done = await db.execute(
        """
        update job set detail = detail || $3
         where id = $1 and executor = $2 and phase = 'EXECUTING'
        """,
        job_id,
        executor,
        {"walk": model.words(walk)},
    )
    return bool(done == "UPDATE 1")


async def page(db: Connection, frames: Sequence[Frame], limit: int) -> list[tuple[int, str, int]]:
    """Return up to ``limit`` children of each frame's container: its id, their name and id."""
    rows = await db.fetch(
        """
        select f.container, n.name, n.id from unnest($1::bigint[], $2::text[]) f (container, after)
         cross join lateral (select name, id from node where parent_id = f.container
                                and name > f.after collate "C" order by name limit $3) n
         order by f.container, n.name
        """,
        [frame.container for frame in frames],
        [frame.after for frame in frames],
        limit,
    )
    return [(row["container"], row["name"], row["id"]) for row in rows]


async def hold(db: Connection, ids: Sequence[int]) -> list[Node]:
    """Return those nodes as they are now, held until the commit: containers first, then by id."""
    rows = await db.fetch(
        f"""
        select {_COLUMNS} from node n where n.id = any($1)
         order by (n.type = 4) desc, n.id for no key update of n
        """,
        ids,
    )
    return [_node(row) for row in rows]


async def still_below(db: Connection, ids: Sequence[int], root: int) -> set[int]:
    """Return those of the nodes that are ``root`` or hang below it."""
    rows = await db.fetch(
        """
        with recursive line as (
            select id as start, id, parent_id from node where id = any($1)
             union all
            select line.start, n.id, n.parent_id
              from line join node n on n.id = line.parent_id where line.id <> $2
        ) select start from line where id = $2
        """,
        ids,
        root,
    )
    return {row["start"] for row in rows}


async def change(db: Connection, changes: Sequence[tuple[int, Settings]]) -> None:
    """Store new settings of nodes that the caller holds."""
    await db.execute(
        f"""
        with changed as (
            update node set props = c.props, group_read = c.group_read,
                   group_write = c.group_write, public_read = c.public_read,
                   version = version + 1, ctime = now()
              from unnest($1::bigint[], $2::jsonb[], $3::text[], $4::text[], $5::boolean[])
                   c (id, props, group_read, group_write, public_read)
             where node.id = c.id
         returning node.parent_id, node.name
        ) {NOTE} changed
        """,
        [node_id for node_id, _ in changes],
        [dict(settings.props) for _, settings in changes],
        [settings.group_read for _, settings in changes],
        [settings.group_write for _, settings in changes],
        [settings.public_read for _, settings in changes],
    )


async def leaves(db: Connection, container: int, after: str, limit: int) -> list[Node]:
    """Return children that are no containers, in name order."""
    rows = await db.fetch(
        f"""
        select {_COLUMNS} from node n
         where n.parent_id = $1 and n.name > $2 and n.type <> 4 order by n.name limit $3
        """,
        container,
        after,
        limit,
    )
    return [_node(row) for row in rows]


async def count_leaves(db: Connection, container: int) -> int:
    """Return how many children are no containers."""
    count: int = await db.fetchval(
        "select count(*) from node where parent_id = $1 and type <> 4", container
    )
    return count


async def containers(db: Connection, container: int, after: str, limit: int) -> list[Node]:
    """Return children that are containers, in name order."""
    rows = await db.fetch(
        f"""
        select {_COLUMNS} from node n
         where n.parent_id = $1 and n.name > $2 and n.type = 4 order by n.name limit $3
        """,
        container,
        after,
        limit,
    )
    return [_node(row) for row in rows]


async def forest(db: Connection, roots: Sequence[int], limit: int) -> dict[int, Tree] | None:
    """Return what hangs at each of some containers; ``None`` for over ``limit`` containers."""
    rows = await db.fetch(
        f"""
        with recursive folder as (
            select id as root, id, owner, group_write from node where id = any($1)
             union all
            select folder.root, n.id, n.owner, n.group_write
              from folder join node n on n.parent_id = folder.id and n.type = 4
        ), bounded as (
            select root, id, owner, group_write from folder limit $2
        )
        select b.root, b.owner, b.group_write, count(*) as folders,
               sum(within.number)::bigint as number, bool_or(within.locked) as locked
          from bounded b cross join lateral (
            select count(*) as number, bool_or(n.props ? '{IS_LOCKED}') as locked
              from node n where n.parent_id = b.id) within
         group by b.root, b.owner, b.group_write
        """,
        roots,
        limit + 1,
    )
    if sum(row["folders"] for row in rows) > limit:
        return None
    trees: dict[int, Tree] = {}
    for row in rows:
        before = trees.get(row["root"], Tree(1, (), False))
        trees[row["root"]] = Tree(
            before.nodes + row["number"],
            (*before.rights, (row["owner"], row["group_write"])),
            before.locked or bool(row["locked"]),
        )
    return trees


async def is_empty(db: Connection, container: int) -> bool:
    """Tell whether nothing hangs in the container."""
    empty: bool = await db.fetchval(
        "select not exists (select 1 from node where parent_id = $1)", container
    )
    return empty


async def held_at(db: Connection, ids: Sequence[int], entries: Collection[str]) -> set[int]:
    """Return those of the nodes whose bytes lie at one of ``entries`` (host:port)."""
    rows = await db.fetch(
        """
        select distinct node.id from node join copy on copy.blob_id = node.blob_id
         where node.id = any($1) and copy.entry = any($2)
        """,
        ids,
        list(entries),
    )
    return {row["id"] for row in rows}


async def detach_children(
    db: Connection, container: int, path: str, children: Sequence[Node], who: str | None
) -> int:
    """Move children of one container, whose path is ``path``, to the trash; return how many.

    Each goes with all below it.
    """
    done: str = await db.execute(
        """
        with wanted as (
            select id, name from unnest($2::bigint[], $3::text[]) w (id, name)
        ), gone as (
            update node set parent_id = $5, name = node.id::text, version = version + 1
              from wanted
             where node.id = wanted.id and node.parent_id = $1 and node.name = wanted.name
         returning node.id
        ), noted as (
            insert into change (parent_id, name)
                 select $1::bigint, name from gone join wanted using (id)
        )
        insert into trash (node_id, parent_id, path, name, deleted_by)
             select id, $1, $4 || '/' || name, name, $6 from gone join wanted using (id)
        """,
        container,
        [child.id for child in children],
        [child.name for child in children],
        path.rstrip("/"),
        TRASH_ID,
        who,
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
        props=row["props"],
        version=row["version"],
    )
