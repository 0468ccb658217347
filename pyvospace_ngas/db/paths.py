"""From a path to the nodes on the way there, in one round trip.

Containers seldom change. So of those on the way PostgreSQL tells only which version they are now,
and what a connection has read of the same version is not sent, nor read, again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import asyncpg

from pyvospace_ngas.db import servers
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.db.rows import WIDTH, busy, columns, node
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeType
from pyvospace_ngas.model.uri import NodePath

_REMEMBERED: Final = 128  # containers of one connection,
_SMALL: Final = 10_000  # unless those on the way have more characters of properties
_FAR: Final = 8  # names; a longer way is read from its beginning each time

# Lateral with a limit: each step can only be a look-up. As a join it was planned, while the table
# was empty, as a hash of all nodes, and that plan was kept: 9 ms a look-up at 12,000 nodes.
_WHOLE: Final = f"""
with recursive chain as (
    select {columns("root")}, 0 as depth from node root where root.id = {ROOT_ID}
     union all
    select {columns("n")}, chain.depth + 1
      from chain cross join lateral (
           select {columns("m")} from node m
            where m.parent_id = chain.id and m.name = split_part($1, '/', chain.depth + 1)
            limit 1) n
) select {columns("chain")}, {busy("chain")} from chain order by chain.depth
"""

Stamp = tuple[int, ...]  # versions of the nodes on a way, and their numbers


def straight(depth: int, first: int = 1, last: str = "join") -> tuple[str, str]:
    """Return FROM and WHERE of the way to ``m{depth}``, whose names are parameters from ``first``.

    As recursion the same takes PostgreSQL a third longer. It finds nothing unless all is there, or
    all but the ``last``, of a left join.
    """
    steps = [
        f" {last if number == depth else 'join'} node m{number}"
        f" on m{number}.parent_id = m{number - 1}.id and m{number}.name = ${first + number - 1}"
        for number in range(1, depth + 1)
    ]
    return f"node m0{''.join(steps)}", f"m0.id = {ROOT_ID}"


def marks(depth: int) -> str:
    """Return the columns that the `stamp` of the way to ``m{depth}`` has."""
    return ", ".join(["m0.version", *(f"m{n}.id, m{n}.version" for n in range(1, depth + 1))])


def stamp(way: Sequence[Node]) -> Stamp:
    """Return what tells whether any node of ``way`` is another one by now, or was changed."""
    found = [way[0].version]
    for each in way[1:]:
        found += (each.id, each.version)
    return tuple(found)


def is_straight(path: NodePath) -> bool:
    """Tell whether `straight` is for this path."""
    return 0 < len(path.parts) <= _FAR


@cache
def _resolve(depth: int, more: str = "", first: int = 1) -> str:
    last, (tables, condition) = f"m{depth}", straight(depth, first, "left join")
    return (
        f"select {columns(last)}, {busy(last)}, {marks(depth - 1)}{more}"
        f" from {tables} where {condition}"
    )


class _Memory:
    """What one connection has read of containers: the way to each, and its stamp."""

    def __init__(self) -> None:
        self._ways: OrderedDict[tuple[str, ...], tuple[Stamp, tuple[Node, ...]]] = OrderedDict()

    def way(self, container: tuple[str, ...]) -> tuple[Stamp, tuple[Node, ...]]:
        """Return the stamp of the way to ``container``, itself included, and its nodes."""
        return self._ways.get(container, ((), ()))

    def keep(self, container: tuple[str, ...], way: Sequence[Node]) -> None:
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
    if is_straight(path):
        row = await db.fetchrow(_resolve(len(path.parts)), *path.parts)
        if row is not None and (way := _known(db, path, row[WIDTH:])):
            chain = _chain(way, row)
            if len(chain) > len(way):
                _keep(db, path, chain)
            return chain
    return await _read(db, path)


async def resolve_both(
    db: Connection, one: NodePath, other: NodePath
) -> tuple[list[Node], list[Node]]:
    """`resolve` two paths, in one round trip where that can be.

    The caller's transaction has written nothing yet: what is found here may be remembered.
    """
    if is_straight(one) and is_straight(other):
        row = await db.fetchrow(
            _resolve_both(len(one.parts), len(other.parts)), *one.parts, *other.parts
        )
        if row is not None:
            width = WIDTH + 2 * len(one.parts) - 1
            halves = (one, row[:width]), (other, row[width:])
            ways = [_known(db, path, half[WIDTH:]) for path, half in halves]
            if all(ways):
                found = [_chain(way, half) for way, (_, half) in zip(ways, halves, strict=True)]
                return found[0], found[1]
    return await _read(db, one, clean=True), await _read(db, other, clean=True)


@cache
def _resolve_both(one: int, other: int) -> str:
    return (
        f"select * from ({_resolve(one)}) one cross join ({_resolve(other, first=one + 1)}) other"
    )


async def resolve_for_bytes(db: Connection, path: NodePath) -> tuple[list[Node], list[str]]:
    """`resolve`, and the storage servers that are alive, in the same round trip."""
    if is_straight(path):
        statement = _resolve(len(path.parts), f", array({servers.LIVE}) as servers")
        row = await db.fetchrow(statement, *path.parts)
        if row is not None and (way := _known(db, path, row[WIDTH:-1])):
            return _chain(way, row), row["servers"]
    return await _read(db, path), await servers.live(db)


def remembered(db: Connection, path: NodePath) -> Sequence[Node]:
    """Return the way to the container ``path`` as it was once, or nothing."""
    return _memory(db).way(path.parts)[1]


def _known(db: Connection, path: NodePath, now: Stamp) -> Sequence[Node]:
    """Return the way to the container of ``path``, if its stamp is still that."""
    was, way = _memory(db).way(path.parts[:-1])
    return way if was == now else ()


def _chain(way: Sequence[Node], row: asyncpg.Record | Sequence[Any]) -> list[Node]:
    """Return the way with what is at its end, if anything is."""
    return [*way] if row[0] is None else [*way, node(row)]


async def _read(db: Connection, path: NodePath, *, clean: bool = False) -> list[Node]:
    # asyncpg takes longer over an array than over a text.
    chain = [node(row) for row in await db.fetch(_WHOLE, "/".join(path.parts))]
    depth = len(path.parts)
    if len(chain) == depth + 1 <= _FAR:
        _keep(db, path, chain, clean=clean)
    if 0 < depth <= len(chain) <= _FAR:
        _keep(db, path.parent, chain[:depth], clean=clean)
    return chain


def _keep(db: Connection, path: NodePath, chain: Sequence[Node], *, clean: bool = False) -> None:
    # What a transaction has changed itself may yet be undone.
    if chain[-1].type is NodeType.CONTAINER and (clean or not db.is_in_transaction()):
        _memory(db).keep(path.parts, chain)


def _memory(db: Connection) -> _Memory:
    memory = _MEMORIES.get(db)
    if memory is None:
        memory = _MEMORIES[db] = _Memory()
    return memory
