"""A node as a row: the columns that every query on nodes gives, and the `Node` made of them."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from pyvospace_ngas.model.node import Node, NodeType

_FIELDS: Final = (
    "id", "parent_id", "name", "type", "owner", "group_read", "group_write", "public_read",
    "length", "md5", "mtime", "ctime", "btime", "blob_id", "target", "props", "version",
)  # fmt: skip

WIDTH: Final = len(_FIELDS) + 1  # of what makes a `Node`
TYPES: Final = {type_.value: type_ for type_ in NodeType}  # a listing asks 10,000 times


def columns(table: str) -> str:
    """Return all that a row of a node has, but whether it is ``busy``, for a select."""
    return ", ".join(f"{table}.{field}" for field in _FIELDS)


def busy(table: str) -> str:
    """Return the expression for "bytes are coming in": a live attempt, never a stored flag."""
    return (
        f"({table}.type between 1 and 3 and exists (select 1 from attempt"
        f" where attempt.node_id = {table}.id and attempt.ended is null"
        " and attempt.lease > now())) as busy"
    )


def node(row: asyncpg.Record | Sequence[Any]) -> Node:
    """Return the node of a row that begins with `columns` and `busy`, in the order of `Node`."""
    return Node._make((*row[:3], TYPES[row[3]], *row[4:WIDTH], None))
