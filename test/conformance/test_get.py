"""Rows GET: getNode, its details and its pages."""

import pytest
from stack import AUTHORITY, CORE, properties
from validation import valid

from conformance.world import Witness, World, names, of_uri
from pyvospace_ngas.db.connect import connect

row = pytest.mark.row
LISTS = ("<vos:accepts", "<vos:provides", "<vos:capabilities")


@pytest.fixture
def five() -> list[str]:
    """Names whose order is not the one they are made in."""
    return ["B", "a", "b%20c", "b1", "%C3%A9"]


@row("GET-01", "GET-03")
async def test_the_whole_record_is_the_default(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/f", "DataNode", properties(title="T"))
    for path in (home, f"{home}/f"):
        read = await alice.get(f"/nodes{path}")
        assert read.status == 200
        assert all(part in read.text for part in ("<vos:properties>", *LISTS))
        assert read.body == (await alice.get(f"/nodes{path}?detail=max")).body
    assert "<vos:nodes>" in (await alice.get(f"/nodes{home}")).text


@row("GET-02", "GET-04")
@pytest.mark.parametrize(("detail", "told"), [("min", False), ("properties", True)])
async def test_less_detail_leaves_out_what_it_says(
    alice: Witness, home: str, detail: str, told: bool
) -> None:
    await alice.make(f"{home}/f", "DataNode", properties(title="T"))
    for path in (home, f"{home}/f"):
        read = await alice.get(f"/nodes{path}?detail={detail}")
        assert read.status == 200
        assert 'xsi:type="vos:' in read.text
        assert not any(part in read.text for part in LISTS)
        assert ("<vos:property " in read.text) is told
        assert (of_uri(await alice.get(f"/nodes{home}/f?detail={detail}"), "title") == "T") is told


@row("GET-05")
@pytest.mark.parametrize("detail", ["foo", "", "MAX"])
async def test_another_detail_is_refused(alice: Witness, home: str, detail: str) -> None:
    refused = await alice.get(f"/nodes{home}?detail={detail}")
    assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert "detail" in refused.text


@row("GET-07", "GET-08", "GET-09", "GET-10")
@pytest.mark.parametrize("limit", [2, 3, 4, 5, 6])
async def test_pages_put_together_are_the_list(
    alice: Witness, home: str, five: list[str], limit: int
) -> None:
    for name in five:
        await alice.make(f"{home}/{name}", "DataNode")
    whole = names(await alice.get(f"/nodes{home}"))
    assert sorted(whole) == sorted(five)
    pages = [names(await alice.get(f"/nodes{home}?limit={limit}"))]
    while len(pages[-1]) == limit and pages[-1][-1] != whole[-1]:
        last = pages[-1][-1]
        start = f"{AUTHORITY}{home}/{last}".replace("%", "%25")
        pages.append(names(await alice.get(f"/nodes{home}?limit={limit}&uri={start}")))
        assert pages[-1][0] == last
        assert len(pages[-1]) <= limit
    assert pages[0] + [name for page in pages[1:] for name in page[1:]] == whole


@row("GET-11")
async def test_a_limit_of_0_gives_no_children(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a")
    empty = await alice.get(f"/nodes{home}?limit=0")
    assert (empty.status, names(empty), "<vos:nodes>" in empty.text) == (200, [], True)


@row("GET-12")
@pytest.mark.parametrize("limit", ["-1", "x", "", "1.5", "99999999999999999999"])
async def test_a_limit_that_is_none_is_refused(alice: Witness, home: str, limit: str) -> None:
    refused = await alice.get(f"/nodes{home}?limit={limit}")
    assert (refused.status, refused.fault) == (400, "InvalidArgument")


@row("GET-13")
@pytest.mark.parametrize(
    "uri",
    [AUTHORITY + "/home/bob/x", AUTHORITY + "{home}/a/b", "{home}/a", "a", AUTHORITY + "{home}"],
)
async def test_a_uri_of_no_child_is_refused(alice: Witness, home: str, uri: str) -> None:
    refused = await alice.get(f"/nodes{home}?uri={uri.format(home=home)}")
    assert (refused.status, refused.fault) == (400, "InvalidURI")


@row("GET-08")
async def test_a_page_begins_after_a_child_that_was_deleted(alice: Witness, home: str) -> None:
    for name in "abc":
        await alice.make(f"{home}/{name}")
    await alice.delete(f"/nodes{home}/b")
    assert names(await alice.get(f"/nodes{home}?uri={AUTHORITY}{home}/b")) == ["c"]


async def many(running: World, alice: Witness, home: str, count: int) -> None:
    """Ask for a container of ``count`` children, whole and by a page in the middle."""
    db = await connect(running.dsn)
    await db.execute(
        """
        insert into node (parent_id, name, type, owner)
        select id, 'f' || to_char(i, 'FM0000000'), 2, 'alice'
          from node, generate_series(1, $2::int) i where name = $1
        """,
        home.rpartition("/")[2],
        count,
    )
    await db.close()
    seen = 0
    request = alice.http.get(
        f"{alice.base}/nodes{home}?detail=min", headers={"Authorization": running.basic("alice")}
    )
    async with request as answer:
        assert answer.status == 200
        tail = b""
        async for chunk in answer.content.iter_chunked(1 << 18):
            text = tail + chunk
            seen += text.count(b'uri="')
            cut = text.rfind(b"<")
            seen -= text[cut:].count(b'uri="')
            tail = text[cut:]
        assert (tail, seen) == (b"</vos:node>", count + 1)
    middle = f"f{count // 2:07}"
    page = await alice.get(f"/nodes{home}?limit=3&uri={AUTHORITY}{home}/{middle}")
    assert names(page) == [f"f{count // 2 + step:07}" for step in range(3)]
    assert (await alice.delete(f"/nodes{home}")).status == 204


@row("GET-14")
async def test_a_long_list_comes_whole(running: World, alice: Witness, home: str) -> None:
    await many(running, alice, home, 10_000)


@pytest.mark.scale
async def test_two_million_children_come_whole(running: World, alice: Witness, home: str) -> None:
    await many(running, alice, home, 2_000_000)


@row("GET-15", "FLT-01", "FLT-02", "FLT-03")
@pytest.mark.parametrize("path", ["/none", "/none/x/y"])
async def test_a_missing_node_is_named(alice: Witness, home: str, path: str) -> None:
    missing = await alice.get(f"/nodes{home}{path}")
    assert (missing.status, missing.fault) == (404, "NodeNotFound")
    assert f"{AUTHORITY}{home}/none" in missing.text


@row("GET-16", "FLT-03")
@pytest.mark.parametrize("user", [None, "bob", "carol"])
async def test_who_may_not_read_is_told_so(alice: Witness, home: str, user: str) -> None:
    await alice.make(f"{home}/f", "DataNode", properties(title="secret"))
    for path in (home, f"{home}/f", f"{home}/none"):
        refused = await alice(user).get(f"/nodes{path}")
        assert (refused.status, refused.fault) == (403, "PermissionDenied")
        assert "secret" not in refused.text


@row("GET-17")
async def test_children_one_may_not_read_are_listed_bare(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/open", "DataNode", properties(title="shown"))
    await alice.make(f"{home}/shut", "DataNode", properties(title="hidden"))
    await alice.set(home, properties(publicread="true"))
    await alice.set(f"{home}/open", properties(publicread="true"))
    listed = await alice("bob").get(f"/nodes{home}")
    assert names(listed) == ["open", "shut"]
    assert ("shown" in listed.text, "hidden" in listed.text) == (True, False)
    valid(listed.body)


@row("GET-19")
async def test_view_data_leads_to_the_bytes(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"bytes")
    seen = await alice.get(f"/nodes{home}/f?view=data")
    assert seen.status == 303
    assert (await alice(None).get(seen.location)).body == b"bytes"
    assert (await alice("bob").get(f"/nodes{home}/f?view=data")).status == 403
    missing = await alice.get(f"/nodes{home}/none?view=data")
    assert (missing.status, missing.fault) == (404, "NodeNotFound")


@row("GET-20")
@pytest.mark.parametrize("view", ["urn:x", "", "DATA", f"{CORE}anyview".replace("#", "%23")])
async def test_another_view_is_refused(alice: Witness, home: str, view: str) -> None:
    await alice.push(f"{home}/f", b"bytes")
    refused = await alice.get(f"/nodes{home}/f?view={view}")
    assert (refused.status, refused.fault) == (400, "ViewNotSupported")


@row("GET-21")
async def test_head_is_get_without_a_body(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/f", "DataNode")
    for path in (home, f"{home}/f", f"{home}/none"):
        get = await alice.get(f"/nodes{path}")
        head = await alice.request("HEAD", f"/nodes{path}")
        assert (head.status, head.body) == (get.status, b"")
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == get.headers[name]


@row("GET-22")
@pytest.mark.parametrize("root", ["protocols", "protocol"])
@pytest.mark.parametrize("prefix", ["vos:", "x:", ""])
async def test_an_empty_protocols_document_asks_for_them(
    alice: Witness, home: str, root: str, prefix: str
) -> None:
    await alice.make(f"{home}/f", "DataNode")
    name = f":{prefix[:-1]}" if prefix else ""
    document = f'<{prefix}{root} xmlns{name}="http://www.ivoa.net/xml/VOSpace/v2.0"/>'
    answer = await alice.request("POST", f"/nodes{home}/f", document)
    assert (answer.status, "<vos:protocols " in answer.text) == (200, True)
    assert f"{CORE}httpget" in answer.text
    assert (await alice.request("POST", f"/nodes{home}/none", document)).status == 404
    assert (await alice("bob").request("POST", f"/nodes{home}/f", document)).status == 403
