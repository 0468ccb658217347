"""Rows ID: how nodes are named."""

import re

import pytest
from stack import AUTHORITY, CORE, node, transfer

from conformance.world import Witness, World, begun, names, phase

row = pytest.mark.row


@row("ID-01", "GET-18")
async def test_the_root_is_named_by_the_authority(alice: Witness) -> None:
    for path in ("/nodes", "/nodes/"):
        root = await alice.get(path)
        assert root.status == 200
        assert re.search(rf'uri="{re.escape(AUTHORITY)}/?"', root.text)
        assert 'xsi:type="vos:ContainerNode"' in root.text


@row("ID-02")
async def test_one_separator_stands_in_every_authority(alice: Witness, home: str) -> None:
    for name in ("a", "b!c~d"):
        made = node(f"{home}/{name}", "DataNode").replace("icrar.org~ngas", "icrar.org!ngas")
        assert (await alice.request("PUT", f"/nodes{home}/{name}", made)).status == 201
    listed = await alice.get(f"/nodes{home}")
    nodes = [uri for uri in re.findall('uri="vos://([^"]*)', listed.text) if home in uri]
    assert {uri.partition("/")[0] for uri in nodes} == {"icrar.org~ngas"}
    assert f"{home}/b!c~d" in listed.text


@row("ID-03", "ID-04")
@pytest.mark.parametrize("separator", "!~")
async def test_both_separators_are_understood_in_documents(
    alice: Witness, home: str, separator: str
) -> None:
    document = node(f"{home}/i", "DataNode").replace("org~ngas", f"org{separator}ngas")
    made = await alice.request("PUT", f"/nodes{home}/i", document)
    assert (made.status, f'uri="{AUTHORITY}{home}/i"' in made.text) == (201, True)


@row("ID-05")
async def test_both_separators_are_understood_in_a_query(alice: Witness, home: str) -> None:
    for name in "abc":
        await alice.make(f"{home}/{name}", "DataNode")
    pages = [
        await alice.get(f"/nodes{home}?uri=vos://icrar.org{separator}ngas{home}/b")
        for separator in ("~", "!", "%21")
    ]
    assert [page.status for page in pages] == 3 * [200]
    assert [names(page) for page in pages] == 3 * [["b", "c"]]


@row("ID-06")
@pytest.mark.parametrize("separator", "!~")
async def test_both_separators_are_understood_in_target(
    alice: Witness, home: str, separator: str
) -> None:
    await alice.push(f"{home}/a", b"1")
    core = CORE.replace("#", "%23")
    found = await alice.get(
        f"/synctrans?TARGET=vos://icrar.org{separator}ngas{home}/a"
        f"&DIRECTION=pullFromVoSpace&PROTOCOL={core}httpget"
    )
    assert (found.status, "<vos:endpoint>" in found.text) == (200, True)


@row("ID-07", "ID-08", "ID-11", "CRE-19", "FLT-01", "FLT-02", "FLT-03")
@pytest.mark.parametrize(
    "uri",
    [
        "vos://other.org~x{home}/i",
        "ivo://icrar.org/ngas{home}/i",
        "http://icrar.org~ngas{home}/i",
        AUTHORITY + "{home}/a b",
        "vos://",
        "vos:///{home}/i",
        "{home}/i",
        "vos:icrar.org~ngas{home}/i",
        AUTHORITY + "{home}/%",
        AUTHORITY + "{home}/%ff",
    ],
)
async def test_a_uri_that_is_none_of_ours_is_refused(alice: Witness, home: str, uri: str) -> None:
    uri = uri.format(home=home)
    document = node(f"{home}/i", "DataNode").replace(f"{AUTHORITY}{home}/i", uri)
    refused = await alice.request("PUT", f"/nodes{home}/i", document)
    assert (refused.status, refused.fault) == (400, "InvalidURI")
    assert uri[:30] in refused.text
    assert (await alice.get(f"/nodes{home}/i")).status == 404


@row("ID-09", "ID-10", "GET-23")
@pytest.mark.parametrize("name", ["a%20b", "%C3%A9", "x%23y", "p%25q", "%3Cq%3E", "%22"])
async def test_escaped_names_come_back_escaped(alice: Witness, home: str, name: str) -> None:
    made = await alice.make(f"{home}/{name}", "DataNode")
    assert (made.status, f'uri="{AUTHORITY}{home}/{name}"' in made.text) == (201, True)
    read = await alice.get(f"/nodes{home}/{name}")
    assert (read.status, f'uri="{AUTHORITY}{home}/{name}"' in read.text) == (200, True)
    assert names(await alice.get(f"/nodes{home}")) == [name]


@row("ID-12")
@pytest.mark.parametrize("path", ["/../x", "/./x", "//x", "/d/..", "/%2e%2e/x", "/x//"])
async def test_empty_and_dotted_parts_are_refused(alice: Witness, home: str, path: str) -> None:
    refused = await alice.request("PUT", f"/nodes{home}{path}", node(f"{home}{path}"))
    assert (refused.status, refused.fault) == (400, "InvalidURI")
    assert names(await alice.get(f"/nodes{home}")) == []


@row("ID-13")
async def test_a_slash_at_the_end_does_not_count(alice: Witness, home: str) -> None:
    with_, without = await alice.get(f"/nodes{home}/"), await alice.get(f"/nodes{home}")
    assert (with_.status, with_.body) == (200, without.body)


@row("ID-14")
async def test_every_ancestor_is_a_container(alice: Witness, home: str, running: World) -> None:
    await alice.make(f"{home}/a")
    await alice.make(f"{home}/a/b")
    await alice.make(f"{home}/a/b/f", "DataNode")
    path = f"{home}/a/b"
    while path:
        found = await alice.get(f"/nodes{path}?limit=0")
        assert (found.status, 'xsi:type="vos:ContainerNode"' in found.text) == (200, True)
        path = path.rpartition("/")[0]


@row("ID-15")
async def test_an_escaped_slash_divides_nothing(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a")
    await alice.make(f"{home}/a/b", "DataNode")
    for method in ("GET", "DELETE"):
        refused = await alice.request(method, f"/nodes{home}/a%2Fb")
        assert (refused.status, refused.fault) == (400, "InvalidURI")
    assert (await alice.get(f"/nodes{home}/a/b")).status == 200


@row("ID-16")
async def test_a_fragment_plays_no_part(alice: Witness, home: str) -> None:
    document = node(f"{home}/a#x", "DataNode")
    made = await alice.request("PUT", f"/nodes{home}/a", document)
    assert (made.status, f'uri="{AUTHORITY}{home}/a"' in made.text) == (201, True)
    await alice.push(f"{home}/a", b"1")
    _, job = await begun(alice, transfer(f"{home}/a#y", "pullFromVoSpace", "httpget"))
    assert phase(job) == "EXECUTING"
