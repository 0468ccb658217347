"""Where a service's resources are, and what its nodes are called."""

from dataclasses import dataclass
from typing import Final

from yarl import URL

from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.errors import (
    NotAuthenticated,
    PermissionDenied,
    ServiceUnavailable,
    VOSpaceError,
)
from pyvospace_ngas.model.uri import ROOT, NodePath, Space, check_name, encode
from pyvospace_ngas.xml import vosi
from pyvospace_ngas.xml.answers import read_capabilities, read_node_document

_DEFAULTS: Final = {
    vosi.NODES: "nodes",
    vosi.SYNC: "synctrans",
    vosi.TRANSFERS: "transfers",
    vosi.RECURSIVE_DELETE: "async-delete",
    vosi.RECURSIVE_SET: "async-setprops",
}


@dataclass(frozen=True, slots=True)
class Service:
    """The addresses of one service's resources, and its authority."""

    nodes: str
    sync: URL
    transfers: URL
    space: Space
    deletions: URL
    changes: URL

    def node(self, path: NodePath, query: str = "") -> URL:
        """Return the address of a node; ``query`` is already escaped."""
        return URL(f"{self.nodes}{encode(path)}{'?' if query else ''}{query}", encoded=True)


async def discover(connection: Connection, authority: str | None) -> Service:
    """Ask the service where its parts are; where it does not tell, they are below its address."""
    told = await _capabilities(connection)
    found = {
        id_: connection.here(told[id_]) if id_ in told else connection.base / name
        for id_, name in _DEFAULTS.items()
    }
    nodes = str(found[vosi.NODES]).rstrip("/")
    if authority is None:
        authority = await _authority(connection, URL(f"{nodes}{encode(ROOT)}?detail=min&limit=0"))
    space = Space(authority.replace("!", "~"))
    return Service(
        nodes,
        found[vosi.SYNC],
        found[vosi.TRANSFERS],
        space,
        found[vosi.RECURSIVE_DELETE],
        found[vosi.RECURSIVE_SET],
    )


def node_path(path: str | NodePath, space: Space) -> NodePath:
    """Return the path that a caller means: names between slashes as they are, or a vos URI."""
    if isinstance(path, NodePath):
        return path
    if path.startswith("vos://"):
        return space.parse(path)
    parts = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    for name in parts:
        check_name(name, path)
    return NodePath(parts)


async def _authority(connection: Connection, root: URL) -> str:
    try:
        return read_node_document((await connection.ask("GET", root)).body).authority
    except PermissionDenied:
        # Not for a token that is good for a part of the tree only; for anybody it mostly is.
        async with connection.endpoint("GET", str(root), {}) as answer:
            if answer.status != 200:
                raise
            return read_node_document(await answer.read()).authority


async def _capabilities(connection: Connection) -> dict[str, str]:
    try:
        answer = await connection.ask("GET", connection.base / "capabilities")
        return read_capabilities(answer.body)
    except (ServiceUnavailable, NotAuthenticated):
        raise
    except VOSpaceError:
        return {}  # not every service has them where we look
