"""From a path to the nodes on the way there, in one round trip.

Containers seldom change. So of those on the way PostgreSQL tells only which version they are now,
and what a connection has read of the same version is not sent, nor read, again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

import asyncpg

from pyvospace_ngas.db import servers
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.db.rows import busy, columns, node
from pyvospace_ngas.model.node import ROOT_ID, Node
from pyvospace_ngas.model.uri import NodePath

_REMEMBERED: Final = 128  # containers of one connection,
_SMALL: Final = 10_000  # unless those on the way have more characters of properties

# Lateral with a limit: each step can only be a look-up. As a join it was planned, while the table
# was empty, as a hash of all nodes, and that plan was kept: 9 ms a look-up at 12,000 nodes.
_STEP: Final = """
      from {way} cross join lateral (
           select {fields} from node m
            where m.parent_id = {way}.id and m.name = split_part($1, '/', {way}.depth + 1)
            limit 1) n
"""
# To what exists of a path, as `joined` writes it: ``last``, with the `stamp` of what is above it.
WAY: Final = f"""
with recursive way as (
    select root.id, root.version, 0 as depth, ''::text as above
      from node root where root.id = {ROOT_ID}
     union all
    select n.id, n.version, way.depth + 1, way.above || way.id || '.' || way.version || ' '
    {_STEP.format(way="way", fields="m.id, m.version")}
), last as (select id, version, depth, above from way order by depth desc limit 1)"""
_LAST: Final = f"""
    select {columns("n")}, {busy("n")}, last.depth, last.above
           from last cross join lateral (select * from node m where m.id = last.id limit 1) n
"""
_RESOLVE: Final = f"{WAY} {_LAST}"
_RESOLVE_FOR_BYTES: Final = (
    f"{WAY} select found.*, array({servers.LIVE}) as servers from ({_LAST}) found"
)
_WHOLE: Final = f"""
with recursive chain as (
    select {columns("root")}, 0 as depth from node root where root.id = {ROOT_ID}
     union all
    select {columns("n")}, chain.depth + 1 {_STEP.format(way="chain", fields=columns("m"))}
) select {columns("chain")}, {busy("chain")} from chain order by chain.depth
"""


class _Memory:
    """What one connection has read of containers: the way to each, and its stamp."""

    def __init__(self) -> None:
        self._ways: OrderedDict[str, tuple[str, tuple[Node, ...]]] = OrderedDict()

    def way(self, container: str) -> tuple[str, tuple[Node, ...]]:
        """Return the stamp of the way to ``container``, itself included, and its nodes."""
        return self._ways.get(container, ("", ()))

    def keep(self, container: str, way: Sequence[Node]) -> None:
        """Remember the way to a container as it is in the database for all to see."""
        if sum(len(text) for each in way for text in each.props.values()) > _SMALL:
            return
        self._ways[container] = (stamp(way), tuple(way))
        self._ways.move_to_end(container)
        if len(self._ways) > _REMEMBERED:
            self._ways.popitem(last=False)


# By connection: one that was lost takes along what it has seen of a database that may be another
# one now, such as an older state of it that was restored.
_MEMORIES: Final[WeakKeyDictionary[Connection, _Memory]] = WeakKeyDictionary()


async def resolve(db: Connection, path: NodePath) -> list[Node]:
    """Return the nodes from the root down to ``path``, as far as they exist."""
    row = await db.fetchrow(_RESOLVE, joined(path))
    assert row is not None  # noqa: S101  the root always is
    return await _chain(db, path, row)


async def resolve_for_bytes(db: Connection, path: NodePath) -> tuple[list[Node], list[str]]:
    """`resolve`, and the storage servers that are alive, in the same round trip."""
    row = await db.fetchrow(_RESOLVE_FOR_BYTES, joined(path))
    assert row is not None  # noqa: S101  the root always is
    return await _chain(db, path, row), row["servers"]


def remembered(db: Connection, path: NodePath) -> Sequence[Node]:
    """Return the way to the container ``path`` as it was once, or nothing."""
    return _memory(db).way(joined(path))[1]


def stamp(way: Sequence[Node]) -> str:
    """Return what tells whether any node of ``way`` is another one by now, or was changed."""
    return "".join([f"{each.id}.{each.version} " for each in way])


def joined(path: NodePath) -> str:
    """Return what the way is found by: asyncpg takes longer over an array than over a text."""
    return "/".join(path.parts)


def _memory(db: Connection) -> _Memory:
    memory = _MEMORIES.get(db)
    if memory is None:
        memory = _MEMORIES[db] = _Memory()
    return memory


async def _chain(db: Connection, path: NodePath, row: asyncpg.Record) -> list[Node]:
    depth, above = row["depth"], row["above"]
    if depth == 0:
        return [node(row)]
    memory = _memory(db)
    container = "/".join(path.parts[: depth - 1])
    kept, way = memory.way(container)
    if kept == above:
        return [*way, node(row)]
    chain = [node(each) for each in await db.fetch(_WHOLE, joined(path))]
    # What a transaction has changed itself may yet be undone.
    if len(chain) > 1 and not db.is_in_transaction():
        memory.keep("/".join(path.parts[: len(chain) - 2]), chain[:-1])
    return chain
