"""Node documents: what a client may write, what we write, and that the one reads the other."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from lxml import etree
from validation import EXAMPLES, valid

from pyvospace_ngas.errors import InvalidArgument, InvalidURI, TypeNotSupported
from pyvospace_ngas.model.node import Detail, Node, NodeTemplate, NodeType
from pyvospace_ngas.model.properties import shown
from pyvospace_ngas.model.uri import ROOT, NodePath, Space
from pyvospace_ngas.xml import nodes
from pyvospace_ngas.xml.answers import read_node_document
from pyvospace_ngas.xml.escaping import VOS, XSI

SPACE = Space("example.org~space", frozenset({"other.org~alias"}))
CORE = "ivo://ivoa.net/vospace/core#"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
ALPHABET = "abcXYZ019 #%+'\"&<>!$()*,;=:@~-._?\\|{}éßжλ中\U0001f600\u0301\u2028"


def node(type_: NodeType = NodeType.UNSTRUCTURED, name: str = "a.fits", **more: object) -> Node:
    fields = {"mtime": NOW, "ctime": NOW, "btime": NOW, **more}
    return Node(7, 1, name, type_, "alice", **fields)  # type: ignore[arg-type]


def whole(
    shown_node: Node,
    path: NodePath,
    space: Space,
    detail: Detail,
    children: Iterable[Node] = (),
) -> str:
    listed = nodes.listed([(child, detail) for child in children], path, space)
    return nodes.node_start(shown_node, path, space, detail) + listed + nodes.node_end(shown_node)


def document(
    attributes: str = "", inner: str = "", uri: str = "vos://example.org~space/a"
) -> bytes:
    names = f'xmlns:q="{VOS}" xmlns:i="{XSI}"'
    return f'<q:node {names} uri="{uri}" {attributes}>{inner}</q:node>'.encode()


def properties(inner: str) -> str:
    return f"<q:properties>{inner}</q:properties>"


@pytest.mark.parametrize("type_", list(NodeType))
def test_all_six_types_are_read_with_any_prefix(type_: NodeType) -> None:
    read = nodes.read_node(document(f'i:type="q:{type_.qname}"'), SPACE)
    assert read == NodeTemplate(NodePath(("a",)), type_)


def test_the_default_namespace_serves_as_a_prefix() -> None:
    body = (
        f'<node xmlns="{VOS}" xmlns:ns1="{VOS}" xmlns:xsi="{XSI}" xsi:type="DataNode"'
        ' uri="vos://example.org!space/a"><ns1:properties><property uri="quality">5</property>'
        "</ns1:properties></node>"
    )
    read = nodes.read_node(body.encode(), SPACE)
    assert read == NodeTemplate(NodePath(("a",)), NodeType.DATA, {"quality": "5"})


def test_a_node_without_a_type_says_nothing_of_it() -> None:
    assert nodes.read_node(document(), SPACE).type is None


@pytest.mark.parametrize("name", ["q:FooNode", "i:DataNode", "none:DataNode", "DataNode", "q:"])
def test_an_unknown_type_is_named_in_the_refusal(name: str) -> None:
    with pytest.raises(TypeNotSupported) as refusal:
        nodes.read_node(document(f'i:type="{name}"'), SPACE)
    assert str(refusal.value) == name


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a",
        "/a",
        "ivo://example.org/space/a",
        "vos://foreign.org~x/a",
        "vos://example.org~space/a b",
        "vos://example.org~space/a//b",
        "vos://example.org~space/../b",
        "vos://example.org~space/a%2Fb",
        "vos://example.org~space/%zz",
        "vos://example.org~space/%ff",
        "vos://example.org~space/.auto/b",
    ],
)
def test_a_bad_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidURI):
        nodes.read_node(document(uri=uri), SPACE)


def test_a_missing_uri_is_refused() -> None:
    with pytest.raises(InvalidURI):
        nodes.read_node(f'<node xmlns="{VOS}"/>'.encode(), SPACE)


@pytest.mark.parametrize("name", [".auto", ".null"])
def test_reserved_names_pass_as_names(name: str) -> None:
    read = nodes.read_node(document(uri=f"vos://other.org!alias/a/{name}"), SPACE)
    assert read.path.name == name


def test_values_are_kept_exactly() -> None:
    inner = properties(
        '<q:property uri="urn:a">  a&lt;b&amp;\n\tc </q:property>'
        '<q:property uri="urn:b"/><q:property uri="urn:c"></q:property>'
        '<q:property uri="urn:d" i:nil="true"/><q:property uri="urn:e" i:nil="1">x</q:property>'
        '<q:property uri="urn:f" i:nil="false" readOnly="true">y</q:property>'
    )
    assert nodes.read_node(document(inner=inner), SPACE).properties == {
        "urn:a": "  a<b&\n\tc ",
        "urn:b": "",
        "urn:c": "",
        "urn:d": None,
        "urn:e": None,
        "urn:f": "y",
    }


@pytest.mark.parametrize(
    "inner",
    [
        "<q:property>x</q:property>",
        '<q:property uri="">x</q:property>',
        '<q:property uri="urn:a">x</q:property><q:property uri="urn:a">x</q:property>',
        '<q:property uri="urn:a">x<q:b/></q:property>',
        '<q:property uri="urn:a" i:nil="perhaps"/>',
    ],
)
def test_a_bad_property_is_refused(inner: str) -> None:
    with pytest.raises(InvalidArgument):
        nodes.read_node(document(inner=properties(inner)), SPACE)


def test_what_only_the_service_sets_is_ignored() -> None:
    inner = (
        '<q:nodes><q:node uri="nonsense"/></q:nodes><q:capabilities><q:x/></q:capabilities>'
        "<q:accepts><q:view/></q:accepts><q:target> http://x.org/a?b=1 </q:target>"
    )
    read = nodes.read_node(document('busy="true"', inner), SPACE)
    assert read == NodeTemplate(NodePath(("a",)), target="http://x.org/a?b=1")


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("type_", list(NodeType))
@pytest.mark.parametrize("busy", [False, True])
def test_every_document_that_we_write_is_valid(
    detail: Detail, type_: NodeType, busy: bool
) -> None:
    children = [node(kind, f"c&{kind}", target="urn:t", busy=busy) for kind in NodeType]
    listed = children if type_ is NodeType.CONTAINER else []
    written = whole(
        node(type_, target="http://x?a&b", busy=busy, props={"urn:x&y": "<&>"}),
        NodePath(("d é", "a&'\"")),
        SPACE,
        detail,
        listed,
    )
    valid(written)
    read = read_node_document(written.encode())
    assert read.type is type_
    assert read.path == NodePath(("d é", "a&'\""))
    assert [child.type for child in read.children] == [child.type for child in listed]
    assert read.busy is (busy and type_.holds_data)


def test_the_form_is_the_one_that_clients_compare() -> None:
    written = whole(node(), NodePath(("a.fits",)), SPACE, Detail.MIN)
    assert written == (
        f'<vos:node xmlns:vos="{VOS}" xmlns:xsi="{XSI}" xsi:type="vos:UnstructuredDataNode" '
        'uri="vos://example.org~space/a.fits" version="2.1" busy="false"></vos:node>'
    )


def test_details_differ_as_the_standard_says() -> None:
    def names(type_: NodeType, detail: Detail) -> list[str]:
        child = [node()] if type_ is NodeType.CONTAINER else []
        root = etree.fromstring(whole(node(type_, target="urn:x"), ROOT, SPACE, detail, child))
        return [etree.QName(part).localname for part in root]

    views = ["accepts", "provides", "capabilities"]
    assert names(NodeType.UNSTRUCTURED, Detail.MIN) == []
    assert names(NodeType.UNSTRUCTURED, Detail.PROPERTIES) == ["properties"]
    assert names(NodeType.UNSTRUCTURED, Detail.MAX) == ["properties", *views]
    assert names(NodeType.CONTAINER, Detail.MIN) == ["nodes"]
    assert names(NodeType.CONTAINER, Detail.PROPERTIES) == ["properties", "nodes"]
    assert names(NodeType.CONTAINER, Detail.MAX) == ["properties", *views, "nodes"]
    assert names(NodeType.LINK, Detail.MIN) == ["target"]
    assert names(NodeType.LINK, Detail.MAX) == ["properties", "target"]
    assert names(NodeType.NODE, Detail.MAX) == ["properties"]


def test_children_have_the_same_detail_and_no_version() -> None:
    listing = whole(node(NodeType.CONTAINER), ROOT, SPACE, Detail.MAX, [node()])
    child = etree.fromstring(listing).find("{*}nodes/{*}node")
    assert child is not None
    assert child.get("version") is None
    assert child.get("uri") == "vos://example.org~space/a.fits"
    assert child.find("{*}accepts/{*}view") is not None


def test_a_child_that_may_not_be_read_shows_name_and_type_only() -> None:
    entry = nodes.child(node(props={"urn:x": "secret"}), ROOT, SPACE, Detail.MIN)
    assert "secret" not in entry
    assert "properties" not in entry


def test_system_properties_are_marked() -> None:
    written = whole(node(length=3, md5="ab"), ROOT, SPACE, Detail.PROPERTIES)
    read = read_node_document(written.encode())
    assert read.read_only == {uri for uri, _, fixed in shown(node(length=3, md5="ab")) if fixed}
    assert (read.length, read.md5) == (3, "ab")
    assert read.modified == NOW.replace(microsecond=678000)


def test_the_link_in_a_fault_is_one_valid_line() -> None:
    line = nodes.link_details(NodePath(("l&", "x y")), "http://x.org/?a\n&b", SPACE)
    valid(line)
    assert "\n" not in line
    assert read_node_document(line.encode()).path == NodePath(("l&", "x y"))


def test_any_name_and_value_survives_both_ways() -> None:
    source = random.Random(20260102)

    def some(longest: int) -> str:
        return "".join(source.choices(ALPHABET, k=source.randint(1, longest)))

    for _ in range(300):
        path = NodePath(tuple(name for name in (some(9), some(9)) if name not in (".", "..")))
        props = {f"urn:{number}": some(30) + "\r\n\t" for number in range(3)}
        shown_node = node(NodeType.LINK, props=props, target="urn:t")
        written = whole(shown_node, path, SPACE, Detail.MAX).encode()
        theirs = nodes.read_node(written, SPACE)
        assert theirs.path == path
        assert {uri: theirs.properties[uri] for uri in props} == props
        template = NodeTemplate(path, NodeType.LINK, {**props, "urn:nil": None}, "urn:t")
        asked = nodes.write_template(template, SPACE)
        valid(asked)
        assert nodes.read_node(asked.encode(), SPACE) == template


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the reference examples are not at hand")
def test_the_reference_examples_are_read() -> None:
    found = sorted(EXAMPLES.glob("node-*.xml"))
    assert found
    for file in [*found, EXAMPLES / "setnode-request.xml"]:
        valid(file.read_bytes())
        assert nodes.read_node(file.read_bytes(), SPACE).type is not None


@pytest.mark.parametrize(
    "broken", ['<vos:node uri="http://x"', "<vos:node", '<vos:node uri="vos://a~b/%"']
)
def test_a_client_is_told_when_a_server_makes_no_sense(broken: str) -> None:
    with pytest.raises((InvalidURI, InvalidArgument)):
        read_node_document(f'{broken} xmlns:vos="{VOS}"/>'.encode())


def test_what_a_client_says_of_who_may_set_a_property_is_no_matter() -> None:
    inner = properties('<q:property uri="urn:a" readOnly="maybe">v</q:property>')
    assert nodes.read_node(document(inner=inner), SPACE).properties == {"urn:a": "v"}
