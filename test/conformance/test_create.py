"""Rows CRE: createNode."""

import asyncio
import re

import pytest
from stack import AUTHORITY, CORE, NAMESPACES, node, properties

from conformance.world import Witness, World, kind_of, names, of_uri

row = pytest.mark.row


@row("CRE-01", "CRE-02")
async def test_a_node_is_made_with_its_properties(alice: Witness, home: str) -> None:
    made = await alice.make(f"{home}/c", inner=properties(title="T") + "<vos:nodes/>")
    assert (made.status, kind_of(made)) == (201, "ContainerNode")
    assert f'uri="{AUTHORITY}{home}/c"' in made.text
    for answer in (made, await alice.get(f"/nodes{home}/c")):
        assert of_uri(answer, "title") == "T"


@row("CRE-03", "FLT-02")
async def test_url_and_uri_agree(alice: Witness, home: str) -> None:
    refused = await alice.request("PUT", f"/nodes{home}/a", node(f"{home}/b"))
    assert (refused.status, refused.fault) == (400, "InvalidURI")
    assert f"{AUTHORITY}{home}/b" in refused.text
    assert names(await alice.get(f"/nodes{home}")) == []


@row("CRE-04")
@pytest.mark.parametrize("attribute", ["", ' uri=""'])
async def test_the_uri_is_needed(alice: Witness, home: str, attribute: str) -> None:
    document = f'<vos:node {NAMESPACES} xsi:type="vos:DataNode"{attribute}/>'
    refused = await alice.request("PUT", f"/nodes{home}/a", document)
    assert (refused.status, refused.fault) == (400, "InvalidURI")


@row("CRE-05", "FLT-02", "FLT-03")
async def test_what_exists_is_not_made_again(alice: Witness, home: str) -> None:
    for kind in ("ContainerNode", "DataNode"):
        refused = await alice.make(home, kind, properties(title="T"))
        assert (refused.status, refused.text) == (409, f"DuplicateNode {AUTHORITY}{home}")
    assert of_uri(await alice.get(f"/nodes{home}"), "title") is None


@row("CRE-06", "FLT-02", "FLT-03")
@pytest.mark.parametrize("path", ["/nope/x", "/nope/y/x", "/nope/.auto"])
async def test_a_missing_parent_is_named(alice: Witness, home: str, path: str) -> None:
    refused = await alice.make(home + path, "DataNode")
    assert (refused.status, refused.fault) == (404, "ContainerNotFound")
    assert f"{AUTHORITY}{home}/nope" in refused.text


@row("CRE-07", "DEL-05", "FLT-07")
async def test_a_link_in_the_way_is_shown(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/d")
    await alice.make(f"{home}/l", "LinkNode", f"<vos:target>{AUTHORITY}{home}/d</vos:target>")
    for path in ("/l/x", "/l/x/y"):
        for answer in (
            await alice.make(home + path, "DataNode"),
            await alice.get(f"/nodes{home}{path}"),
            await alice.delete(f"/nodes{home}{path}"),
            await alice.set(home + path, properties(title="T")),
        ):
            assert (answer.status, answer.fault) == (400, "LinkFound")
            assert f'uri="{AUTHORITY}{home}/l"' in answer.text
            assert f"<vos:target>{AUTHORITY}{home}/d</vos:target>" in answer.text


@row("CRE-08")
async def test_a_file_holds_no_nodes(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    refused = await alice.make(f"{home}/a/x", "DataNode")
    assert (refused.status, refused.fault) == (404, "ContainerNotFound")
    assert f"{AUTHORITY}{home}/a" in refused.text


@row("CRE-09", "FLT-03")
async def test_what_the_service_sets_cannot_be_brought(alice: Witness, home: str) -> None:
    refused = await alice.make(f"{home}/x", "DataNode", properties(title="T", length="1"))
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert f"{CORE}length" in refused.text
    assert (await alice.get(f"/nodes{home}/x")).status == 404


@row("CRE-10", "FLT-03")
@pytest.mark.parametrize("user", [None, "bob", "carol"])
async def test_who_may_not_write_makes_nothing(alice: Witness, home: str, user: str) -> None:
    await alice.set(home, properties(groupread="stars", publicread="true"))
    refused = await alice(user).make(f"{home}/x")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert names(await alice.get(f"/nodes{home}")) == []


@row("CRE-12")
async def test_the_lists_of_the_document_count_for_nothing(alice: Witness, home: str) -> None:
    inner = (
        '<vos:properties/><vos:accepts><vos:view uri="urn:mine"/></vos:accepts><vos:provides>'
        '<vos:view uri="urn:mine"/></vos:provides><vos:capabilities>'
        '<vos:capability uri="urn:mine"/></vos:capabilities>'
    )
    made = await alice.make(f"{home}/x", "DataNode", inner)
    assert (made.status, "urn:mine" in made.text) == (201, False)
    assert f"{CORE}anyview" in made.text
    child = (
        f'<vos:nodes><vos:node uri="{AUTHORITY}{home}/y/z" xsi:type="vos:DataNode"/></vos:nodes>'
    )
    assert names(await alice.make(f"{home}/y", inner=child)) == []


@row("CRE-13")
async def test_auto_makes_fresh_names(alice: Witness, home: str) -> None:
    uris = set()
    for _ in range(2):
        made = await alice.make(f"{home}/.auto", "DataNode")
        found = re.search('uri="([^"]*)"', made.text)
        assert found, made
        assert made.status == 201
        uris.add(found[1])
    assert len(uris) == 2
    assert all(uri.startswith(f"{AUTHORITY}{home}/") for uri in uris)
    assert {uri.rpartition("/")[2] for uri in uris} == set(names(await alice.get(f"/nodes{home}")))


@row("CRE-14")
@pytest.mark.parametrize("path", ["/.null", "/.null/x", "/.auto/x"])
async def test_null_cannot_be_made(alice: Witness, home: str, path: str) -> None:
    refused = await alice.make(home + path, "DataNode")
    assert (refused.status, refused.fault) == (400, "InvalidURI")


@row("CRE-15")
async def test_the_root_exists(alice: Witness) -> None:
    for path in ("", "/"):
        refused = await alice.request("PUT", f"/nodes{path}", node(path))
        assert (refused.status, refused.fault) == (409, "DuplicateNode")


@row("CRE-16")
@pytest.mark.parametrize("inner", ["", "<vos:target/>", "<vos:target>a b</vos:target>"])
async def test_a_link_needs_a_target(alice: Witness, home: str, inner: str) -> None:
    refused = await alice.make(f"{home}/l", "LinkNode", inner)
    assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert names(await alice.get(f"/nodes{home}")) == []


@row("CRE-18")
async def test_of_puts_at_once_one_makes_the_node(alice: Witness, home: str) -> None:
    for number in range(3):
        answers = await asyncio.gather(*(alice.make(f"{home}/{number}") for _ in range(6)))
        assert sorted(answer.status for answer in answers) == [201] + 5 * [409]


@row("CRE-20")
async def test_a_nil_property_is_not_stored(alice: Witness, home: str) -> None:
    made = await alice.make(f"{home}/x", "DataNode", properties(title=None, subject="S"))
    assert (made.status, of_uri(made, "title"), of_uri(made, "subject")) == (201, None, "S")


@row("CRE-10")
async def test_only_administrators_make_nodes_in_the_root(alice: Witness, running: World) -> None:
    refused = await alice.make("/mine")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
