"""createNode, getNode, setNode and deleteNode over HTTP, on a real PostgreSQL."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from stack import AUTHORITY, CORE, Caller, node, properties
from validation import valid
from waiting_support import until_true

from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.json.nodes import read_node as read_json
from pyvospace_ngas.xml.answers import read_node_document as read_xml

JSON = "RESPONSEFORMAT=json"
LINK = "<vos:target>http://example.org/a?b=1</vos:target>"


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, at a server without archive nodes; bob and the administrator root exist too."""
    await stack.add_user(dsn, "root", admin=True)
    await stack.add_user(dsn, "alice", "stars")
    await stack.add_user(dsn, "bob")
    await stack.add_user(dsn, "carol", "stars")
    config = stack.parsed(stack.settings(dsn, tmp_path / "staging"))
    async with stack.space_server(config) as url, ClientSession() as http:
        yield Caller(http, url, "alice")


def names(text: str) -> list[str]:
    """Return the last parts of the children's URIs, in order."""
    listed = text.partition("<vos:nodes>")[2]
    return [uri.rpartition("/")[2] for uri in re.findall(r'<vos:node [^>]*uri="([^"]*)"', listed)]


async def test_a_container_is_made_read_and_deleted(alice: Caller) -> None:
    made = await alice.make("/home/alice/c", inner=properties(title="A folder"))
    assert made.status == 201
    valid(made.body)
    assert f'uri="{AUTHORITY}/home/alice/c"' in made.text
    read = await alice.get("/nodes/home/alice/c")
    assert (read.status, read.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
    assert "A folder" in read.text
    valid(read.body)
    gone = await alice.delete("/nodes/home/alice/c")
    assert (gone.status, gone.body) == (204, b"")
    assert (await alice.get("/nodes/home/alice/c")).fault == "NodeNotFound"


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
async def test_all_six_types_are_kept(alice: Caller, kind: str, inner: str) -> None:
    made = await alice.make("/home/alice/n", kind, inner)
    assert made.status == 201, made.text
    for detail in ("min", "properties", "max"):
        read = await alice.get(f"/nodes/home/alice/n?detail={detail}")
        assert f'xsi:type="vos:{kind}"' in read.text
        valid(read.body)
    if kind == "LinkNode":
        assert "http://example.org/a?b=1" in made.text


@pytest.mark.parametrize(
    ("path", "document", "status", "fault"),
    [
        ("/home/alice/x", node("/home/alice/y"), 400, "InvalidURI"),
        ("/home/alice/x", node("/home/alice/x").replace("icrar", "other"), 400, "InvalidURI"),
        ("/home/alice/x", node("/home/alice/x").replace("vos://", "ivo://"), 400, "InvalidURI"),
        ("/home/alice/x", node("/home/alice/x", "FooNode"), 400, "TypeNotSupported"),
        ("/home/alice/x", node("/home/alice/x", "LinkNode"), 400, "InvalidArgument"),
        ("/home/alice/x", "<vos:node", 400, "InvalidArgument"),
        ("/home/alice/x", "<vos:transfer/>", 400, "InvalidArgument"),
        (
            "/home/alice/x",
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + node("/home/alice/x"),
            400,
            "InvalidArgument",
        ),
        ("/home/alice/x", "<a>" * 2_000_000, 413, "DocumentTooLarge"),
        ("/home/alice/nope/x", node("/home/alice/nope/x"), 404, "ContainerNotFound"),
        ("/home/alice/a%20b/%2e%2e", node("/home/alice/a%20b/%2e%2e"), 400, "InvalidURI"),
        ("/home/alice/a%2Fb", node("/home/alice/a%2Fb"), 400, "InvalidURI"),
        ("/home/alice/a%00b", node("/home/alice/a%00b"), 400, "InvalidURI"),
        ("/home/alice/a%0Ab", node("/home/alice/a%0Ab"), 400, "InvalidURI"),
        ("/home/alice//b", node("/home/alice//b"), 400, "InvalidURI"),
        ("/home/alice/%zz", node("/home/alice/%zz"), 400, "InvalidURI"),
        ("/home/alice/%ff", node("/home/alice/%ff"), 400, "InvalidURI"),
        ("/home/alice/" + 256 * "n", node("/home/alice/" + 256 * "n"), 400, "InvalidURI"),
        ("/home/alice/.null", node("/home/alice/.null"), 400, "InvalidURI"),
        ("/home/alice", node("/home/alice"), 403, "PermissionDenied"),
        ("/", node("/"), 409, "DuplicateNode"),
        ("/top", node("/top"), 403, "PermissionDenied"),
        ("/home/bob/x", node("/home/bob/x"), 403, "PermissionDenied"),
        (
            "/home/alice/x",
            node("/home/alice/x", inner=properties(length="7")),
            403,
            "PermissionDenied",
        ),
        (
            "/home/alice/x",
            node("/home/alice/x", inner=properties(publicread="maybe")),
            400,
            "InvalidArgument",
        ),
    ],
)
async def test_what_cannot_be_made_is_refused_in_the_words_of_the_standard(
    alice: Caller, path: str, document: str, status: int, fault: str
) -> None:
    before = (await alice.get("/nodes/home/alice")).body
    answer = await alice.request("PUT", f"/nodes{path}", document)
    assert (answer.status, answer.fault) == (status, fault), answer.text
    assert "passwd" not in answer.text
    assert "root:" not in answer.text
    assert (await alice.get("/nodes/home/alice")).body == before


async def test_names_of_every_kind_come_back_as_they_were_made(alice: Caller) -> None:
    for raw in ("a%20b", "%C3%A9", "a+b=c,d(1)~e@f.txt", "x%23y%25z", "it's", "%22q%22%3C%26"):
        made = await alice.make(f"/home/alice/{raw}", "DataNode")
        assert made.status == 201, made.text
        assert f"/home/alice/{raw.replace('%26', '&amp;')}" in made.text
        assert (await alice.get(f"/nodes/home/alice/{raw}")).status == 200
    listed = await alice.get("/nodes/home/alice?detail=min")
    assert "a+b=c,d(1)~e@f.txt" in names(listed.text)
    valid(listed.body)


async def test_both_separators_and_both_prefixes_lead_to_the_same_node(alice: Caller) -> None:
    document = node("/home/alice/s").replace("~", "!")
    made = await alice.request("PUT", "/auth/nodes/home/alice/s", document)
    assert made.status == 201
    assert "icrar.org~ngas/home/alice/s" in made.text
    assert (await alice.get("/nodes/home/alice/s/")).status == 200


async def test_a_node_below_a_link_is_refused_with_the_links_details(alice: Caller) -> None:
    await alice.make("/home/alice/l", "LinkNode", LINK)
    for answer in (
        await alice.make("/home/alice/l/x", "DataNode"),
        await alice.delete("/nodes/home/alice/l/x"),
        await alice.get("/nodes/home/alice/l/x"),
    ):
        assert (answer.status, answer.fault) == (400, "LinkFound")
        assert "http://example.org/a?b=1" in answer.text
        assert "/home/alice/l" in answer.text


async def test_listings_page_by_inclusive_uri_in_one_order(alice: Caller) -> None:
    await alice.make("/home/alice/d")
    made = [f"n{number:02}" for number in range(7)]
    for name in reversed(made):
        await alice.make(f"/home/alice/d/{name}", "DataNode")
    assert names((await alice.get("/nodes/home/alice/d")).text) == made
    start, found = "", []
    while True:
        page = await alice.get(f"/nodes/home/alice/d?limit=3&detail=min{start}")
        listed = names(page.text)
        found += listed[1:] if start else listed
        if len(listed) < 3:
            break
        start = f"&uri={AUTHORITY}/home/alice/d/{listed[-1]}"
    assert found == made
    assert names((await alice.get("/nodes/home/alice/d?limit=0")).text) == []
    for query, fault in (
        ("limit=-1", "InvalidArgument"),
        ("limit=x", "InvalidArgument"),
        ("detail=foo", "InvalidArgument"),
        (f"uri={AUTHORITY}/home/bob/x", "InvalidURI"),
        ("view=urn:x", "ViewNotSupported"),
    ):
        refused = await alice.get(f"/nodes/home/alice/d?{query}")
        assert (refused.status, refused.fault) == (400, fault)


async def test_a_listing_of_many_pages_is_streamed_whole(alice: Caller, dsn: str) -> None:
    await alice.make("/home/alice/big")
    db = await connect(dsn)
    await db.execute(
        """
        insert into node (parent_id, name, type, owner)
        select id, 'f' || to_char(i, 'FM00000'), 2, 'alice'
          from node, generate_series(1, 2500) i where name = 'big'
        """
    )
    await db.close()
    for detail in ("min", "max"):
        answer = await alice.get(f"/nodes/home/alice/big?detail={detail}")
        assert names(answer.text) == [f"f{number:05}" for number in range(1, 2501)]
        valid(answer.body)
        in_json = await alice.get(f"/nodes/home/alice/big?detail={detail}&{JSON}")
        assert read_json(in_json.body) == read_xml(answer.body)


async def test_a_node_is_shown_in_json_to_who_asks_for_it(alice: Caller) -> None:
    place = "/nodes/home/alice/c"
    wanted = node("/home/alice/c", "ContainerNode", properties(title="&lt;ä>"))
    for unknown in ("csv", "", "json&RESPONSEFORMAT=xml"):
        for method in ("PUT", "POST", "GET"):
            body = None if method == "GET" else wanted
            refused = await alice.request(method, f"{place}?RESPONSEFORMAT={unknown}", body)
            assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (await alice.get(f"{place}?{JSON}")).fault == "NodeNotFound"
    made = await alice.request("PUT", f"{place}?responseformat=application/json", wanted)
    assert (made.status, made.headers["Content-Type"]) == (201, "application/json")
    assert json.loads(made.body)["properties"][f"{CORE}title"] == "<ä>"
    await alice.make("/home/alice/c/l", "LinkNode", LINK)
    document = node("/home/alice/c", "Node", properties(title="x"))
    changed = await alice.request("POST", f"{place}?{JSON}", document)
    assert json.loads(changed.body)["properties"][f"{CORE}title"] == "x"
    for query in ("", "detail=min", "detail=properties", "detail=max", "limit=0"):
        shown = await alice.get(f"{place}?{query}&{JSON}")
        plain = await alice.get(f"{place}?{query}")
        assert shown.headers["ETag"] == plain.headers["ETag"]
        assert read_json(shown.body) == read_xml(plain.body)
    same = await alice.get(f"{place}/l?{JSON}", **{"If-None-Match": '"0-0"'})
    assert json.loads(same.body)["target"] == "http://example.org/a?b=1"
    assert (await alice.get(f"{place}?RESPONSEFORMAT=text/xml")).text.startswith("<?xml")


async def test_listings_are_sorted_as_asked_and_paged_so(alice: Caller, dsn: str) -> None:
    await alice.make("/home/alice/d")
    db = await connect(dsn)
    await db.execute(
        """
        insert into node (parent_id, name, type, owner, length, mtime)
        select id, 'f' || i, 2, 'alice', (i * 7) % 5, timestamptz '2026-01-01' + i % 3 * '1 day'
          from node, generate_series(1, 9) i where name = 'd'
        """.replace("'1 day'", "interval '1 day'")
    )
    await db.close()
    made = [(f"f{i}", i * 7 % 5, i % 3) for i in range(1, 10)]
    for sort, key in (("length", 1), ("date", 2), ("name", 0)):
        for order in ("asc", "desc"):
            wanted = [n for n, *_ in sorted(made, key=lambda m: (m[key], m[0]))]
            if order == "desc":
                wanted.reverse()
            query = f"/nodes/home/alice/d?sort={CORE.replace('#', '%23')}{sort}&order={order}"
            assert names((await alice.get(query)).text) == wanted
            first = names((await alice.get(f"{query}&limit=4")).text)
            rest = await alice.get(f"{query}&uri={AUTHORITY}/home/alice/d/{first[-1]}")
            assert first[:-1] + names(rest.text) == wanted
    for wrong in ("sort=urn:x", "order=up"):
        assert (await alice.get(f"/nodes/home/alice/d?{wrong}")).fault == "InvalidArgument"


async def test_properties_are_a_union_blank_and_taken_away(alice: Caller) -> None:
    await alice.make("/home/alice/p", "DataNode")
    await alice.set("/home/alice/p", properties(title="T"))
    await alice.set("/home/alice/p", properties(description=" a  b "))
    both = (await alice.get("/nodes/home/alice/p")).text
    assert f'uri="{CORE}title">T<' in both
    assert f'uri="{CORE}description"> a  b <' in both
    assert f'uri="{CORE}title"><' in (await alice.set("/home/alice/p", properties(title=""))).text
    gone = await alice.set("/home/alice/p", properties(title=None))
    assert f"{CORE}title" not in gone.text
    assert (await alice.set("/home/alice/p", properties(title=None))).status == 200
    used = await alice.get("/properties")
    assert f"{CORE}description" in used.text
    valid(used.body)


async def test_a_change_is_whole_or_not_at_all(alice: Caller) -> None:
    await alice.make("/home/alice/p", "DataNode")
    refused = await alice.set("/home/alice/p", properties(title="T", length="1"))
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert f"{CORE}title" not in (await alice.get("/nodes/home/alice/p")).text


async def test_a_document_that_was_read_may_be_sent_back(alice: Caller) -> None:
    await alice.make("/home/alice/p", "DataNode", properties(title="T"))
    read = await alice.get("/nodes/home/alice/p")
    assert (await alice.request("POST", "/nodes/home/alice/p", read.body)).status == 200


async def test_setting_refuses_what_it_must(alice: Caller) -> None:
    await alice.make("/home/alice/p", "DataNode")
    for path, fault, status in (
        ("/home/alice/none", "NodeNotFound", 404),
        ("/home/alice/none/x", "ContainerNotFound", 404),
        ("/home/bob", "PermissionDenied", 403),
    ):
        answer = await alice.set(path, properties(title="T"))
        assert (answer.status, answer.fault) == (status, fault)
    other = await alice.set("/home/alice/p", "<vos:nodes/>", "ContainerNode")
    assert (other.status, other.fault) == (400, "InvalidArgument")


async def test_a_links_target_can_be_changed(alice: Caller) -> None:
    await alice.make("/home/alice/l", "LinkNode", LINK)
    changed = await alice.set("/home/alice/l", "<vos:target>urn:x</vos:target>", "LinkNode")
    assert "urn:x" in changed.text


async def test_of_many_creators_one_wins(alice: Caller) -> None:
    answers = await asyncio.gather(*(alice.make("/home/alice/w") for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + 7 * [409]


async def test_names_made_by_the_service_differ(alice: Caller) -> None:
    first, second = [await alice.make("/home/alice/.auto", "DataNode") for _ in range(2)]
    assert first.status == second.status == 201
    assert len(names((await alice.get("/nodes/home/alice")).text)) == 2


async def test_a_stranger_leaves_and_learns_nothing(alice: Caller) -> None:
    await alice.make("/home/alice/secret", "DataNode")
    for user in ("bob", None):
        stranger = alice(user)
        for answer in (
            await stranger.get("/nodes/home/alice"),
            await stranger.get("/nodes/home/alice/secret"),
            await stranger.get("/nodes/home/alice/no-such"),
            await stranger.delete("/nodes/home/alice/secret"),
            await stranger.delete("/nodes/home/alice/no-such"),
            await stranger.make("/home/alice/theirs"),
            await stranger.make("/home/alice/secret"),
            await stranger.set("/home/alice/secret", properties(title="T")),
        ):
            assert (answer.status, answer.fault) == (403, "PermissionDenied"), answer.text
    assert names((await alice.get("/nodes/home/alice")).text) == ["secret"]
    assert "alice" in names((await alice(None).get("/nodes/home")).text)


async def test_groups_and_the_public_flag_open_what_they_say(alice: Caller) -> None:
    carol, bob = alice("carol"), alice("bob")
    await alice.make("/home/alice/g", inner=properties(groupread="stars"))
    await alice.set("/home/alice", properties(groupread="ivo://icrar.org/gms?stars,others"))
    assert (await carol.get("/nodes/home/alice/g")).status == 200
    assert (await bob.get("/nodes/home/alice/g")).status == 403
    assert (await carol.make("/home/alice/g/x")).status == 403
    assert "ivo://icrar.org/gms?stars,others" in (await alice.get("/nodes/home/alice")).text
    await alice.set("/home/alice/g", properties(groupwrite="stars"))
    assert (await carol.make("/home/alice/g/x")).status == 201
    denied = await carol.set("/home/alice/g", properties(publicread="true"))
    assert denied.fault == "PermissionDenied"
    await alice.set("/home/alice", properties(publicread="true"))
    await alice.set("/home/alice/g", properties(publicread="true"))
    assert (await alice(None).get("/nodes/home/alice/g")).status == 200


async def test_children_that_one_may_not_read_are_listed_bare(alice: Caller) -> None:
    await alice.set("/home/alice", properties(publicread="true"))
    await alice.make("/home/alice/open", "DataNode", properties(title="shown"))
    await alice.make(
        "/home/alice/shut", "DataNode", properties(title="hidden", publicread="false")
    )
    seen = (await alice("bob").get("/nodes/home/alice")).text
    assert names(seen) == ["open", "shut"]
    assert "shown" in seen
    assert "hidden" not in seen
    in_json = await alice("bob").get(f"/nodes/home/alice?{JSON}")
    assert read_json(in_json.body) == read_xml(seen.encode())


async def test_a_tree_is_deleted_whole_and_purged(alice: Caller, dsn: str) -> None:
    for path in ("/d", "/d/s", "/d/s/t"):
        await alice.make(f"/home/alice{path}")
        await alice.make(f"/home/alice{path}/f", "DataNode")
    assert (await alice.delete("/nodes/home/alice/d")).status == 204
    assert (await alice.get("/nodes/home/alice/d/s/t")).fault == "NodeNotFound"
    assert (await alice.make("/home/alice/d")).status == 201
    db = await connect(dsn)
    try:
        left = "select count(*) <= 2 from node where owner = 'alice'"
        await until_true(lambda: db.fetchval(left))
        assert await db.fetchval("select count(*) from trash") == 0
    finally:
        await db.close()


async def test_deleting_refuses_what_it_must(alice: Caller) -> None:
    for path, status, fault in (
        ("", 403, "PermissionDenied"),
        ("/home/alice/none", 404, "NodeNotFound"),
        ("/home/alice/none/x", 404, "ContainerNotFound"),
        ("/home/bob", 403, "PermissionDenied"),
        ("/home/alice", 403, "PermissionDenied"),
    ):
        answer = await alice.delete(f"/nodes{path}")
        assert (answer.status, answer.fault) == (status, fault)


async def test_a_container_of_somebody_else_below_stops_a_delete(alice: Caller) -> None:
    await alice.set("/home/alice", properties(groupread="stars"))
    await alice.make("/home/alice/d", inner=properties(groupread="stars", groupwrite="stars"))
    await alice("carol").make("/home/alice/d/hers", inner=properties(groupwrite=""))
    refused = await alice.delete("/nodes/home/alice/d")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert names((await alice.get("/nodes/home/alice/d")).text) == ["hers"]


async def test_the_service_describes_itself(alice: Caller) -> None:
    anyone = alice(None)
    for path in ("/protocols", "/views", "/properties", "/capabilities", "/availability"):
        answer = await anyone.get(path)
        assert answer.status == 200
        valid(answer.body)
        assert (await anyone.request("HEAD", path)).status == 200
        wrong = await anyone.delete(path)
        assert wrong.status == 405
        assert "GET" in wrong.headers["Allow"]
    assert f"{anyone.base}/nodes" in (await anyone.get("/capabilities")).text
    assert (await anyone.get("/nosuch")).status == 404


async def test_a_node_tells_its_protocols(alice: Caller) -> None:
    await alice.make("/home/alice/p", "DataNode")
    document = f"<vos:protocols {stack.NAMESPACES}/>"
    answer = await alice.request("POST", "/nodes/home/alice/p", document)
    assert (answer.status, "core#httpget" in answer.text) == (200, True)


async def test_two_editors_do_not_overwrite_each_other(alice: Caller) -> None:
    made = await alice.make("/home/alice/p", "DataNode")
    tag = made.headers["ETag"]
    read = await alice.get("/nodes/home/alice/p")
    assert read.headers["ETag"] == tag
    assert (await alice.get("/nodes/home/alice/p", **{"If-None-Match": tag})).status == 304
    assert (await alice.get("/nodes/home/alice/p", **{"If-Match": tag})).status == 200
    for path in ("/nodes/home/alice/p", "/nodes/home/alice"):
        other = await alice.get(path, **{"If-Match": '"other"', "If-None-Match": '"other"'})
        assert (other.status, other.fault) == (412, "PreconditionFailed")
    document = node("/home/alice/p", "DataNode", properties(title="first"))
    first = await alice.request("POST", "/nodes/home/alice/p", document, {"If-Match": tag})
    assert (first.status, first.headers["ETag"] == tag) == (200, False)
    late = document.replace("first", "second")
    second = await alice.request("POST", "/nodes/home/alice/p", late, {"If-Match": tag})
    assert (second.status, second.fault) == (412, "PreconditionFailed")
    gone = await alice.request("DELETE", "/nodes/home/alice/p", headers={"If-Match": tag})
    assert gone.status == 412
    assert "first" in (await alice.get("/nodes/home/alice/p")).text
    now = {"If-Match": first.headers["ETag"]}
    assert (await alice.request("DELETE", "/nodes/home/alice/p", headers=now)).status == 204
