"""Single requests, each with its condition, for callers that keep a picture of the tree."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import downloads
from pyvospace_ngas.client.connection import UNSENT, Answer, Connection
from pyvospace_ngas.client.discovery import Service
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.json import nodes as json_nodes
from pyvospace_ngas.model.documents import NodeDocument
from pyvospace_ngas.model.node import NodeTemplate, NodeType
from pyvospace_ngas.model.uri import NodePath, encode
from pyvospace_ngas.xml.answers import read_node_document
from pyvospace_ngas.xml.nodes import write_template

AS_JSON: Final = "RESPONSEFORMAT=json"
_FOR_ENDPOINT: Final = {"Prefer": "endpoint"}
_LINK: Final = re.compile(r'<([^>]+)>; rel="(describes|edit-media)"\Z')


@dataclass(frozen=True, slots=True)
class Seen:
    """A node as the server showed it, and the entity tag of that.

    ``place`` is the endpoint of its bytes, for who asked for it, where the server tells: to read
    them, or of a new node to store them there once.
    """

    node: NodeDocument
    etag: str | None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Same:
    """A node is what its tag stands for; ``place`` as in `Seen`."""

    place: str | None = None


async def get(
    connection: Connection,
    service: Service,
    path: NodePath,
    etag: str | None = None,
    *,
    endpoint: bool = False,
) -> Seen | Same:
    """Return a node without its children; `Same` if it still is what ``etag`` stands for.

    Who is about to read its bytes asks for their ``endpoint`` as well.
    """
    fields = {} if etag is None else {"If-None-Match": etag}
    if endpoint:
        fields |= _FOR_ENDPOINT
    url = service.node(path, f"detail=properties&limit=0&{AS_JSON}")
    answer = await connection.ask("GET", url, fields=fields)
    place = _place(answer)
    if answer.status == 304:
        return Same(place)
    return Seen(document(answer), answer.headers.get("ETag"), place)


async def listing(connection: Connection, service: Service, path: NodePath) -> Answer:
    """Return what shows a container with all its children, which may be a long `document`."""
    url = service.node(path, f"detail=properties&{AS_JSON}")
    return await connection.ask("GET", url)


def document(answer: Answer) -> NodeDocument:
    """Return the node that an answer shows, in JSON, or in XML as servers without it do."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return json_nodes.read_node(answer.body)
    return read_node_document(answer.body)


async def is_empty(connection: Connection, service: Service, path: NodePath) -> bool:
    """Tell whether a container has no children."""
    answer = await connection.ask("GET", service.node(path, f"detail=min&limit=1&{AS_JSON}"))
    return not document(answer).children


async def create(
    connection: Connection,
    service: Service,
    path: NodePath,
    type_: NodeType,
    properties: Mapping[str, str],
    target: str | None = None,
    *,
    endpoint: bool = False,
) -> Seen:
    """Make a node that must not exist yet; with an ``endpoint`` who is about to send its bytes."""
    template = NodeTemplate(path, type_, properties, target)
    return await _send(connection, service, "PUT", template, again=False, endpoint=endpoint)


async def change(
    connection: Connection,
    service: Service,
    path: NodePath,
    properties: Mapping[str, str | None],
    target: str | None = None,
) -> Seen:
    """Change properties, and where a link leads; ``None`` takes a property away."""
    template = NodeTemplate(path, None, properties, target)
    return await _send(connection, service, "POST", template, again=True)


async def delete(
    connection: Connection, service: Service, path: NodePath, *, empty: bool = False
) -> None:
    """Delete a node; a container only while it is ``empty``, if that is asked for."""
    url = service.node(path, "recursive=false" if empty else "")
    await connection.ask("DELETE", url, again=False)


def reader(
    connection: Connection, service: Service, path: NodePath, place: str | None = None
) -> downloads.Reader:
    """Return a reader of ranges, at a ``place`` or found by their path, without a job."""

    async def find() -> list[str]:
        answer = await connection.ask("GET", _beside(service, "files", path))
        location = answer.headers.get("Location")
        if location is None:
            raise errors.TransferFailed("the service does not say where the bytes are")
        return [location]

    return downloads.Reader(connection, find, place)


def may_have_happened(error: VOSpaceError) -> bool:
    """Tell whether a request that failed so may have done its work: its answer was lost."""
    cause = error.__cause__
    return cause is not None and not isinstance(cause, UNSENT)


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
    endpoint: bool = False,
) -> Seen:
    wanted = write_template(template, service.space).encode()
    url = service.node(template.path, AS_JSON)
    fields = _FOR_ENDPOINT if endpoint else {}
    answer = await connection.ask(method, url, wanted, again=again, fields=fields)
    return Seen(document(answer), answer.headers.get("ETag"), _place(answer))


def _place(answer: Answer) -> str | None:
    link = _LINK.match(answer.headers.get("Link", ""))
    return link[1] if link else None
