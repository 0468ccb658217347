"""Search documents in, and the list of what was found out (VOSpace 2.0)."""

from collections.abc import Iterable
from typing import Final

from lxml import etree

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.node import Detail, Node
from pyvospace_ngas.model.search import MOST_FOUND, Search, read_matches
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.xml.escaping import VOS, XSI
from pyvospace_ngas.xml.nodes import child
from pyvospace_ngas.xml.parsing import content, parse, vos

MOST_TARGETS: Final = 100


def read_search(body: bytes) -> Search:
    """Return what a search document asks for; its elements may stand in any order."""
    root = parse(body, "search")
    targets = tuple(element.get("uri", "") for element in root.iterfind(vos("node")))
    if len(targets) > MOST_TARGETS or not all(targets):
        raise InvalidArgument(f"a search has at most {MOST_TARGETS} nodes, each with its uri")
    return Search(
        targets,
        _only(root, "uri"),
        _limit(_only(root, "limit")),
        _detail(_only(root, "detail")),
        read_matches(_only(root, "matches") or ""),
    )


def search_as_sent(body: bytes) -> str:
    """Return a search document as a job keeps it: the client's own, without XML declaration."""
    return etree.tostring(parse(body, "search"), encoding="unicode", with_tail=False)


def matches_of(document: str) -> str:
    """Return what a search document looks for, in its own words."""
    return _only(parse(document.encode(), "search"), "matches") or ""


def write_found(found: Iterable[tuple[NodePath, Node]], space: Space, detail: Detail) -> str:
    """Return the list of nodes that a search has found."""
    nodes = "".join(child(node, path.parent, space, detail) for path, node in found)
    root = f'<vos:searchDetails xmlns:vos="{VOS}" xmlns:xsi="{XSI}">'
    return f"{root}<vos:nodes>{nodes}</vos:nodes></vos:searchDetails>"


def _only(root: etree._Element, name: str) -> str | None:
    found = root.findall(vos(name))
    if len(found) > 1:
        raise InvalidArgument(f"a search has one {name}")
    return content(found[0]).strip() or None if found else None


def _limit(text: str | None) -> int:
    if text is None:
        return MOST_FOUND
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument(f"limit {text[:40]!r} is no whole number")
    return min(int(text[:10]), MOST_FOUND)


def _detail(text: str | None) -> Detail:
    try:
        return Detail(text or Detail.MAX)
    except ValueError:
        raise InvalidArgument(
            f"detail {str(text)[:40]!r} is none of min, properties, max"
        ) from None
