"""The bytes of a node by its path: for clients that only have a URL, with the least of work.

A negotiated transfer leaves a job; this does not. The endpoint that a client is sent to belongs to
no job, and is good for minutes: whoever loses the right to read loses it then.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pyvospace_ngas.db import paths
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import (
    InvalidURI,
    LinkFound,
    NotAuthenticated,
    PermissionDenied,
    ServiceUnavailable,
    ViewNotSupported,
)
from pyvospace_ngas.model.access import Identity, may_read, reach
from pyvospace_ngas.model.endpoint import Endpoint, sign
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.standard import DEFAULT_VIEW
from pyvospace_ngas.model.uri import NodePath, Space, encode_name
from pyvospace_ngas.ops.transfers import MOST_LINKS

# Long enough to begin a request, and to go on with a part of a file at the same URL.
LIFETIME: Final = timedelta(minutes=10)
NO_JOB: Final = ""


@dataclass(frozen=True, slots=True)
class Readable:
    """A node whose bytes the caller may read, and the storage servers that can give them."""

    node: Node
    servers: list[str]


async def find(db: Connection, who: Identity, path: NodePath, space: Space) -> Readable:
    """Return the data node at ``path``, in one round trip; each link on the way is one more.

    Links are followed inside of this space, also those to containers. A caller who may not read,
    and did not say who they are, is asked to (`NotAuthenticated`): browsers then do.
    """
    wanted = path
    try:
        for _ in range(MOST_LINKS):
            chain, servers = await paths.resolve_for_bytes(db, path)
            try:
                node = reach(chain, path, who)
            except LinkFound as link:
                depth = len(link.args[0].parts)
                _check_readable(who, chain[depth], wanted)
                path = _target(link.target, space, path.parts[depth:])
                continue
            _check_readable(who, node, wanted)
            if node.type is not NodeType.LINK:
                return _with_bytes(node, servers, path)
            path = _target(node.target, space, ())
    except PermissionDenied:
        if who.user is None:
            raise NotAuthenticated(f"log in to read {wanted}") from None
        raise
    raise InvalidURI(f"{wanted}: the links lead in a circle")


def address(found: Readable, key: bytes, now: datetime) -> str:
    """Return the URL that gives the bytes, at any of the storage servers."""
    token = sign(Endpoint(NO_JOB, "GET", found.node.id, now + LIFETIME), key)
    return f"{random.choice(found.servers)}/files/{token}/{encode_name(found.node.name)}"  # noqa: S311


def _check_readable(who: Identity, node: Node, path: NodePath) -> None:
    if not may_read(who, node):
        raise PermissionDenied(f"{who} may not read {path}")


def _target(target: str | None, space: Space, rest: tuple[str, ...]) -> NodePath:
    return NodePath((*space.parse(target or "").parts, *rest))


def _with_bytes(node: Node, servers: list[str], path: NodePath) -> Readable:
    if not node.type.holds_data:
        raise ViewNotSupported(f"{DEFAULT_VIEW} {path} is a {node.type.qname}, without bytes")
    if not servers:
        raise ServiceUnavailable("no storage server is running; try again later")
    return Readable(node, servers)
