"""Rows XML: documents in and out."""

import time

import pytest
from stack import AUTHORITY, NAMESPACES, node, properties, relocation, transfer
from validation import valid

from conformance.world import Witness, begun, details, kind_of

row = pytest.mark.row
LINK = "<vos:target>urn:x</vos:target>"
V20 = "http://www.ivoa.net/xml/VOSpace/v2.0"


@row("XML-01", "XML-06")
async def test_nodes_say_their_namespace_and_version(alice: Witness, home: str) -> None:
    for path in (home, f"{home}/f"):
        answer = await alice.make(path, "DataNode")
        answer = await alice.get(f"/nodes{path}")
        assert answer.text.partition("?>")[2].lstrip().startswith("<vos:node ")
        assert f'xmlns:vos="{V20}"' in answer.text
        assert ' version="2.1"' in answer.text
        assert answer.headers["Content-Type"].startswith("text/xml")


@row("XML-02", "CRE-17")
@pytest.mark.parametrize(
    "kind", ["ContainerNode", "UnstructuredDataNode", "StructuredDataNode", "DataNode", "Node"]
)
async def test_every_document_is_valid(alice: Witness, home: str, kind: str) -> None:
    inner = properties(title="&lt;&amp;>", description="")
    made = await alice.make(f"{home}/n", kind, inner)
    assert made.status == 201
    documents = [made, await alice.set(f"{home}/n", properties(title="é"))]
    documents += [
        await alice.get(f"/nodes{path}?detail={detail}")
        for path in (home, f"{home}/n")
        for detail in ("min", "properties", "max")
    ]
    documents += [
        await alice.get(path)
        for path in ("/protocols", "/views", "/properties", "/transfers", "/capabilities")
    ]
    if kind.endswith("DataNode"):
        url, job = await begun(alice, transfer(f"{home}/n", "pullFromVoSpace", "httpget"))
        documents += [job, await details(alice, url)]
    for document in documents:
        assert document.headers["Content-Type"].startswith("text/xml"), document
        valid(document.body)


@row("XML-03")
async def test_any_prefix_is_read(alice: Witness, home: str) -> None:
    document = (
        f'<q:node xmlns:q="{V20}" xmlns:s="http://www.w3.org/2001/XMLSchema-instance"'
        f' s:type="q:DataNode" uri="{AUTHORITY}{home}/x"><q:properties/></q:node>'
    )
    made = await alice.request("PUT", f"/nodes{home}/x", document)
    assert (made.status, kind_of(made)[-8:]) == (201, "DataNode")


@row("XML-04")
async def test_the_default_namespace_is_read(alice: Witness, home: str) -> None:
    document = node(f"{home}/x", "DataNode").replace("vos:node", "node")
    document = document.replace("<node ", f'<node xmlns="{V20}" ')
    assert (await alice.request("PUT", f"/nodes{home}/x", document)).status == 201
    bare = document.replace(f"{home}/x", f"{home}/y").replace("vos:DataNode", "ContainerNode")
    made = await alice.request("PUT", f"/nodes{home}/y", bare)
    assert (made.status, kind_of(made)) == (201, "ContainerNode")


@row("XML-05", "CMP-01", "CMP-02")
@pytest.mark.parametrize("version", ["", ' version="2.0"'])
async def test_documents_of_version_2_0_are_read(alice: Witness, home: str, version: str) -> None:
    old = node(f"{home}/x", "DataNode").replace(' version="2.1"', version)
    made = await alice.request("PUT", f"/nodes{home}/x", old)
    assert (made.status, f'xmlns:vos="{V20}"' in made.text) == (201, True)
    protocols = (
        '<vos:protocol uri="ivo://ivoa.net/vospace/core#httpget">'
        '<vos:securityMethod uri="ivo://ivoa.net/sso#BasicAA"/></vos:protocol>'
    )
    document = transfer(f"{home}/x", "pullFromVoSpace", more=protocols)
    methods = []
    for text in (document.replace(' version="2.1"', version), document):
        answer = await alice.sync(text)
        assert answer.status == 303
        details = await alice.get(answer.location)
        assert f'xmlns:vos="{V20}"' in details.text
        assert "<vos:endpoint>" in details.text
        methods.append("securityMethod" in details.text)
    assert methods == [False, True]


@row("XML-07")
@pytest.mark.parametrize(
    "kind", ["", "application/xml", "application/x-www-form-urlencoded", "text/plain", "nonsense"]
)
async def test_xml_is_read_whatever_the_content_type(alice: Witness, home: str, kind: str) -> None:
    said = {"Content-Type": kind}
    document = node(f"{home}/x", "DataNode")
    assert (await alice.request("PUT", f"/nodes{home}/x", document, said)).status == 201
    changed = node(f"{home}/x", "DataNode", properties(title="T"))
    assert (await alice.request("POST", f"/nodes{home}/x", changed, said)).status == 200
    for resource in ("/synctrans", "/transfers"):
        wanted = transfer(f"{home}/x", "pullFromVoSpace", "httpget")
        assert (await alice.request("POST", resource, wanted, said)).status == 303


@row("XML-08", "XML-11")
@pytest.mark.parametrize(
    "body",
    [
        "", " ", "<", "<vos:node", "<vos:node>", "node", "<node/>", "<vos:transfer/>", "\0",
        "<a/><b/>", f"<vos:transfer {NAMESPACES}/>", f"<vos:nodes {NAMESPACES}/>",
        f'<vos:node {NAMESPACES.replace("v2.0", "v2.1")} uri="{AUTHORITY}/x"/>',
    ],
)  # fmt: skip
async def test_what_is_no_node_document_is_the_clients_fault(
    alice: Witness, home: str, body: str
) -> None:
    for method in ("PUT", "POST"):
        refused = await alice.request(method, f"/nodes{home}/x", body)
        assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (await alice.get(f"/nodes{home}/x")).status == 404


@row("XML-09")
async def test_no_entity_is_loaded(alice: Witness, home: str) -> None:
    start = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    for prefix in (start, "<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>"):
        document = prefix + node(f"{home}/x", inner=properties(title="&e;"))
        for text in (document, document.encode("utf-16")):
            refused = await alice.request("PUT", f"/nodes{home}/x", text)
            assert (refused.status, "root:" in refused.text) == (400, False)
        synchronous = await alice.sync(prefix + transfer(f"{home}/x", "pushToVoSpace"))
        assert (synchronous.status, "root:" in synchronous.text) == (400, False)


@row("XML-10")
async def test_bombs_and_oversized_bodies_are_refused(alice: Witness, home: str) -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY a{n} '&a{n - 1 if n else ''};&a{n - 1 if n else ''};'>" for n in range(30)
    )
    bomb += "]>" + node(f"{home}/x", inner=properties(title="&a29;"))
    began = time.monotonic()
    assert (await alice.request("PUT", f"/nodes{home}/x", bomb)).status == 400
    for body in ("<a>" * 3_500_000, "x" * (10 << 20), node(f"{home}/x") + " " * (10 << 20)):
        refused = await alice.request("PUT", f"/nodes{home}/x", body)
        assert refused.status == 413
        assert (await alice.sync(body)).status == 413
    assert time.monotonic() - began < 30


@row("XML-12", "NOD-12", "NOD-03", "MOV-05", "CPY-05")
@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        ("Node", ""),
        ("DataNode", ""),
        ("UnstructuredDataNode", ""),
        ("StructuredDataNode", ""),
        ("ContainerNode", "<vos:nodes/>"),
        ("LinkNode", LINK),
    ],
)
async def test_all_six_types_are_read_and_stay(
    alice: Witness, home: str, kind: str, inner: str
) -> None:
    made = await alice.make(f"{home}/n", kind, inner)
    assert (made.status, kind_of(made)) == (201, kind)
    for keep, there in ((True, "copied"), (False, "moved")):
        await alice.sync(relocation(f"{home}/n", f"{home}/{there}", keep=keep))
        assert kind_of(await alice.get(f"/nodes{home}/{there}")) == kind


@row("XML-13", "CRE-11", "FLT-02")
@pytest.mark.parametrize("kind", ["vos:FooNode", "urn:DataNode", "xs:DataNode", "FooNode", ""])
async def test_another_type_is_refused_by_its_name(alice: Witness, home: str, kind: str) -> None:
    document = node(f"{home}/x").replace("vos:ContainerNode", kind)
    refused = await alice.request("PUT", f"/nodes{home}/x", document)
    assert (refused.status, refused.fault) == (400, "TypeNotSupported")
    assert refused.text.strip() == f"TypeNotSupported {kind}".strip()
    assert (await alice.get(f"/nodes{home}/x")).status == 404


@row("XML-14")
async def test_markup_in_values_is_escaped(alice: Witness, home: str) -> None:
    for value in ("a&lt;b&amp;c", "]]&gt;", "&quot;q&apos;"):
        changed = await alice.set(home, properties(title=value))
        assert changed.status == 200
        plain = value.replace("&quot;", '"').replace("&apos;", "'")
        assert f">{plain}</vos:property>" in (await alice.get(f"/nodes{home}")).text
