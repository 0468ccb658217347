"""Single requests, each with its condition, for callers that keep a picture of the tree."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import downloads
from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.client.discovery import Service
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.node import NodeTemplate, NodeType
from pyvospace_ngas.model.uri import NodePath, encode
from pyvospace_ngas.xml.answers import NodeDocument, read_node_document
from pyvospace_ngas.xml.nodes import write_template


@dataclass(frozen=True, slots=True)
class Seen:
    """A node as the server showed it, and the entity tag of that."""

    node: NodeDocument
    etag: str | None


async def get(
    connection: Connection, service: Service, path: NodePath, etag: str | None = None
) -> Seen | None:
    """Return a node without its children; ``None`` if it still is what ``etag`` stands for."""
    fields = {} if etag is None else {"If-None-Match": etag}
    url = service.node(path, "detail=properties&limit=0")
    answer = await connection.ask("GET", url, fields=fields)
    if answer.status == 304:
        return None
    return Seen(read_node_document(answer.body), answer.headers.get("ETag"))


async def listing(connection: Connection, service: Service, path: NodePath) -> bytes:
    """Return the document of a container with all its children, which may be long to read."""
    return (await connection.ask("GET", service.node(path, "detail=properties"))).body


async def is_empty(connection: Connection, service: Service, path: NodePath) -> bool:
    """Tell whether a container has no children."""
    answer = await connection.ask("GET", service.node(path, "detail=min&limit=1"))
    return not read_node_document(answer.body).children


async def create(
    connection: Connection,
    service: Service,
    path: NodePath,
    type_: NodeType,
    properties: Mapping[str, str],
    target: str | None = None,
) -> Seen:
    """Make a node that must not exist yet."""
    template = NodeTemplate(path, type_, properties, target)
    return await _send(connection, service, "PUT", template, again=False)


async def change(
    connection: Connection,
    service: Service,
    path: NodePath,
    properties: Mapping[str, str | None],
) -> Seen:
    """Change properties; ``None`` takes one away."""
    template = NodeTemplate(path, None, properties)
    return await _send(connection, service, "POST", template, again=True)


async def delete(
    connection: Connection, service: Service, path: NodePath, *, empty: bool = False
) -> None:
    """Delete a node; a container only while it is ``empty``, if that is asked for."""
    url = service.node(path, "recursive=false" if empty else "")
    await connection.ask("DELETE", url, again=False)


def reader(connection: Connection, service: Service, path: NodePath) -> downloads.Reader:
    """Return a reader of ranges that finds the bytes by their path, without a job."""

    async def find() -> list[str]:
        answer = await connection.ask("GET", _beside(service, "files", path))
        location = answer.headers.get("Location")
        if location is None:
            raise errors.TransferFailed("the service does not say where the bytes are")
        return [location]

    return downloads.Reader(connection, find)


def may_have_happened(error: VOSpaceError) -> bool:
    """Tell whether a request that failed so may have done its work: its answer was lost."""
    cause = error.__cause__
    return cause is not None and not isinstance(cause, aiohttp.ClientConnectorError)


def _beside(service: Service, name: str, path: NodePath) -> URL:
    """Return a resource that stands beside ``/nodes``."""
    base = service.nodes.removesuffix("/nodes")
    return URL(f"{base}/{name}{encode(path)}", encoded=True)


async def _send(
    connection: Connection,
    service: Service,
    method: str,
    template: NodeTemplate,
    *,
    again: bool,
) -> Seen:
    document = write_template(template, service.space).encode()
    url = service.node(template.path)
    answer = await connection.ask(method, url, document, again=again)
    return Seen(read_node_document(answer.body), answer.headers.get("ETag"))
