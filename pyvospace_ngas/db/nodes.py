"""Every query on a node and its children. Rows come in and go out as `Node`."""

from collections.abc import Sequence
from functools import cache
from typing import Final

import asyncpg

from pyvospace_ngas.db import paths
from pyvospace_ngas.db.changes import NOTE, note_many
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.db.rows import TYPES, busy, columns
from pyvospace_ngas.db.rows import node as node_of
from pyvospace_ngas.errors import ContainerNotFound, DuplicateNode
from pyvospace_ngas.model.node import (
    HIDDEN_ID,
    ROOT_ID,
    TRASH_ID,
    Node,
    NodeType,
    Order,
    Sort,
)
from pyvospace_ngas.model.properties import Settings
from pyvospace_ngas.model.uri import NodePath

_LINEAGE: Final = f"""
with recursive line as (
    select {columns("n")}, 0 as height from node n where n.id = $1
     union all
    select {columns("n")}, line.height + 1
      from line cross join lateral (
           select {columns("m")} from node m where m.id = line.parent_id limit 1) n
) select {columns("line")}, false as busy from line order by line.height
"""

_LINEAGES: Final = f"""
with recursive line as (
    select {columns("n")}, n.id as leaf, 0 as height from node n where n.id = any($1)
     union all
    select {columns("n")}, line.leaf, line.height + 1
      from line cross join lateral (
           select {columns("m")} from node m where m.id = line.parent_id limit 1) n
) select {columns("line")}, {busy("line")}, line.leaf from line order by line.leaf, line.height
"""

_MADE: Final = f"""
made as (
    insert into node (parent_id, name, type, owner, group_read, group_write, public_read, target,
                      props, provisional)
         select id, $2, $3, $4, $5, $6, $7, $8, $9, $10 from parent
      returning {columns("node")}
), noted as ({NOTE} made)
select {columns("made")}, false as busy from made
"""
_INSERT: Final = f"""
with parent as (select id from node where id = $1 and type = 4 for share), {_MADE}
"""
_CHANGE: Final = f"""
with changed as (
    update node set props = $3, group_read = $4, group_write = $5, public_read = $6, target = $7,
           version = version + 1, ctime = now()
     where id = $1 and version = $2
 returning {columns("node")}
), noted as ({NOTE} changed)
select {columns("changed")}, {busy("changed")} from changed
"""

_WHOLE: Final = f"select {columns('n')}, {busy('n')} from node n where n.parent_id = $1"
_NAMES: Final = (
    f"select n.id, n.name, n.type, n.target, {busy('n')} from node n where n.parent_id = $1"
)


async def by_id(db: Connection, node_id: int, *, for_update: bool = False) -> Node | None:
    """Return the node, wherever it hangs; ``for_update`` holds its row until the commit."""
    row = await db.fetchrow(
        f"select {columns('n')}, {busy('n')} from node n where n.id = $1"
        + (" for update of n" if for_update else ""),
        node_id,
    )
    return None if row is None else node_of(row)


async def lineage(db: Connection, node_id: int) -> list[Node]:
    """Return the node and all around it, outwards; the last one is the root unless detached."""
    return [node_of(row) for row in await db.fetch(_LINEAGE, node_id)]


async def lineages(db: Connection, ids: Sequence[int]) -> dict[int, list[Node]]:
    """Return the `lineage` of each of the nodes that still are, by its id."""
    lines: dict[int, list[Node]] = {}
    for row in await db.fetch(_LINEAGES, ids):
        lines.setdefault(row["leaf"], []).append(node_of(row))
    return lines


async def insert(  # the parameters are the columns
    db: Connection,
    parent_id: int,
    name: str,
    kind: NodeType,
    owner: str,
    settings: Settings,
    *,
    target: str | None = None,
    provisional: bool = False,
) -> Node:
    """Insert below a container that still is one; it is held FOR SHARE until the commit."""
    values = _values(name, kind, owner, settings, target, provisional=provisional)
    row = await _insert(db, _INSERT, parent_id, *values)
    if row is None:
        raise ContainerNotFound("the container went away meanwhile")
    return node_of(row)


async def insert_below(  # the parameters are the columns
    db: Connection,
    way: Sequence[Node],
    path: NodePath,
    kind: NodeType,
    owner: str,
    settings: Settings,
    *,
    target: str | None = None,
) -> Node | None:
    """Insert at ``path`` if the ``way`` to its container is still what it was; else ``None``."""
    values = _values(path.name, kind, owner, settings, target, provisional=False)
    names, stamp = path.parent.parts, paths.stamp(way)
    row = await _insert(db, _insert_below(len(names)), stamp[0], *values, *names, *stamp[1:])
    return None if row is None else node_of(row)


@cache
def _insert_below(depth: int) -> str:
    """Return the statement that inserts below a container if the stamp of its way is the same.

    Its parameters: the root's version, the columns of `_MADE`, the names, the rest of the stamp.
    """
    tables, condition = paths.straight(depth, first=11)
    is_same = " and ".join(
        f"{mark} = ${number}"
        for mark, number in zip(
            paths.marks(depth).split(", "), (1, *range(11 + depth, 11 + 3 * depth)), strict=True
        )
    )
    return f"""
    with parent as (
        select id from node where type = 4 and id = (
            select m{depth}.id from {tables} where {condition} and {is_same}
        ) for share
    ), {_MADE}
    """


def _values(
    name: str,
    kind: NodeType,
    owner: str,
    settings: Settings,
    target: str | None,
    *,
    provisional: bool,
) -> tuple[object, ...]:
    """Return the columns of a new node, in the order of `_MADE`."""
    sharing = settings.group_read, settings.group_write, settings.public_read
    return name, kind.value, owner, *sharing, target, settings.props, provisional


async def _insert(db: Connection, statement: str, *values: object) -> asyncpg.Record | None:
    try:
        return await db.fetchrow(statement, *values)
    except asyncpg.UniqueViolationError as error:
        raise DuplicateNode(values[1]) from error


async def change(
    db: Connection, node: Node, settings: Settings, target: str | None
) -> Node | None:
    """Store new settings; ``None`` when somebody else changed the node since it was read."""
    row = await db.fetchrow(
        _CHANGE,
        node.id,
        node.version,
        settings.props,
        settings.group_read,
        settings.group_write,
        settings.public_read,
        target,
    )
    return None if row is None else node_of(row)


async def page(
    db: Connection,
    container: int,
    order: Order,
    start: Node | None,
    limit: int,
    *,
    after: bool,
    names_only: bool,
) -> list[Node]:
    """Return children in ``order`` from the child ``start`` on, or ``after`` it.

    With ``names_only`` the nodes have just what a listing of minimal detail shows, if the order
    is by name, as then nothing else is needed to go on.
    """
    bare = names_only and order.sort is Sort.NAME
    keys = ("name",) if order.sort is Sort.NAME else (order.sort.value, "name")
    sign = ("<" if order.descending else ">") + ("" if after else "=")
    direction = " desc" if order.descending else ""
    bound = ""
    values: list[object] = []
    if start is not None:
        values = [getattr(start, key) for key in keys]
        marks = ", ".join(f"${number}" for number in range(3, 3 + len(keys)))
        bound = f" and ({', '.join(f'n.{key}' for key in keys)}) {sign} ({marks})"
    by = ", ".join(f"n.{key}{direction}" for key in keys)
    sql = f"{_NAMES if bare else _WHOLE}{bound} order by {by} limit $2"
    rows = await db.fetch(sql, container, limit, *values)
    return [_named(row, container) if bare else node_of(row) for row in rows]


async def child(db: Connection, container: int, name: str) -> Node | None:
    """Return the child of that name."""
    row = await db.fetchrow(f"{_WHOLE} and n.name = $2", container, name)
    return None if row is None else node_of(row)


async def keep_provisional(db: Connection, node_id: int) -> bool:
    """Say that another push wants a node that has no bytes yet; ``False`` when it is gone."""
    done = await db.execute("update node set ctime = now() where id = $1 and provisional", node_id)
    return done == "UPDATE 1"


async def delete_abandoned(db: Connection, node_id: int | None = None, age: float = 0.0) -> int:
    """Delete nodes that were made for pushes which all ended without bytes; return how many.

    ``age``: only nodes that nobody asked for in so many seconds. A push that negotiates at the
    same moment touches ``ctime``, which is looked at again once its row is free.
    """
    count: int = await db.fetchval(
        f"""
        with gone as (
            delete from node n
             where n.provisional and ($1::bigint is null or n.id = $1)
               and n.ctime <= now() - make_interval(secs => $2)
               and not exists (select 1 from job where job.node_id = n.id
                                  and job.phase in ('PENDING', 'QUEUED', 'EXECUTING'))
               and not exists (select 1 from attempt where attempt.node_id = n.id
                                  and attempt.ended is null and attempt.lease > now())
         returning n.parent_id, n.name
        ), noted as ({note_many("gone")})
        select count(*) from gone
        """,
        node_id,
        age,
    )
    return count


async def property_uris(db: Connection, owner: str | None, limit: int) -> list[str]:
    """Return the property URIs in use on nodes of ``owner``, or on public ones for nobody."""
    rows = await db.fetch(
        f"""
        with recursive gone as (
            select id from node where id in ({TRASH_ID}, {HIDDEN_ID})
             union all
            select n.id from gone join node n on n.parent_id = gone.id and n.type = 4
        )
        select distinct key from (
            select props from node
             where props <> '{{}}' and (owner = $1 or public_read)
               and coalesce(parent_id, {ROOT_ID}) not in (select id from gone) limit 1000000
        ) used, jsonb_object_keys(used.props) as key order by key limit $2
        """,
        owner,
        limit,
    )
    return [row["key"] for row in rows]


def _named(row: asyncpg.Record, parent_id: int) -> Node:
    return Node(
        id=row["id"],
        parent_id=parent_id,
        name=row["name"],
        type=TYPES[row["type"]],
        owner="",
        target=row["target"],
        busy=row["busy"],
    )
