"""The query of searches: children of containers, and which comparisons hold of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.standard import (
    BTIME,
    CREATOR,
    CTIME,
    DATE,
    GROUP_READ,
    GROUP_WRITE,
    IS_PUBLIC,
    LENGTH,
    MD5,
    MTIME,
    PUBLIC_READ,
)
from pyvospace_ngas.model.walk import Frame

PATIENCE: Final = "20s"  # for one page: some patterns take for ever


def _time(column: str) -> str:
    """Return the expression for a time as documents show it."""
    return f"to_char(n.{column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"


# What a property is where it is a column; a comparison without a property is of the name.
_COLUMNS: Final = (
    f"when t.uri = '{LENGTH}' then n.length::text"
    f" when t.uri = '{MD5}' then n.md5"
    f" when t.uri in ('{DATE}', '{MTIME}') then {_time('mtime')}"
    f" when t.uri = '{CTIME}' then {_time('ctime')}"
    f" when t.uri = '{BTIME}' then {_time('btime')}"
    f" when t.uri = '{CREATOR}' then n.owner"
    f" when t.uri = '{GROUP_READ}' then n.group_read"
    f" when t.uri = '{GROUP_WRITE}' then n.group_write"
    f" when t.uri in ('{PUBLIC_READ}', '{IS_PUBLIC}') then n.public_read::text"
)
_PAGE: Final = f"""
select f.container, n.* from unnest($1::bigint[], $2::text[])
                             with ordinality f (container, after, number)
 cross join lateral (
    select n.id, n.name, n.type, n.owner, n.group_read, n.group_write, n.public_read, h.hits
      from node n cross join lateral (
           select array(
               select coalesce(case when t.uri is null then n.name {_COLUMNS}
                                    else n.props ->> t.uri end ~ t.pattern, false)
                 from unnest($3::text[], $4::text[]) with ordinality t (uri, pattern, number)
                order by t.number) as hits) h
     where n.parent_id = f.container and n.name > f.after collate "C"
       and (n.type = 4 or cardinality($4::text[]) = 0 or true = any(h.hits))
     order by n.name limit $5) n
 order by f.number, n.name
"""


async def check(db: Connection, patterns: Sequence[str]) -> None:
    """Raise `InvalidArgument` unless all of these are patterns."""
    with _refusing_patterns():
        await db.fetch("select '' ~ pattern from unnest($1::text[]) pattern", patterns)


@contextmanager
def _refusing_patterns() -> Iterator[None]:
    try:
        yield
    except asyncpg.InvalidRegularExpressionError as error:
        raise InvalidArgument(f"matches: {str(error)[:200]}") from None
    except asyncpg.QueryCanceledError:
        raise InvalidArgument("matches: this takes too long; use simpler patterns") from None


async def page(
    db: Connection, frames: Sequence[Frame], terms: Sequence[tuple[str | None, str]], limit: int
) -> list[tuple[Node, list[bool]]]:
    """Return up to ``limit`` children of each frame's container, and which of ``terms`` hold.

    These are all containers, and of the others those of which one does. A term is a property
    (``None``: the name) and a POSIX pattern. To be run in a transaction.
    """
    await db.execute(f"set local statement_timeout = '{PATIENCE}'")
    with _refusing_patterns():
        rows = await db.fetch(
            _PAGE,
            [frame.container for frame in frames],
            [frame.after for frame in frames],
            [uri for uri, _ in terms],
            [pattern for _, pattern in terms],
            limit,
        )
    return [(_node(row), row["hits"]) for row in rows]


def _node(row: asyncpg.Record) -> Node:
    return Node(
        id=row["id"],
        parent_id=row["container"],
        name=row["name"],
        type=NodeType(row["type"]),
        owner=row["owner"],
        group_read=row["group_read"],
        group_write=row["group_write"],
        public_read=row["public_read"],
    )
