"""Node documents, both ways: a client's template in, nodes and listings out."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from lxml import etree

from pyvospace_ngas.errors import InvalidArgument, InvalidURI, TypeNotSupported
from pyvospace_ngas.model import views
from pyvospace_ngas.model.node import BY_NAME, Detail, Node, NodeTemplate, NodeType
from pyvospace_ngas.model.properties import shown
from pyvospace_ngas.model.uri import NodePath, Space, encode_name
from pyvospace_ngas.xml.escaping import VOS, XSI, attribute, text
from pyvospace_ngas.xml.parsing import NIL, boolean, content, parse, qname, vos

_TYPE: Final = f"{{{XSI}}}type"
_PROPERTIES: Final = vos("properties")
_PROPERTY: Final = vos("property")
_READ_ONLY: Final = "readOnly"
_ROOT: Final = f'xmlns:vos="{VOS}" xmlns:xsi="{XSI}" '
_VERSION: Final = ' version="2.1"'
_DATA: Final = frozenset(type_ for type_ in NodeType if type_.holds_data)
_NAMED: Final = {type_: f'xsi:type="vos:{type_.qname}"' for type_ in NodeType}


@lru_cache(maxsize=64)
def _views(accepts: tuple[str, ...], provides: tuple[str, ...]) -> str:
    lists = (
        f"<vos:{name}>"
        + "".join(f'<vos:view uri="{attribute(uri)}"/>' for uri in uris)
        + f"</vos:{name}>"
        for name, uris in (("accepts", accepts), ("provides", provides))
    )
    return "".join(lists) + "<vos:capabilities/>"


def read_node(body: bytes, space: Space) -> NodeTemplate:
    """Return the node that a client's document describes; what only the service sets is ignored.

    Raises `InvalidURI`, `TypeNotSupported`, `InvalidArgument` or `DocumentTooLarge`.
    """
    root = parse(body, "node")
    uri = root.get("uri")
    if not uri:
        raise InvalidURI("the node has no uri")
    target = root.find(vos("target"))
    return NodeTemplate(
        path=space.parse(uri),
        type=node_type(root),
        properties=read_properties(root),
        target=None if target is None else content(target).strip(),
    )


def node_type(element: etree._Element) -> NodeType | None:
    """Return the type that ``xsi:type`` names, ``None`` where it is missing."""
    named = element.get(_TYPE)
    if named is None:
        return None
    namespace, local = qname(element, named)
    if namespace != VOS or local not in BY_NAME:
        raise TypeNotSupported(named.strip()[:200])
    return BY_NAME[local]


def read_properties(node: etree._Element) -> dict[str, str | None]:
    """Return the properties below ``node``, values exactly as written, ``None`` for a nil one."""
    return {uri: value for uri, value, _ in _said(node)}


def described(node: etree._Element) -> tuple[dict[str, str], frozenset[str]]:
    """Return the properties of a node that a server shows, and those that only it can set."""
    found: dict[str, str] = {}
    fixed = []
    for uri, value, read_only in _said(node):
        if value is not None:
            found[uri] = value
        if read_only is not None and boolean(read_only, _READ_ONLY):
            fixed.append(uri)
    return found, frozenset(fixed)


def _said(node: etree._Element) -> Iterator[tuple[str, str | None, str | None]]:
    """Give the URI, the value and ``readOnly`` of each property; a listing has 10,000 nodes."""
    seen = set()
    for properties in node.iterchildren(_PROPERTIES):
        for element in properties.iterchildren(_PROPERTY):
            said = dict(element.items())
            uri = said.get("uri")
            if not uri:
                raise InvalidArgument("a property has no uri")
            if uri in seen:
                raise InvalidArgument(
                    f"{uri[:200]} is given twice; several values stand in one element"
                )
            seen.add(uri)
            nil = NIL in said and boolean(said[NIL], "xsi:nil")
            yield uri, None if nil else content(element), said.get(_READ_ONLY)


def node_start(node: Node, path: NodePath, space: Space, detail: Detail) -> str:
    """Return a whole document but for a container's children and `node_end`."""
    return _open(node, space.uri(path), space, detail, _ROOT, _VERSION)


def child(node: Node, container: NodePath, space: Space, detail: Detail) -> str:
    """Return ``node`` as an entry in the listing of ``container``."""
    uri = f"{_prefix(space, container)}/{encode_name(node.name)}"
    return _open(node, uri, space, detail, "", "") + node_end(node)


def node_end(node: Node) -> str:
    """Return what closes a document begun by `node_start`."""
    return "</vos:nodes></vos:node>" if node.type is NodeType.CONTAINER else "</vos:node>"


def listed(entries: Iterable[tuple[Node, Detail]], container: NodePath, space: Space) -> str:
    """Return children of ``container``, each in its detail, as its document lists them."""
    return "".join([child(node, container, space, detail) for node, detail in entries])


def link_details(path: NodePath, target: str | None, space: Space) -> str:
    """Return the LinkNode ``path`` in one line, as the detail of a LinkFound fault."""
    return (
        f'<vos:node {_ROOT}xsi:type="vos:LinkNode" uri="{attribute(space.uri(path))}"{_VERSION}>'
        f"<vos:target>{_one_line(target or '')}</vos:target></vos:node>"
    )


def write_template(template: NodeTemplate, space: Space) -> str:
    """Return the document by which a client asks for a node to be made or changed."""
    type_ = f'xsi:type="vos:{template.type.qname}" ' if template.type is not None else ""
    properties = "".join(
        f'<vos:property uri="{attribute(uri)}" xsi:nil="true"/>'
        if value is None
        else f'<vos:property uri="{attribute(uri)}">{text(value)}</vos:property>'
        for uri, value in template.properties.items()
    )
    target = "" if template.target is None else f"<vos:target>{text(template.target)}</vos:target>"
    nodes = "<vos:nodes/>" if template.type is NodeType.CONTAINER else ""
    return (
        f'<vos:node {_ROOT}{type_}uri="{attribute(space.uri(template.path))}"{_VERSION}>'
        f"<vos:properties>{properties}</vos:properties>{target}{nodes}</vos:node>"
    )


def _open(
    node: Node, uri: str, space: Space, detail: Detail, namespaces: str, version: str
) -> str:
    kind = node.type
    busy = (' busy="true"' if node.busy else ' busy="false"') if kind in _DATA else ""
    start = f'<vos:node {namespaces}{_NAMED[kind]} uri="{attribute(uri)}"{version}{busy}>'
    if detail is not Detail.MIN:
        start += _properties(node)
    if detail is Detail.MAX and (offered := views.of(node, space)) is not None:
        start += _views(*offered)
    if kind is NodeType.CONTAINER:
        return f"{start}<vos:nodes>"
    if kind is NodeType.LINK:
        return f"{start}<vos:target>{text(node.target or '')}</vos:target>"
    return start


def _properties(node: Node) -> str:
    items = [
        f"{_opening(uri, fixed)}{text(value)}</vos:property>" for uri, value, fixed in shown(node)
    ]
    return f"<vos:properties>{''.join(items)}</vos:properties>"


@lru_cache(maxsize=512)  # a listing has the same few in every child
def _opening(uri: str, fixed: bool) -> str:
    read_only = ' readOnly="true"' if fixed else ""
    return f'<vos:property uri="{attribute(uri)}"{read_only}>'


@lru_cache(maxsize=64)
def _prefix(space: Space, container: NodePath) -> str:
    return space.uri(container)


def _one_line(value: str) -> str:
    return text(" ".join(value.split()))
