"""Rows SET and DEL: setNode and deleteNode."""

import pytest
import pytest_asyncio
from stack import AUTHORITY, CORE, node, properties

from conformance.world import Witness, kind_of, names, of_uri

row = pytest.mark.row


@pytest_asyncio.fixture(loop_scope="session")
async def file(alice: Witness, home: str) -> str:
    """A file with a title."""
    path = f"{home}/f"
    made = await alice.make(path, "UnstructuredDataNode", properties(title="T"))
    assert made.status == 201
    return path


@row("SET-01", "SET-02", "SET-03")
async def test_a_change_is_a_union(alice: Witness, file: str) -> None:
    changed = await alice.set(file, properties(subject="S"), "UnstructuredDataNode")
    assert changed.status == 200
    assert (of_uri(changed, "title"), of_uri(changed, "subject")) == ("T", "S")
    assert f"{CORE}anyview" in changed.text
    again = await alice.set(file, properties(title="U"))
    assert (of_uri(again, "title"), of_uri(again, "subject")) == ("U", "S")
    assert again.body == (await alice.get(f"/nodes{file}")).body


@row("SET-04", "SET-05", "SET-06")
async def test_a_value_is_blank_or_taken_away(alice: Witness, file: str) -> None:
    assert of_uri(await alice.set(file, properties(title="")), "title") == ""
    assert of_uri(await alice.get(f"/nodes{file}"), "title") == ""
    gone = await alice.set(file, properties(title=None))
    assert (gone.status, of_uri(gone, "title")) == (200, None)
    assert (await alice.set(file, properties(title=None, rights=None))).status == 200


@row("SET-07", "SET-19")
@pytest.mark.parametrize("name", ["length", "mtime", "btime", "creator", "MD5", "quota"])
async def test_one_bad_property_changes_nothing(alice: Witness, file: str, name: str) -> None:
    before = await alice.get(f"/nodes{file}")
    for value in ("1", None):
        refused = await alice.set(file, properties(title="U", **{name: value}))
        assert (refused.status, refused.fault) == (403, "PermissionDenied")
        assert CORE + name in refused.text
    assert (await alice.get(f"/nodes{file}")).body == before.body


@row("SET-08")
async def test_what_was_read_may_be_sent_back(alice: Witness, file: str, home: str) -> None:
    await alice.push(file, b"1")
    for path in (file, home):
        read = await alice.get(f"/nodes{path}")
        sent = await alice.request("POST", f"/nodes{path}", read.body)
        assert (sent.status, of_uri(sent, "length")) == (200, of_uri(read, "length"))


@row("SET-09", "SET-10", "DEL-03", "DEL-04", "FLT-02", "FLT-03")
async def test_what_is_missing_is_named(alice: Witness, home: str) -> None:
    for answer, fault in (
        (await alice.set(f"{home}/none", properties(title="T"), "DataNode"), "NodeNotFound"),
        (await alice.set(f"{home}/none/x", properties(title="T")), "ContainerNotFound"),
        (await alice.delete(f"/nodes{home}/none"), "NodeNotFound"),
        (await alice.delete(f"/nodes{home}/none/x"), "ContainerNotFound"),
    ):
        assert (answer.status, answer.fault) == (404, fault)
        assert f"{AUTHORITY}{home}/none" in answer.text


@row("SET-11", "DEL-06", "FLT-03")
@pytest.mark.parametrize("user", [None, "bob", "carol"])
async def test_who_may_not_write_changes_and_deletes_nothing(
    alice: Witness, home: str, file: str, user: str
) -> None:
    for path in (home, file):
        await alice.set(path, properties(groupread="stars", publicread="true"))
    before = await alice.get(f"/nodes{file}")
    stranger = alice(user)
    assert (await stranger.get(f"/nodes{file}")).status == 200
    for answer in (
        await stranger.set(file, properties(title="U")),
        await stranger.set(home, properties(publicread="false")),
        await stranger.delete(f"/nodes{file}"),
        await stranger.delete(f"/nodes{home}"),
    ):
        assert (answer.status, answer.fault) == (403, "PermissionDenied")
    assert (await alice.get(f"/nodes{file}")).body == before.body


@row("SET-13", "SET-14")
async def test_the_type_cannot_be_changed(alice: Witness, file: str) -> None:
    for kind in ("ContainerNode", "LinkNode", "StructuredDataNode"):
        inner = "<vos:target>urn:x</vos:target>" if kind == "LinkNode" else ""
        refused = await alice.set(file, inner, kind)
        assert (refused.status, refused.fault) == (400, "InvalidArgument")
    for kind in ("DataNode", "Node", "UnstructuredDataNode"):
        assert (await alice.set(file, properties(title=kind), kind)).status == 200
    untyped = node(file, "Node").replace(' xsi:type="vos:Node"', "")
    assert (await alice.request("POST", f"/nodes{file}", untyped)).status == 200
    assert kind_of(await alice.get(f"/nodes{file}")) == "UnstructuredDataNode"


@row("SET-15")
async def test_the_services_lists_stay(alice: Witness, file: str) -> None:
    view = '<vos:view uri="urn:mine"/>'
    inner = f"<vos:accepts>{view}</vos:accepts><vos:provides>{view}</vos:provides>"
    before = await alice.get(f"/nodes{file}")
    assert (await alice.set(file, inner, "DataNode")).status == 200
    assert (await alice.get(f"/nodes{file}")).body == before.body


@row("SET-16")
async def test_children_are_not_made(alice: Witness, home: str) -> None:
    child = f'<vos:nodes><vos:node xsi:type="vos:DataNode" uri="{AUTHORITY}{home}/x"/></vos:nodes>'
    assert (await alice.set(home, child, "ContainerNode")).status == 200
    assert (await alice.get(f"/nodes{home}/x")).status == 404


@row("SET-17")
async def test_a_links_target_is_changed(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/l", "LinkNode", "<vos:target>urn:x</vos:target>")
    changed = await alice.set(f"{home}/l", "<vos:target>urn:y</vos:target>", "LinkNode")
    assert (changed.status, "<vos:target>urn:y</vos:target>" in changed.text) == (200, True)
    kept = await alice.set(f"{home}/l", properties(title="T"), "LinkNode")
    assert "<vos:target>urn:y</vos:target>" in kept.text


@row("SET-18")
async def test_url_and_uri_agree(alice: Witness, home: str, file: str) -> None:
    refused = await alice.request("POST", f"/nodes{file}", node(f"{home}/g", "DataNode"))
    assert (refused.status, refused.fault) == (400, "InvalidURI")


@row("DEL-01", "DEL-02")
async def test_a_node_goes_with_all_below_it(alice: Witness, home: str) -> None:
    for path in ("/d", "/d/s"):
        await alice.make(home + path)
    await alice.push(f"{home}/d/s/t", b"1")
    gone = await alice.delete(f"/nodes{home}/d")
    assert (gone.status, gone.body) == (204, b"")
    for path in ("/d", "/d/s", "/d/s/t"):
        assert (await alice.get(f"/nodes{home}{path}")).status == 404
    assert names(await alice.get(f"/nodes{home}")) == []


@row("DEL-07")
async def test_a_link_goes_and_its_target_stays(alice: Witness, home: str, file: str) -> None:
    await alice.make(f"{home}/l", "LinkNode", f"<vos:target>{AUTHORITY}{file}</vos:target>")
    assert (await alice.delete(f"/nodes{home}/l")).status == 204
    assert (await alice.get(f"/nodes{file}")).status == 200


@row("DEL-08")
async def test_the_root_stays(alice: Witness) -> None:
    for user in ("alice", "root"):
        refused = await alice(user).delete("/nodes")
        assert (refused.status, refused.fault) == (403, "PermissionDenied")


@row("DEL-09")
async def test_a_container_below_that_one_may_not_write_stops_all(
    alice: Witness, home: str
) -> None:
    carol = alice("carol")
    await alice.make(f"{home}/d")
    await alice.make(f"{home}/d/mine", "DataNode")
    for path in (home, f"{home}/d"):
        await alice.set(path, properties(groupwrite="stars"))
    await carol.make(f"{home}/d/hers", inner=properties(groupwrite=""))
    refused = await alice.delete(f"/nodes{home}/d")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert names(await alice.get(f"/nodes{home}/d")) == ["hers", "mine"]
    assert (await carol.delete(f"/nodes{home}/d/hers")).status == 204
    await carol.make(f"{home}/d/file", "DataNode", properties(groupwrite=""))
    assert (await alice.delete(f"/nodes{home}/d")).status == 204


@row("DEL-10")
@pytest.mark.parametrize(("direction", "method"), [("pullFrom", "GET"), ("pushTo", "PUT")])
async def test_endpoints_of_a_deleted_node_are_void(
    alice: Witness, file: str, direction: str, method: str
) -> None:
    await alice.push(file, b"1")
    protocol = f"http{method.lower()}"
    endpoint = await alice.endpoint(file, f"{direction}VoSpace", protocol)
    assert (await alice.delete(f"/nodes{file}")).status == 204
    void = await alice.request(method, endpoint, None if method == "GET" else b"2")
    assert void.status in (403, 404)
    assert (await alice.get(f"/nodes{file}")).status == 404
