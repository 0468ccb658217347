"""GET /files: bytes by their path, for clients that have nothing but a URL."""

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from stack import AUTHORITY, Caller, properties

from pyvospace_ngas.model.endpoint import Endpoint, endpoint_keys, sign

DATA = b"The quick brown fox\n" * 1000
DIGEST = "md5=" + b64encode(hashlib.md5(DATA).digest()).decode()


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before an archive node; bob exists too."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path, 1) as running, ClientSession() as http:
        yield Caller(http, running.url, "alice")


async def fetch(caller: Caller, path: str, method: str = "GET", **headers: str) -> stack.Answer:
    """Ask for a file and follow where it leads."""
    found = await caller.request(method, f"/files{path}", headers=headers)
    if found.status != 303:
        return found
    assert found.headers["Cache-Control"] == "no-store"
    return await caller.request(method, found.location, headers=headers)


async def link(caller: Caller, path: str, target: str) -> None:
    uri = target if ":" in target else AUTHORITY + target
    made = await caller.make(path, "LinkNode", f"<vos:target>{uri}</vos:target>")
    assert made.status == 201, made


async def test_a_file_is_got_by_its_path_whole_and_in_parts(alice: Caller) -> None:
    await alice.push("/home/alice/f.fits", DATA)
    got = await fetch(alice, "/home/alice/f.fits")
    assert (got.status, got.body, got.headers["Digest"]) == (200, DATA, DIGEST)
    assert got.headers["Content-Type"] == "application/fits"
    part = await fetch(alice, "/home/alice/f.fits", Range="bytes=10-19")
    assert (part.status, part.body) == (206, DATA[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    same = await fetch(alice, "/home/alice/f.fits", **{"If-None-Match": got.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")
    beyond = await fetch(alice, "/home/alice/f.fits", Range="bytes=99999-")
    assert beyond.status == 416
    head = await fetch(alice, "/home/alice/f.fits", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(DATA)))


ENDPOINT = {"Prefer": "endpoint"}


async def test_a_node_tells_where_its_bytes_are_to_who_prefers_that(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    shown = await alice.get("/nodes/home/alice/f")
    assert "Link" not in shown.headers
    for more in ({}, {"If-None-Match": shown.headers["ETag"]}):
        told = await alice.request("GET", "/nodes/home/alice/f", headers=ENDPOINT | more)
        assert (told.status, told.body) == ((304, b"") if more else (200, shown.body))
        assert told.headers["Preference-Applied"] == "endpoint"
        assert told.headers["Cache-Control"] == "no-store"
        place, _, relation = told.headers["Link"].partition("; ")
        assert relation == 'rel="describes"'
        assert (await replace(alice, user=None).get(place.strip("<>"))).body == DATA
    await link(alice, "/home/alice/l", "/home/alice/f")
    for path in ("/home/alice", "/home/alice/l"):  # which have no bytes of their own
        told = await alice.request("GET", f"/nodes{path}", headers=ENDPOINT)
        assert (told.status, "Link" in told.headers) == (200, False)
    assert (await alice.get("/transfers")).text.count("<uws:jobref") == 1  # of the push
    for user in ("bob", None):
        refused = await replace(alice, user=user).request(
            "GET", "/nodes/home/alice/f", headers=ENDPOINT
        )
        assert (refused.status in (401, 403), "Link" in refused.headers) == (True, False)


async def create(
    alice: Caller, path: str, kind: str = "DataNode", inner: str = ""
) -> stack.Answer:
    """createNode, by who is about to send the bytes."""
    return await alice.request(
        "PUT", f"/nodes{path}", stack.node(path, kind, inner), headers=ENDPOINT
    )


def place_of(made: stack.Answer) -> str:
    """Return where its bytes go."""
    return made.headers["Link"].partition(">")[0].removeprefix("<")


async def test_a_node_is_made_with_a_place_for_its_bytes(alice: Caller) -> None:
    made = await create(alice, "/home/alice/f", inner=properties(title="t"))
    assert (made.status, made.headers["Preference-Applied"]) == (201, "endpoint")
    assert made.headers["Cache-Control"] == "no-store"
    assert ">t</vos:property>" in made.text
    anybody, place = replace(alice, user=None), place_of(made)
    assert made.headers["Link"] == f'<{place}>; rel="edit-media"'
    job = (await alice.get("/transfers?PHASE=EXECUTING")).text
    assert job.count("<uws:jobref") == 1
    for data, status in ((DATA, 201), (DATA, 201), (b"other", 409)):
        put = await anybody.request("PUT", place, data)
        assert put.status == status, put
    assert (await fetch(alice, "/home/alice/f")).body == DATA
    assert (await alice.get("/transfers?PHASE=COMPLETED")).text.count("<uws:jobref") == 1


async def test_a_place_for_bytes_is_for_new_data_nodes_only(alice: Caller) -> None:
    target = f"<vos:target>{AUTHORITY}/home/alice/f</vos:target>"
    for kind, inner in (("ContainerNode", ""), ("LinkNode", target)):
        made = await create(alice, f"/home/alice/{kind}", kind, inner)
        assert (made.status, "Link" in made.headers) == (201, False)
    for path, status, fault in (
        ("/home/alice/ContainerNode", 409, "DuplicateNode"),
        ("/home/alice/none/f", 404, "ContainerNotFound"),
        ("/home/bob/f", 403, "PermissionDenied"),
    ):
        refused = await create(alice, path)
        assert (refused.status, refused.fault, "Link" in refused.headers) == (status, fault, False)
    assert (await alice.get("/transfers")).text.count("<uws:jobref") == 0


async def test_a_place_for_bytes_is_as_good_as_its_job_and_its_node(alice: Caller) -> None:
    places = []
    for name in "ab":
        places.append(place_of(await create(alice, f"/home/alice/{name}")))
    await alice.delete("/nodes/home/alice/a")
    jobs = (await alice.get("/transfers")).text
    for job in {part.partition('"')[0] for part in jobs.split('jobref id="')[1:]}:
        await alice.form(f"/transfers/{job}/phase", "PHASE=ABORT")
    for place in places:
        put = await alice.request("PUT", place, DATA)
        assert (put.status, put.fault) == (404, "EndpointNotFound")
    made = await create(alice, "/home/alice/c")
    await alice.delete("/nodes/home/alice/c")
    put = await alice.request("PUT", place_of(made), DATA)
    assert (put.status, put.fault) == (404, "NodeNotFound")


async def test_a_node_is_made_also_while_no_storage_server_is_there(
    dsn: str, tmp_path: Path
) -> None:
    await stack.add_user(dsn, "alice")
    config = stack.parsed(stack.settings(dsn, tmp_path))
    async with stack.space_server(config) as url, ClientSession() as http:
        made = await create(Caller(http, url, "alice"), "/home/alice/f")
        assert (made.status, "Link" in made.headers) == (201, False)


async def test_it_works_below_auth_too_and_leaves_no_job(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    before = (await alice.get("/transfers")).text.count("jobref ")
    below = Caller(alice.http, f"{alice.base}/auth", "alice")
    assert (await fetch(below, "/home/alice/f")).body == DATA
    assert (await alice.get("/transfers")).text.count("jobref ") == before


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a%20b%2Bc%3Fd%25.txt", "a%20b+c%3Fd%25.txt"),
        ("a+b=c,d(1)~e@f.txt", "a+b=c,d(1)~e@f.txt"),
        ("%C3%A9toile.csv", "%C3%A9toile.csv"),
        ("nodes", "nodes"),
        ("files", "files"),
    ],
)
async def test_any_name_is_a_path(alice: Caller, name: str, shown: str) -> None:
    await alice.push(f"/home/alice/{name}", DATA)
    found = await alice.get(f"/files/home/alice/{name}")
    assert found.location.rpartition("/")[2] == shown
    assert (await alice.get(found.location)).body == DATA


async def test_the_owner_says_what_the_type_is(alice: Caller) -> None:
    await alice.push("/home/alice/f.bin", DATA)
    await alice.set("/home/alice/f.bin", properties(type="image/png"))
    assert (await fetch(alice, "/home/alice/f.bin")).headers["Content-Type"] == "image/png"


async def test_an_empty_file_is_one(alice: Caller) -> None:
    await alice.make("/home/alice/empty", "DataNode")
    await alice.push("/home/alice/pushed", b"")
    for name in ("empty", "pushed"):
        got = await fetch(alice, f"/home/alice/{name}")
        assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "0")


async def test_links_are_followed_at_the_end_and_on_the_way(alice: Caller) -> None:
    await alice.make("/home/alice/d")
    await alice.push("/home/alice/d/f", DATA)
    await link(alice, "/home/alice/direct", "/home/alice/d/f")
    await link(alice, "/home/alice/way", "/home/alice/d")
    await link(alice, "/home/alice/again", "/home/alice/way")
    for path in ("direct", "way/f", "again/f"):
        assert (await fetch(alice, f"/home/alice/{path}")).body == DATA
    await link(alice, "/home/alice/a", "/home/alice/b")
    await link(alice, "/home/alice/b", "/home/alice/a")
    await link(alice, "/home/alice/out", "http://example.org/f")
    for path in ("a", "a/x", "out"):
        refused = await fetch(alice, f"/home/alice/{path}")
        assert (refused.status, refused.fault) == (400, "InvalidURI")


async def test_a_link_opens_nothing(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    bob = alice("bob")
    await link(bob, "/home/bob/mine", "/home/alice/f")
    refused = await fetch(bob, "/home/bob/mine")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")


async def test_public_files_need_no_login_and_others_ask_for_one(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    stranger = alice(None)
    refused = await fetch(stranger, "/home/alice/f")
    assert (refused.status, refused.fault) == (401, "NotAuthenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert (await fetch(alice("bob"), "/home/alice/f")).status == 403
    for path in ("/home/alice", "/home/alice/f"):
        await alice.set(path, properties(publicread="true"))
    assert (await fetch(stranger, "/home/alice/f")).body == DATA


async def test_what_has_no_bytes_is_refused(alice: Caller) -> None:
    for path, status, fault in (
        ("/home/alice", 400, "ViewNotSupported"),
        ("", 400, "ViewNotSupported"),
        ("/home/alice/none", 404, "NodeNotFound"),
        ("/home/alice/%zz", 400, "InvalidURI"),
        ("/home/alice/.null", 404, "NodeNotFound"),
    ):
        refused = await fetch(alice, path)
        assert (refused.status, refused.fault) == (status, fault), path


async def test_the_place_dies_with_the_node_and_with_time(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    place = (await alice.get("/files/home/alice/f")).location
    await alice.push("/home/alice/f", b"new")
    assert (await alice.get(place)).body == b"new"
    base, _, _ = place.partition("/files/")
    late = Endpoint("", "GET", 7, datetime.now(UTC) - timedelta(seconds=1))
    expired = sign(late, endpoint_keys([stack.SECRET])[0])
    assert (await alice.get(f"{base}/files/{expired}/f")).status == 404
    assert (await alice.request("PUT", place, b"x")).status == 405
    await alice.delete("/nodes/home/alice/f")
    assert (await alice.get(place)).status == 404


async def test_without_a_storage_server_one_is_told_to_come_again(
    dsn: str, tmp_path: Path
) -> None:
    await stack.add_user(dsn, "alice")
    config = stack.parsed(stack.settings(dsn, tmp_path))
    async with stack.space_server(config) as url, ClientSession() as http:
        alice = Caller(http, url, "alice")
        await alice.make("/home/alice/f", "DataNode")
        refused = await alice.get("/files/home/alice/f")
        assert (refused.status, refused.fault) == (503, "ServiceUnavailable")


async def test_the_capabilities_name_it(alice: Caller) -> None:
    listed = (await alice.get("/capabilities")).text
    assert 'standardID="ivo://ivoa.net/std/VOSpace#files-proto"' in listed
    assert f">{alice.base}/files<" in listed
