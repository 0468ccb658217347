"""The resource ``/nodes``: createNode, getNode, setNode, deleteNode."""

import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import (
    InvalidArgument,
    InvalidURI,
    PreconditionFailed,
    ViewNotSupported,
)
from pyvospace_ngas.http.keys import CONFIG, DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.access import may_read
from pyvospace_ngas.model.condition import Condition, condition, etag
from pyvospace_ngas.model.node import Detail, Node, NodeTemplate, NodeType, Order, Sort
from pyvospace_ngas.model.standard import CORE, HTTP_PUT, HTTPS_PUT
from pyvospace_ngas.model.transfer import Direction, Protocol, Transfer, View
from pyvospace_ngas.model.uri import NodePath, parse_path
from pyvospace_ngas.model.views import form_of
from pyvospace_ngas.ops import files, jobs, transfers
from pyvospace_ngas.ops import nodes as ops
from pyvospace_ngas.space.forms import Form, document, form
from pyvospace_ngas.space.handlers.transfers import redirect_to_bytes
from pyvospace_ngas.space.parameters import prefers, whole_number
from pyvospace_ngas.space.running import ENDPOINT_KEY, RUNNING, xml
from pyvospace_ngas.xml import metadata
from pyvospace_ngas.xml.nodes import read_node
from pyvospace_ngas.xml.parsing import parse
from pyvospace_ngas.xml.transfers import write_transfer

_ROOT: Final = "/nodes"
_ENDPOINT: Final = "endpoint"  # a preference of ours (RFC 7240)
_UPLOADS: Final = (Protocol(HTTP_PUT), Protocol(HTTPS_PUT))
# The root of a document that asks for protocols, after what may stand before it, in any prefix.
_PROTOCOLS: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]*>\s*|<!--(?:(?!-->).)*-->\s*)*<(?:[\w.-]+:)?(protocols?)[\s/>]",
    re.DOTALL,
)
SORTS: Final = {
    "name": Sort.NAME,
    "length": Sort.LENGTH,
    "date": Sort.DATE,
    "mtime": Sort.DATE,
}


async def create_node(request: web.Request) -> web.Response:
    """PUT: add a node; 201 with the whole of it, and where its bytes go to who prefers that."""
    written = form(request)
    wanted = await _document(request)
    fields: Mapping[str, str] = {}
    if prefers(request.headers, _ENDPOINT):
        path, node, fields = await _create_with_endpoint(request, wanted)
    else:
        async with request.app[DATABASE].acquire() as db:
            path, node = await ops.create_node(db, request[IDENTITY], wanted)
    answer = _whole(request, written, node, path, Detail.MAX, status=201)
    answer.headers.update(fields)
    return answer


async def _create_with_endpoint(
    request: web.Request, wanted: NodeTemplate
) -> tuple[NodePath, Node, Mapping[str, str]]:
    """Add a node and a push of its bytes, both or neither, which a client else asks for next."""
    who, space = request[IDENTITY], request.app[SPACE]
    async with request.app[DATABASE].transaction() as db:
        path, node = await ops.create_node(db, who, wanted)
        if not node.type.holds_data:
            return path, node, {}
        transfer = Transfer(space.uri(path), Direction.PUSH_TO, protocols=_UPLOADS)
        document_ = write_transfer(transfer, transfer.protocols)
        job = jobs.new(who, transfer, document_, None, space)
        promised = await transfers.promise(db, job, node, path, request.app[RUNNING].offer)
    if promised is None:
        return path, node, {}
    endpoint = transfers.endpoints(promised, request.app[ENDPOINT_KEY])[0].endpoint
    return path, node, _link(str(endpoint), "edit-media")  # RFC 5023


async def set_node(request: web.Request) -> web.Response:
    """POST: change properties; an empty ``protocols`` document asks for the node's protocols."""
    body = await request.read()
    if asked := _PROTOCOLS.match(body[:400]):
        return await _protocols_of(request, body, asked[1].decode())
    written = form(request)
    wanted = await _document(request)
    async with request.app[DATABASE].acquire() as db:
        node = await ops.set_node(db, request[IDENTITY], wanted, _condition(request))
    return _whole(request, written, node, wanted.path, Detail.MAX)


async def delete_node(request: web.Request) -> web.Response:
    """DELETE: the node and all below it; 204. With ``recursive=false`` only what has nothing."""
    path = _path(request)
    condition_ = _condition(request)
    if request.query.get("recursive") == "false":
        condition_ = replace(condition_, childless=True)
    refusing = await request.app[RUNNING].refusing()
    async with request.app[DATABASE].acquire() as db:
        await ops.delete_node(
            db,
            request[IDENTITY],
            path,
            request.app[CONFIG].space.delete_limit,
            refusing,
            condition_,
        )
    return web.Response(status=204)


async def get_node(request: web.Request) -> web.StreamResponse:
    """GET: the node, in the detail asked for, with a page of its children."""
    path = _path(request)
    query = request.query
    if "view" in query:
        return await _view(request, path, query["view"])
    detail, written = _detail(query.get("detail", Detail.MAX)), form(request)
    who = request[IDENTITY]
    async with request.app[DATABASE].acquire() as db:
        if prefers(request.headers, _ENDPOINT):
            node, servers = await ops.get_node_and_servers(db, who, path)
        else:
            node, servers = await ops.get_node(db, who, path), []
    condition(request.headers.get("If-Match"), None).check(node)
    if node.type is NodeType.CONTAINER:
        return await _listing(request, written, node, path, detail)
    place = _place(request, node, servers)
    if "If-None-Match" in request.headers:
        try:
            _condition(request).check(node)
        except PreconditionFailed:
            return web.Response(status=304, headers={"ETag": etag(node), **place})
    answer = _whole(request, written, node, path, detail)
    answer.headers.update(place)
    return answer


def _place(request: web.Request, node: Node, servers: list[str]) -> dict[str, str]:
    """Return where the bytes are, as /files would say it, for who is about to read them."""
    if not (servers and node.type.holds_data):
        return {}
    address = files.address(
        files.Readable(node, servers), request.app[ENDPOINT_KEY], datetime.now(UTC)
    )
    return _link(address, "describes")  # RFC 6892


def _link(address: str, relation: str) -> dict[str, str]:
    return {
        "Link": f'<{address}>; rel="{relation}"',
        "Preference-Applied": _ENDPOINT,
        "Cache-Control": "no-store",  # it is a key, and soon no good
    }


async def _listing(
    request: web.Request, written: Form, node: Node, path: NodePath, detail: Detail
) -> web.StreamResponse:
    """Answer at once when one page holds all children, else stream them out page by page."""
    space, who = request.app[SPACE], request[IDENTITY]
    limit = request.query.get("limit")
    most = None if limit is None else whole_number("limit", limit)
    start = _start(request, path)
    pages = ops.children(request.app[DATABASE], node, detail, _order(request), start, most)

    def seen(page: list[Node]) -> list[tuple[Node, Detail]]:
        """Return each child with its detail: the least of those that one may not read."""
        if detail is Detail.MIN:
            return [(child, detail) for child in page]
        return [(child, detail if may_read(who, child) else Detail.MIN) for child in page]

    async with aclosing(pages):
        first = seen(await anext(pages, []))
        if len(first) < ops.PAGE or len(first) == most:
            return _shown(written, node, document(written, node, path, space, detail, first))
        response = web.StreamResponse(headers=_fields(written, node))
        await response.prepare(request)
        head = written.before + written.start(node, path, space, detail)
        await response.write((head + written.listed(first, path, space)).encode())
        async for page in pages:
            listed = written.listed(seen(page), path, space)
            await response.write(f"{written.between}{listed}".encode())
        await response.write_eof(written.end(node).encode())
    return response


def _whole(
    request: web.Request,
    written: Form,
    node: Node,
    path: NodePath,
    detail: Detail,
    status: int = 200,
) -> web.Response:
    whole = document(written, node, path, request.app[SPACE], detail)
    return _shown(written, node, whole, status)


def _shown(written: Form, node: Node, body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, headers=_fields(written, node))


def _fields(written: Form, node: Node) -> dict[str, str]:
    return {"Content-Type": written.media_type, "ETag": etag(node)}


def _condition(request: web.Request) -> Condition:
    headers = request.headers
    return condition(headers.get("If-Match"), headers.get("If-None-Match"))


async def _view(request: web.Request, path: NodePath, view: str) -> web.Response:
    """Send a client to the bytes (``view=data``, deprecated but used), or to a view of ours."""
    space = request.app[SPACE]
    wanted = None if view == "data" else View(view)
    if wanted is not None and form_of(wanted, space) is None:
        raise ViewNotSupported(view)
    return await redirect_to_bytes(request, space.uri(path), wanted)


async def _protocols_of(request: web.Request, body: bytes, root: str) -> web.Response:
    """Answer which protocols a node's bytes move by (VOSpace 2.1, section 3.5.2)."""
    parse(body, root)
    async with request.app[DATABASE].acquire() as db:
        await ops.get_node(db, request[IDENTITY], _path(request))
    return xml(metadata.protocols())


async def _document(request: web.Request) -> NodeTemplate:
    """Return the node document of the body, which names the same node as the URL."""
    space = request.app[SPACE]
    wanted = read_node(await request.read(), space)
    if wanted.path != _path(request):
        raise InvalidURI(f"{space.uri(wanted.path)} is not the node that the URL names")
    return wanted


def _path(request: web.Request) -> NodePath:
    """Return the node that the still escaped URL names; each part is decoded once."""
    _, _, raw = request.rel_url.raw_path.partition(_ROOT)
    return parse_path(raw)


def _start(request: web.Request, path: NodePath) -> NodePath | None:
    """Return where the page starts: at the child that ``uri`` names, itself included."""
    uri = request.query.get("uri")
    if not uri:
        return None
    start = request.app[SPACE].parse(uri)
    if start.parent != path or not start.parts:
        raise InvalidURI(f"{uri} is no child of {request.app[SPACE].uri(path)}")
    return start


def _order(request: web.Request) -> Order:
    """Return the order that ``sort`` (a word, or a property's URI) and ``order`` ask for."""
    sort = request.query.get("sort", "name").removeprefix(CORE)
    direction = request.query.get("order", "asc")
    if sort not in SORTS:
        raise InvalidArgument(f"sort {sort[:80]!r} is none of {', '.join(SORTS)}")
    if direction not in ("asc", "desc"):
        raise InvalidArgument(f"order {direction[:40]!r} is neither asc nor desc")
    return Order(SORTS[sort], direction == "desc")


def _detail(text: str) -> Detail:
    try:
        return Detail(text)
    except ValueError:
        raise InvalidArgument(f"detail {text[:40]!r} is none of min, properties, max") from None
