"""Pushes, pulls, moves and copies as UWS jobs, through to real archive nodes and back."""

import asyncio
import hashlib
import json
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from archive_support import set_attributes
from lxml import etree
from stack import AUTHORITY, CORE, Caller, properties, relocation, transfer
from validation import valid
from waiting_support import until_true

from pyvospace_ngas.db.connect import connect

DATA = b"The quick brown fox\n" * 1000
UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
XLINK = "{http://www.w3.org/1999/xlink}"
MD5 = "md5=" + b64encode(hashlib.md5(DATA).digest()).decode()


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before two archive nodes; bob exists too."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path) as running, ClientSession() as http:
        yield Caller(http, running.url, "alice")


def phase(job: stack.Answer) -> str:
    """Return the phase out of a job document."""
    return job.text.partition("<uws:phase>")[2].partition("<")[0]


async def test_bytes_go_in_and_come_back(alice: Caller) -> None:
    put = await alice.push("/home/alice/f", DATA)
    assert (put.status, put.headers["Digest"]) == (201, MD5)
    shown = (await alice.get("/nodes/home/alice/f")).text
    assert f">{len(DATA)}<" in shown
    assert hashlib.md5(DATA).hexdigest() in shown
    assert 'busy="false"' in shown
    got = await alice.pull("/home/alice/f")
    assert (got.status, got.body, got.headers["Digest"]) == (200, DATA, MD5)
    part = await alice.pull("/home/alice/f", Range="bytes=10-19")
    assert (part.status, part.body) == (206, DATA[10:20])


async def test_an_asynchronous_push_is_a_job_that_its_bytes_complete(alice: Caller) -> None:
    made = await alice.request(
        "POST", "/transfers?RUNID=abc", transfer("/home/alice/f", "pushToVoSpace", "httpput")
    )
    assert made.status == 303
    job = made.location
    pending = await alice.get(job)
    valid(pending.body)
    assert (phase(pending), "<uws:runId>abc<" in pending.text) == ("PENDING", True)
    assert (await alice.get(f"{job}/results/transferDetails")).status == 404
    assert (await alice.form(f"{job}/phase", "phase=run")).location == job
    executing = await alice.get(job)
    valid(executing.body)
    assert phase(executing) == "EXECUTING"
    details = await alice.get(f"{job}/results/transferDetails")
    valid(details.body)
    endpoint = re.findall("<vos:endpoint>([^<]*)", details.text)[0]
    assert (await alice.get("/nodes/home/alice/f")).status == 200
    waiting = asyncio.create_task(alice.get(f"{job}?WAIT=30"))
    assert (await alice.request("PUT", endpoint, DATA)).status == 201
    assert phase(await waiting) == "COMPLETED"
    assert (await alice.get(f"{job}/phase")).text == "COMPLETED"
    assert (await alice.form(f"{job}/phase", "PHASE=RUN")).status == 403
    assert f'xlink:href="{AUTHORITY}/home/alice/f"' in (await alice.get(f"{job}/results")).text


async def test_a_push_replaces_the_bytes_and_clears_the_clients_properties(alice: Caller) -> None:
    await alice.push("/home/alice/f", b"first")
    await alice.set("/home/alice/f", properties(title="T", groupread="g"))
    await alice.push("/home/alice/f", DATA)
    shown = (await alice.get("/nodes/home/alice/f")).text
    assert f"{CORE}title" not in shown
    assert f'{CORE}groupread">g<' in shown
    assert (await alice.pull("/home/alice/f")).body == DATA


async def test_an_empty_file_is_a_file(alice: Caller) -> None:
    assert (await alice.push("/home/alice/e", b"")).status == 201
    got = await alice.pull("/home/alice/e")
    assert (got.status, got.body) == (200, b"")


async def test_a_wrong_digest_is_refused_and_the_endpoint_stays_good(alice: Caller) -> None:
    endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpput")
    other = "md5=" + b64encode(hashlib.md5(b"x").digest()).decode()
    refused = await alice.request("PUT", endpoint, DATA, {"Digest": other})
    assert (refused.status, refused.fault) == (412, "ChecksumMismatch")
    assert 'busy="false"' in (await alice.get("/nodes/home/alice/f")).text
    assert (await alice.request("PUT", endpoint, DATA, {"Digest": MD5})).status == 201
    assert (await alice.request("PUT", endpoint, b"other")).status == 409


async def test_a_push_into_a_container_makes_a_child(alice: Caller) -> None:
    answer = await alice.sync(transfer("/home/alice", "pushToVoSpace", "httpput"))
    details = await alice.get(answer.location)
    target = details.text.partition("<vos:target>")[2].partition("<")[0]
    assert target.startswith(f"{AUTHORITY}/home/alice/")
    endpoint = re.findall("<vos:endpoint>([^<]*)", details.text)[0]
    assert (await alice.request("PUT", endpoint, DATA)).status == 201
    assert (await alice.pull(target.removeprefix(AUTHORITY))).body == DATA


async def test_links_are_followed_to_the_bytes_but_not_in_circles(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    for name, target in (("l", "f"), ("a", "b"), ("b", "a")):
        link = f"<vos:target>{AUTHORITY}/home/alice/{target}</vos:target>"
        await alice.make(f"/home/alice/{name}", "LinkNode", link)
    assert (await alice.pull("/home/alice/l")).body == DATA
    await alice.push("/home/alice/l", b"through the link")
    assert (await alice.pull("/home/alice/f")).body == b"through the link"
    _, job = await alice.run(transfer("/home/alice/a", "pullFromVoSpace", "httpget"))
    assert phase(job) == "ERROR"


async def test_what_goes_to_null_is_dropped(alice: Caller) -> None:
    assert (await alice.push("/home/alice/.null", DATA)).status in (200, 201)
    assert (await alice.pull("/home/alice/.null")).body == b""
    assert "/home/alice/" not in (await alice.get("/nodes/home/alice?detail=min")).text


@pytest.mark.parametrize(
    ("document", "name", "message"),
    [
        (transfer("/home/alice/no", "pullFromVoSpace", "httpget"), "NodeNotFound", "Node Not"),
        (transfer("/home/no/x/y", "pushToVoSpace", "httpput"), "ContainerNotFound", "Container"),
        (transfer("/home/bob/x", "pushToVoSpace", "httpput"), "PermissionDenied", "Permission"),
        (transfer("/home/alice/x", "pushToVoSpace", "urn:x"), "ProtocolNotSupported", "Protocol"),
        (
            transfer(
                "/home/alice/x", "pushToVoSpace", "httpput", more='<vos:view uri="urn:example:v"/>'
            ),
            "ViewNotSupported",
            "View Not Supported",
        ),
        (transfer("/home/alice", "pullFromVoSpace", "httpget"), "ViewNotSupported", "View"),
        (relocation("/home/alice/no", "/home/alice/x", keep=False), "NodeNotFound", "Node Not"),
        (relocation("/home/bob", "/home/alice/x", keep=False), "PermissionDenied", "Permission"),
        (relocation("/home/alice/d", "/home/no/x", keep=True), "NodeNotFound", "Node Not Found"),
        (relocation("/home/alice/d", "/home/alice/d/e", keep=False), "InvalidURI", "Invalid URI"),
        (relocation("/home/alice/d", "/home/alice/d", keep=True), "InvalidURI", "Invalid URI"),
        (relocation("/home/alice/d", "vos://other.org~x/b", keep=True), "InvalidURI", "Invalid"),
        (relocation("/home/alice/d", "/home/alice/n", keep=False), "DuplicateNode", "Duplicate"),
    ],
)
async def test_a_refusal_ends_the_job_in_the_words_of_the_standard(
    alice: Caller, document: str, name: str, message: str
) -> None:
    await alice.make("/home/alice/d")
    await alice.make("/home/alice/n", "DataNode")
    url, job = await alice.run(document)
    valid(job.body)
    assert phase(job) == "ERROR"
    assert f"<uws:message>{message}" in job.text
    error = await alice.get(f"{url}/error")
    assert (error.status, error.fault) == (200, name)
    sync = await alice.sync(document)
    assert sync.status == 303
    details = await alice.get(sync.location)
    assert (details.status, "<vos:protocol " in details.text) == (200, False)


async def test_a_tree_is_moved_and_copied_with_its_bytes(alice: Caller) -> None:
    await alice.make("/home/alice/t")
    await alice.make("/home/alice/t/u")
    await alice.make("/home/alice/into")
    await alice.push("/home/alice/t/u/f", DATA)
    url, copied = await alice.run(relocation("/home/alice/t", "/home/alice/into", keep=True))
    assert phase(copied) == "COMPLETED", (await alice.get(f"{url}/error")).text
    assert f"{AUTHORITY}/home/alice/into/t" in copied.text
    _, moved = await alice.run(relocation("/home/alice/t", "/home/alice/w", keep=False))
    assert phase(moved) == "COMPLETED"
    assert (await alice.get("/nodes/home/alice/t")).status == 404
    await alice.push("/home/alice/w/u/f", b"changed")
    assert (await alice.pull("/home/alice/into/t/u/f")).body == DATA
    assert (await alice.pull("/home/alice/w/u/f")).body == b"changed"
    await alice.run(relocation("/home/alice/w", "/home/alice/.null", keep=False))
    assert (await alice.get("/nodes/home/alice/w")).status == 404


async def test_a_synchronous_move_is_done_when_it_is_answered(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    answer = await alice.sync(relocation("/home/alice/f", "/home/alice/g", keep=False))
    assert (answer.status, (await alice.get("/nodes/home/alice/g")).status) == (303, 200)


async def test_properties_come_with_bytes(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    await alice.set("/home/alice/f", properties(title="of the old bytes", publicread="true"))
    before = (await alice.get("/nodes/home/alice/f")).headers["ETag"]
    given = json.dumps({f"{CORE}description": "naïve"})
    answer = await alice.push("/home/alice/f", b"new", **{"X-VO-Properties": given})
    node = await alice.get("/nodes/home/alice/f")
    told = [answer.headers[f"X-VO-Node-{name}"] for name in ("Before", "After", "Changed")]
    assert told[:2] == [before, node.headers["ETag"]]
    shown = re.sub(' readOnly="[a-z]+"', "", node.text)
    assert f'{CORE}description">naïve<' in shown
    assert f'{CORE}mtime">{told[2]}<' in shown
    assert f'{CORE}publicread">true<' in shown  # sharing stays
    assert f"{CORE}title" not in shown
    assert (await alice.pull("/home/alice/f")).body == b"new"
    await alice.push(
        "/home/alice/f", b"3", **{"X-VO-Properties": f'{{"{CORE}publicread":"false"}}'}
    )
    assert f'{CORE}publicread">false<' in (await alice.get("/nodes/home/alice/f")).text.replace(
        ' readOnly="false"', ""
    )


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("title", 400),
        ("[]", 400),
        ("[" * 8000, 400),
        ('{"ivo://example.org#a": 1}', 400),
        ('{"no uri": "a"}', 400),
        ('{"ivo://example.org#a": "\\u0000"}', 400),
        (f'{{"{CORE}length": "5"}}', 403),
        (f'{{"{CORE}groupread": "ivo://example.org/g"}}', 403),
        ('{"ivo://cadc.nrc.ca/vospace/core#islocked": "true"}', 403),
    ],
)
async def test_bytes_are_refused_with_properties_that_cannot_come_with_them(
    alice: Caller, given: str, status: int
) -> None:
    endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpput")
    refused = await alice.request("PUT", endpoint, DATA, {"X-VO-Properties": given})
    assert refused.status == status
    assert (await alice.request("PUT", endpoint, DATA)).status == 201  # it was not spent


async def test_only_the_owner_says_with_bytes_who_may_read_them(alice: Caller, dsn: str) -> None:
    await stack.add_user(dsn, "carol", "team")
    await alice.set("/home/alice", properties(groupread="team"))
    await alice.push("/home/alice/f", DATA)
    await alice.set("/home/alice/f", properties(groupwrite="team"))
    public = {"X-VO-Properties": f'{{"{CORE}publicread": "true"}}'}
    refused = await alice("carol").push("/home/alice/f", b"of carol", **public)
    assert (refused.status, "only the owner" in refused.text) == (403, True)
    assert (await alice.pull("/home/alice/f")).body == DATA
    assert (await alice("carol").push("/home/alice/f", b"of carol")).status == 201
    assert (await alice.push("/home/alice/f", DATA, **public)).status == 201


async def test_two_moves_into_each_other_never_make_a_cycle(alice: Caller) -> None:
    for _ in range(5):
        await alice.make("/home/alice/a")
        await alice.make("/home/alice/b")
        await asyncio.gather(
            alice.sync(relocation("/home/alice/a", "/home/alice/b/a", keep=False)),
            alice.sync(relocation("/home/alice/b", "/home/alice/a/b", keep=False)),
        )
        left = [(await alice.get(f"/nodes/home/alice/{name}")).status for name in "ab"]
        assert sorted(left) == [200, 404]
        for name in "ab":
            await alice.delete(f"/nodes/home/alice/{name}")


async def test_an_aborted_job_voids_its_endpoints_and_takes_its_node_along(alice: Caller) -> None:
    made = await alice.sync(transfer("/home/alice/f", "pushToVoSpace", "httpput"))
    job = made.location.removesuffix("/results/transferDetails")
    details = (await alice.get(made.location)).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]
    assert (await alice.form(f"{job}/phase", "PHASE=ABORT")).status == 303
    assert (await alice.get(f"{job}/phase")).text == "ABORTED"
    assert (await alice.request("PUT", endpoint, DATA)).status == 404
    assert (await alice.get("/nodes/home/alice/f")).status == 404
    assert (await alice.delete(job)).location.endswith("/transfers")
    assert (await alice.get(job)).status == 404


async def test_jobs_are_their_owners(alice: Caller) -> None:
    made = await alice.request(
        "POST", "/transfers", relocation("/home/alice/a", "/home/alice/b", keep=False)
    )
    job = made.location
    assert (await alice("bob").get(job)).status == 403
    assert job not in (await alice("bob").get("/transfers")).text
    listed = await alice.get("/transfers?PHASE=PENDING&PHASE=ERROR&LAST=1")
    valid(listed.body)
    assert job in listed.text
    for query in ("LAST=0", "AFTER=x", "PHASE=FOO"):
        assert (await alice.get(f"/transfers?{query}")).status == 400
    assert (await alice.get(f"{job}/owner")).text == "alice"
    for sub in ("parameters", "results"):
        valid((await alice.get(f"{job}/{sub}")).body)
    assert (await alice.form(f"{job}/executionduration", "EXECUTIONDURATION=600")).status == 303
    assert (await alice.get(f"{job}/executionduration")).text == "600"
    assert (
        await alice.form(f"{job}/destruction", "DESTRUCTION=2026-12-01T00:00:00Z")
    ).status == 303
    assert (await alice.get(f"{job}/quote")).text == ""
    assert (await alice.get(f"{job}/error")).status == 404
    assert (await alice.delete(f"{job}/phase")).status == 405
    begin = time.monotonic()
    assert phase(await alice.get(f"{job}?WAIT=30&PHASE=QUEUED")) == "PENDING"
    assert time.monotonic() - begin < 20


async def test_a_job_is_archived_at_its_destruction_time_and_goes_at_the_next(
    alice: Caller,
) -> None:
    made = await alice.request(
        "POST", "/transfers", relocation("/home/alice/a", "/home/alice/b", keep=False)
    )
    await alice.form(f"{made.location}/destruction", "DESTRUCTION=2020-01-01T00:00:00Z")

    async def archived() -> bool:
        return (await alice.get(f"{made.location}/phase")).text == "ARCHIVED"

    async def gone() -> bool:
        return (await alice.get(made.location)).status == 404

    await until_true(archived)
    await alice.form(f"{made.location}/destruction", "DESTRUCTION=2020-01-01T00:00:00Z")
    await until_true(gone)


async def test_parameters_are_answered_by_the_transfer_itself(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    core = CORE.replace("#", "%23")
    query = f"TARGET={AUTHORITY}/home/alice/f&DIRECTION=pullFromVoSpace&PROTOCOL={core}httpget"
    answer = await alice.get(f"/synctrans?{query}")
    valid(answer.body)
    assert (answer.status, "<vos:endpoint>" in answer.text) == (200, True)
    redirect = await alice.request("POST", f"/synctrans?{query}&REQUEST=redirect")
    assert redirect.status == 303
    assert (await alice.get(redirect.location)).body == DATA
    for wrong, status in (
        (query.replace("/f&", "/none&") + "&REQUEST=redirect", 404),
        (query.replace("pullFrom", "pullTo"), 400),
        (query + f"&PROTOCOL={core}httpput", 400),
        ("TARGET=x", 400),
    ):
        assert (await alice.get(f"/synctrans?{wrong}")).status == status
    missing = await alice.get(f"/synctrans?{query.replace('/f&', '/none&')}")
    assert (missing.status, "<vos:endpoint>" in missing.text) == (200, False)
    assert "/transfers/" in missing.headers["Content-Location"]
    seen = await alice.get("/nodes/home/alice/f?view=data")
    assert (seen.status, (await alice.get(seen.location)).body) == (303, DATA)


async def test_a_head_negotiates_nothing(alice: Caller) -> None:
    core = CORE.replace("#", "%23")
    query = f"TARGET={AUTHORITY}/home/alice/f&DIRECTION=pushToVoSpace&PROTOCOL={core}httpput"
    answer = await alice.request("HEAD", f"/synctrans?{query}")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")
    assert (await alice.get("/transfers")).text.count("<uws:jobref") == 0
    assert (await alice.get("/nodes/home/alice/f")).status == 404


EXACT = '<vos:param uri="ivo://icrar.org#exact">true</vos:param>'
REPRESENTED = {"Prefer": "respond-async, return=representation"}


async def test_who_prefers_the_representation_needs_no_second_request(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    document = transfer("/home/alice/f", "pullFromVoSpace", "httpget")
    answer = await alice.request("POST", "/synctrans", document, REPRESENTED)
    valid(answer.body)
    assert (answer.status, "<vos:endpoint>" in answer.text) == (200, True)
    assert answer.headers["Preference-Applied"] == "return=representation"
    assert (await alice.get(answer.headers["Content-Location"])).text == answer.text
    missing = transfer("/home/alice/none", "pullFromVoSpace", "httpget")
    refused = await alice.request("POST", "/synctrans", missing, REPRESENTED)
    assert (refused.status, refused.fault) == (404, "NodeNotFound")


async def test_who_moves_a_node_learns_its_tag(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    await alice.push("/home/alice/h", DATA)
    over = EXACT.replace("exact", "overwrite")
    for source, destination, param in (("f", "g", EXACT), ("g", "h", EXACT + over)):
        before = (await alice.get(f"/nodes/home/alice/{source}")).headers["ETag"]
        document = relocation(f"/home/alice/{source}", f"/home/alice/{destination}", keep=False)
        document = document.replace("</vos:transfer>", f"{param}</vos:transfer>")
        answer = await alice.request("POST", "/synctrans", document, REPRESENTED)
        now = await alice.get(f"/nodes/home/alice/{destination}")
        told = [answer.headers[f"X-VO-Node-{name}"] for name in ("Before", "After", "Changed")]
        assert told[:2] == [before, now.headers["ETag"]]
        assert f'core#ctime" readOnly="true">{told[2]}<' in now.text


async def test_the_job_of_a_synchronous_move_tells_what_was_done(alice: Caller) -> None:
    await alice.push("/home/alice/f", DATA)
    document = relocation("/home/alice/f", "/home/alice/g", keep=False)
    for phase in ("COMPLETED", "ERROR"):  # the second time there is nothing to move any more
        answer = await alice.request("POST", "/synctrans", document)
        job = answer.headers["Location"].removesuffix("/results/transferDetails")
        shown = etree.fromstring((await alice.get(job)).body)
        assert shown.findtext(f"{UWS}phase") == phase
        times = [shown.findtext(f"{UWS}{name}Time") or "" for name in ("creation", "start", "end")]
        if phase == "COMPLETED":
            assert "" not in times
            assert times == sorted(times)
            result = shown.find(f"{UWS}results/{UWS}result[@id='destination']")
            assert result is not None
            assert result.get(f"{XLINK}href", "").endswith("/home/alice/g")
    assert (await alice.pull("/home/alice/g")).body == DATA


async def test_an_exact_destination_is_a_new_name_and_no_container_to_go_into(
    alice: Caller,
) -> None:
    await alice.push("/home/alice/f", DATA)
    await alice.make("/home/alice/d")
    for keep in (False, True):
        document = relocation("/home/alice/f", "/home/alice/d", keep=keep)
        exact = document.replace("</vos:transfer>", f"{EXACT}</vos:transfer>")
        refused = await alice.request("POST", "/synctrans", exact, REPRESENTED)
        assert (refused.status, refused.fault) == (409, "DuplicateNode")
        assert (await alice.get("/nodes/home/alice/d/f")).status == 404
        free = exact.replace("/home/alice/d<", f"/home/alice/{keep}<")
        assert (await alice.request("POST", "/synctrans", free, REPRESENTED)).status == 200
        assert (await alice.pull(f"/home/alice/{keep}")).body == DATA
        await alice.push("/home/alice/f", DATA)


async def test_another_push_to_a_busy_node_is_refused(alice: Caller) -> None:
    endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpput")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield DATA
        begun.set()
        await go_on.wait()
        yield DATA

    async def put() -> int:
        length = {"Content-Length": str(2 * len(DATA))}
        async with alice.http.put(endpoint, data=slowly(), headers=length) as answer:
            return answer.status

    running = asyncio.create_task(put())
    await begun.wait()

    async def busy() -> bool:
        return 'busy="true"' in (await alice.get("/nodes/home/alice/f")).text

    await until_true(busy)
    _, job = await alice.run(transfer("/home/alice/f", "pushToVoSpace", "httpput"))
    assert "<uws:message>Node Busy" in job.text
    go_on.set()
    assert await running == 201
    assert not await busy()


async def test_a_node_that_does_not_delete_stops_a_delete(dsn: str, tmp_path: Path) -> None:
    await stack.add_user(dsn, "alice")
    never = set_attributes("Permissions", AllowRemoveReq="0")
    async with stack.whole_stack(dsn, tmp_path, edit=never) as running, ClientSession() as http:
        alice = Caller(http, running.url, "alice")
        await alice.push("/home/alice/f", DATA)
        await alice.make("/home/alice/empty", "DataNode")
        refused = await alice.delete("/nodes/home/alice/f")
        assert (refused.status, refused.fault) == (403, "PermissionDenied")
        assert "AllowRemoveReq" in refused.text
        assert (await alice.pull("/home/alice/f")).body == DATA
        assert (await alice.delete("/nodes/home/alice/empty")).status == 204


@pytest.mark.row("DEL-10")
async def test_deleted_bytes_leave_the_archive(dsn: str, tmp_path: Path) -> None:
    await stack.add_user(dsn, "alice")
    soon = {"discard_delay": "0"}
    async with stack.whole_stack(dsn, tmp_path, storage=soon) as running, ClientSession() as http:
        alice = Caller(http, running.url, "alice")
        await alice.push("/home/alice/f", DATA)
        await alice.push("/home/alice/kept", DATA)
        assert (await alice.delete("/nodes/home/alice/f")).status == 204
        db = await connect(dsn)

        async def discarded() -> bool:
            left = await db.fetchrow(
                "select (select count(*) from blob), (select count(*) from discard)"
            )
            return left is not None and tuple(left) == (1, 0)

        await until_true(discarded)
        await db.close()
        files = [path for path in tmp_path.rglob("*.bin") if path.is_file()]
        assert len(files) == 1
        assert (await alice.pull("/home/alice/kept")).body == DATA


async def test_a_public_share_is_a_link_for_everybody(alice: Caller) -> None:
    await alice.push("/home/alice/f.txt", DATA)
    share = "http://wiki.ivoa.net/twiki/bin/view/IVOA/VOSpacePublicShare"
    url, job = await alice.run(transfer("/home/alice/f.txt", "pullFromVoSpace", share))
    assert phase(job) == "COMPLETED"
    details = (await alice.get(f"{url}/results/transferDetails")).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]
    assert endpoint.endswith("/f.txt")
    assert "securityMethod" not in details
    for _ in range(2):
        got = await alice(None).get(endpoint)
        assert (got.status, got.body) == (200, DATA)
        assert "f.txt" in got.headers["Content-Disposition"]
        assert got.headers["Content-Type"].startswith("text/plain")
    _, refused = await alice.run(transfer("/home/alice/g", "pushToVoSpace", share))
    assert "<uws:message>Protocol Not Supported" in refused.text


OVERWRITE = '<vos:param uri="ivo://icrar.org/ngas#overwrite">true</vos:param>'


def replacing(source: str, destination: str, *, keep: bool) -> str:
    """Return the document of a move or copy that may overwrite."""
    document = relocation(source, destination, keep=keep)
    return document.replace("</vos:transfer>", OVERWRITE + "</vos:transfer>")


@pytest.mark.parametrize("keep", [True, False])
async def test_a_move_or_copy_may_replace_a_file(alice: Caller, keep: bool) -> None:
    await alice.push("/home/alice/new", DATA)
    await alice.push("/home/alice/old", b"old")
    _, refused = await alice.run(relocation("/home/alice/new", "/home/alice/old", keep=keep))
    assert phase(refused) == "ERROR"
    _, done = await alice.run(replacing("/home/alice/new", "/home/alice/old", keep=keep))
    assert phase(done) == "COMPLETED", done.text
    assert (await alice.pull("/home/alice/old")).body == DATA
    assert (await alice.get("/nodes/home/alice/new")).status == (200 if keep else 404)
    await alice.make("/home/alice/d")
    await alice.make("/home/alice/d/old")
    for target in ("/home/alice/d", "/home/alice/d/old"):
        document = replacing("/home/alice/old", target, keep=keep)
        answer = await alice.sync(document)
        job = answer.location.removesuffix("/results/transferDetails")
        expected = "ERROR" if target == "/home/alice/d" else "COMPLETED"
        assert (await alice.get(f"{job}/phase")).text == expected


async def test_a_replacement_honours_if_match(alice: Caller) -> None:
    await alice.push("/home/alice/new", DATA)
    await alice.push("/home/alice/old", b"old")
    read = (await alice.get("/nodes/home/alice/old")).headers["ETag"]
    await alice.push("/home/alice/old", b"newer")
    document = replacing("/home/alice/new", "/home/alice/old", keep=False)
    late = await alice.request("POST", "/synctrans", document, {"If-Match": read})
    job = late.location.removesuffix("/results/transferDetails")
    assert (await alice.get(f"{job}/error")).fault == "PreconditionFailed"
    assert (await alice.pull("/home/alice/old")).body == b"newer"
    read = (await alice.get("/nodes/home/alice/old")).headers["ETag"]
    await alice.request("POST", "/synctrans", document, {"If-Match": read})
    assert (await alice.pull("/home/alice/old")).body == DATA
