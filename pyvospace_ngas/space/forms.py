"""The forms in which nodes are shown, of which a request chooses one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.json import nodes as json_nodes
from pyvospace_ngas.model.node import Detail, Node
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.space.parameters import one, parameters
from pyvospace_ngas.space.running import DECLARATION
from pyvospace_ngas.xml import nodes as xml_nodes

_PARAMETER: Final = "RESPONSEFORMAT"  # DALI 1.1, section 3.4.3


@dataclass(frozen=True, slots=True)
class Form:
    """How a node is written: ``start``, pages of ``listed`` with ``between``, and ``end``."""

    media_type: str
    before: str
    start: Callable[[Node, NodePath, Space, Detail], str]
    listed: Callable[[Iterable[tuple[Node, Detail]], NodePath, Space], str]
    between: str
    end: Callable[[Node], str]


_XML: Final = Form(
    "text/xml; charset=utf-8",
    DECLARATION,
    xml_nodes.node_start,
    xml_nodes.listed,
    "",
    xml_nodes.node_end,
)
_JSON: Final = Form(
    "application/json",
    "",
    json_nodes.node_start,
    json_nodes.listed,
    ",",
    json_nodes.node_end,
)
_FORMS: Final = {
    "xml": _XML,
    "text/xml": _XML,
    "application/xml": _XML,
    "json": _JSON,
    "application/json": _JSON,
}


def form(request: web.Request) -> Form:
    """Return the form that the request asks for; XML, which is the standard's, otherwise.

    By a parameter, not by ``Accept``: so each form has a URL of its own, and its own entity tag.
    """
    if not request.query_string:
        return _XML
    wanted = one(parameters(request.query.items()), _PARAMETER)
    if wanted is None:
        return _XML
    try:
        return _FORMS[wanted.partition(";")[0].strip().lower()]
    except KeyError:
        known = ", ".join(_FORMS)
        raise InvalidArgument(f"{_PARAMETER} {wanted[:40]!r} is none of {known}") from None


def document(
    written: Form,
    node: Node,
    path: NodePath,
    space: Space,
    detail: Detail,
    children: Sequence[tuple[Node, Detail]] = (),
) -> bytes:
    """Return the whole document of ``node``, with ``children``, each in its detail."""
    start = written.start(node, path, space, detail)
    listed = written.listed(children, path, space) if children else ""
    return f"{written.before}{start}{listed}{written.end(node)}".encode()
