"""Node documents in JSON say what those in XML say, and are read as strictly."""

import json
import random
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from pyvospace_ngas.errors import InvalidArgument, InvalidURI
from pyvospace_ngas.json import nodes
from pyvospace_ngas.model.documents import NodeDocument
from pyvospace_ngas.model.node import Detail, Node, NodeType
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.xml import nodes as xml_nodes
from pyvospace_ngas.xml.answers import read_node_document

SPACE = Space("example.org~space")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
ALPHABET = "abcXYZ019 #%+'\"&<>!$()*,;=:@~-._?\\|{}éßжλ中\U0001f600\u0301\u2028\r\n\t"
PATH = NodePath(("d é", "a&'\""))


def node(type_: NodeType, name: str = "a.fits", **more: Any) -> Node:
    fields: dict[str, Any] = {"mtime": NOW, "ctime": NOW, "btime": NOW, "target": "urn:t&", **more}
    return Node(7, 1, name, type_, "alice")._replace(**fields)


def written(node: Node, detail: Detail, children: list[tuple[Node, Detail]]) -> bytes:
    start = nodes.node_start(node, PATH, SPACE, detail)
    return (start + nodes.listed(children, PATH, SPACE) + nodes.node_end(node)).encode()


def in_xml(node: Node, detail: Detail, children: list[tuple[Node, Detail]]) -> NodeDocument:
    start = xml_nodes.node_start(node, PATH, SPACE, detail)
    listed = xml_nodes.listed(children, PATH, SPACE)
    return read_node_document((start + listed + xml_nodes.node_end(node)).encode())


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("type_", list(NodeType))
def test_it_says_what_the_xml_says(detail: Detail, type_: NodeType) -> None:
    source = random.Random(f"{detail} {type_}")

    def some() -> dict[str, str]:
        return {f"urn:{n}": "".join(source.choices(ALPHABET, k=9)) for n in range(3)}

    children = [
        (node(kind, f"c&{kind} é%", props=some(), busy=busy, public_read=True), each)
        for kind, busy, each in product(NodeType, (False, True), (Detail.MIN, detail))
    ]
    found = node(type_, busy=True, length=7, md5="ab", group_read="g", props=some(), available=9)
    listed = children if type_ is NodeType.CONTAINER else []
    read = nodes.read_node(written(found, detail, listed))
    assert read == in_xml(found, detail, listed)
    assert read.path == PATH
    assert len(read.children) == len(listed)


def test_the_form_is_plain() -> None:
    link = written(node(NodeType.LINK, props={"urn:x": "1"}), Detail.MIN, [])
    uri = "vos://example.org~space/d%20%C3%A9/a&'%22"
    assert json.loads(link) == {"uri": uri, "type": "LinkNode", "target": "urn:t&"}
    container = json.loads(written(node(NodeType.CONTAINER), Detail.MAX, []))
    assert list(container) == [
        "uri", "type", "properties", "readOnly", "accepts", "provides", "nodes",
    ]  # fmt: skip
    assert container["nodes"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"text"',
        b"\xff",
        b'{"type":"Node"}',
        b'{"uri":"vos://a/b"}',
        b'{"uri":"vos://a/b","type":"FooNode"}',
        b'{"uri":7,"type":"Node"}',
        b'{"uri":"vos://a/b","type":["Node"]}',
        b'{"uri":"vos://a/b","type":"Node","properties":[]}',
        b'{"uri":"vos://a/b","type":"Node","properties":{"urn:x":7}}',
        b'{"uri":"vos://a/b","type":"Node","readOnly":7}',
        b'{"uri":"vos://a/b","type":"Node","readOnly":[[]]}',
        b'{"uri":"vos://a/b","type":"LinkNode","target":7}',
        b'{"uri":"vos://a/b","type":"ContainerNode","nodes":7}',
        b'{"uri":"vos://a/b","type":"ContainerNode","nodes":["x"]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_node_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        nodes.read_node(body)


@pytest.mark.parametrize("uri", ["http://a/b", "vos://a/b/../c", "vos://a/%00", ""])
def test_names_that_cannot_be_are_refused(uri: str) -> None:
    with pytest.raises(InvalidURI):
        nodes.read_node(json.dumps({"uri": uri, "type": "Node"}).encode())
