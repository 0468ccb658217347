"""pullToVoSpace and pushFromVoSpace against a peer on loopback, through real archive nodes."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import peer as peers
import pytest
import stack
from aiohttp import ClientSession
from peer import DATA, Peer, endpoints
from ports import free_port
from stack import AUTHORITY, CORE, Answer, Caller, properties, transfer
from validation import valid
from waiting_support import until_true

from pyvospace_ngas.config import ConfigError
from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ops import quotas
from pyvospace_ngas.storage.app import create_app

PULL, PUSH = "pullToVoSpace", "pushFromVoSpace"
FILE: Final = "/home/alice/f"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with peers.running_peer() as running:
        yield running


@pytest.fixture
async def alice(dsn: str, tmp_path: Path, peer: Peer) -> AsyncIterator[Caller]:
    """Alice, before a stack that may call the peer's port of 127.0.0.1 and nothing else here."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    rules = {"allow_hosts": f"127.0.0.1:{peer.port}", "third_party_limit": str(2**20)}
    async with (
        stack.whole_stack(dsn, tmp_path, nodes=1, storage=rules) as running,
        ClientSession(auto_decompress=False) as http,
    ):
        yield Caller(http, running.url, "alice")


def phase(job: Answer) -> str:
    return job.text.partition("<uws:phase>")[2].partition("<")[0]


async def ended(caller: Caller, document: str) -> tuple[str, str, str]:
    """Run a job to its end; return its URL, its last phase and its error."""
    made = await caller.request("POST", "/transfers?PHASE=RUN", document)
    assert made.status == 303, made.text
    job = made.location

    async def over() -> bool:
        return phase(await caller.get(f"{job}?WAIT=5")) not in ("QUEUED", "EXECUTING")

    await until_true(over)
    shown = await caller.get(job)
    valid(shown.body)
    error = await caller.get(f"{job}/error")
    return job, phase(shown), error.text if error.status == 200 else ""


async def started(caller: Caller, document: str) -> str:
    """Run a job, and return its URL at once."""
    return (await caller.request("POST", "/transfers?PHASE=RUN", document)).location


async def pulled(caller: Caller, *urls: str, size: int = -1) -> tuple[str, str]:
    """Pull from ``urls`` into `FILE`; return the phase and the error."""
    return (await ended(caller, endpoints(PULL, FILE, *urls, size=size)))[1:]


async def pushed(caller: Caller, *urls: str) -> tuple[str, str]:
    return (await ended(caller, endpoints(PUSH, FILE, *urls)))[1:]


@pytest.mark.row("PTV-01")
async def test_the_bytes_of_another_server_become_a_node(alice: Caller, peer: Peer) -> None:
    job, end, error = await ended(alice, endpoints(PULL, FILE, peer.url("file")))
    assert (end, error) == ("COMPLETED", "")
    assert (await alice.pull(FILE)).body == DATA
    shown = await alice.get(job)
    assert f'done="{len(DATA)}" total="{len(DATA)}"' in shown.text
    assert f'xlink:href="{AUTHORITY}{FILE}"' in shown.text
    details = await alice.get(f"{job}/results/transferDetails")
    valid(details.body)
    assert peer.url("file") in details.text
    for part in ("parameters", "results"):
        valid((await alice.get(f"{job}/{part}")).body)


@pytest.mark.row("PTV-01")
async def test_such_a_job_waits_in_pending_until_it_is_run(alice: Caller, peer: Peer) -> None:
    made = await alice.request("POST", "/transfers", endpoints(PULL, FILE, peer.url("file")))
    assert phase(await alice.get(made.location)) == "PENDING"
    assert peer.log == []
    assert (await alice.form(f"{made.location}/phase", "PHASE=RUN")).status == 303
    assert phase(await alice.get(f"{made.location}?WAIT=20&PHASE=QUEUED")) != "PENDING"

    async def over() -> bool:
        return phase(await alice.get(f"{made.location}?WAIT=5")) == "COMPLETED"

    await until_true(over)
    assert peer.log == ["GET file"]


async def test_nothing_of_ours_or_the_users_is_told_to_the_other_side(
    alice: Caller, peer: Peer
) -> None:
    await pulled(alice, peer.url("file"))
    await pushed(alice, peer.url("in"))
    for sent in peer.headers:
        assert not {"Authorization", "Cookie", "Referer", "X-Forwarded-For"} & set(sent)
        assert sent["Accept-Encoding"] == "identity"
        assert sent["Host"] == f"127.0.0.1:{peer.port}"


@pytest.mark.row("PTV-02")
async def test_a_pull_replaces_the_bytes_and_clears_the_properties(
    alice: Caller, peer: Peer
) -> None:
    await alice.push(FILE, b"old")
    await alice.set(FILE, properties(title="T"))
    assert (await pulled(alice, peer.url("summed")))[0] == "COMPLETED"
    assert f"{CORE}title" not in (await alice.get(f"/nodes{FILE}")).text
    assert (await alice.pull(FILE)).body == DATA


@pytest.mark.row("PTV-02")
async def test_a_pull_replaces_only_what_its_client_has_read(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, b"old")
    read = {"If-Match": (await alice.get(f"/nodes{FILE}")).headers["ETag"]}
    document = endpoints(PULL, FILE, peer.url("slow"))
    job = (await alice.request("POST", "/transfers?PHASE=RUN", document, read)).location
    await peer.begun.wait()
    assert (await alice.set(FILE, properties(title="T"))).status == 200
    peer.go_on.set()

    async def failed() -> bool:
        return (await alice.get(f"{job}?WAIT=5")).text.find("<uws:phase>ERROR") > 0

    await until_true(failed)
    assert (await alice.get(f"{job}/error")).fault == "PreconditionFailed"
    assert (await alice.pull(FILE)).body == b"old"
    late = await alice.request("POST", "/transfers?PHASE=RUN", document, read)
    assert (await alice.get(f"{late.location}/error")).fault == "PreconditionFailed"
    assert peer.log == ["GET slow"]


@pytest.mark.row("PTV-03", "PTV-04")
async def test_the_next_endpoint_helps_and_each_is_called_once(alice: Caller, peer: Peer) -> None:
    names = ("none", "short", "wrong-digest", "file")
    end, _ = await pulled(alice, *map(peer.url, names))
    assert end == "COMPLETED"
    assert peer.log == [f"GET {name}" for name in names]
    assert (await alice.pull(FILE)).body == DATA


@pytest.mark.row("PTV-10")
async def test_after_the_first_that_works_no_other_is_called(alice: Caller, peer: Peer) -> None:
    assert (await pulled(alice, peer.url("file"), peer.url("empty")))[0] == "COMPLETED"
    assert peer.log == ["GET file"]


@pytest.mark.row("PTV-05", "PTV-04")
async def test_when_all_fail_the_error_says_what_was_tried(alice: Caller, peer: Peer) -> None:
    closed = f"http://127.0.0.1:{free_port()}/"
    names = ("none", "round", "gzip", "wrong-content-md5", "odd-digest")
    end, error = await pulled(alice, *map(peer.url, names), closed, size=len(DATA))
    assert end == "ERROR"
    assert error.startswith("InternalFault ")
    assert error.count("127.0.0.1 ") == len(names) + 1
    for reason in ("answered 404", "redirects too often", "encoding", "digest"):
        assert reason in error
    assert "secret" not in error
    assert peer.log.count("GET none") == 1
    assert (await alice.get(f"/nodes{FILE}")).status == 404  # the node that was made for it


@pytest.mark.row("PTV-05")
async def test_an_error_shows_the_words_of_the_standard_in_the_job(
    alice: Caller, peer: Peer
) -> None:
    job, _, _ = await ended(alice, endpoints(PULL, FILE, peer.url("none")))
    assert "<uws:message>Internal Fault</uws:message>" in (await alice.get(job)).text
    details = await alice.get(f"{job}/results/transferDetails")
    assert "<vos:protocol " not in details.text


@pytest.mark.row("PTV-06", "PFV-05")
@pytest.mark.parametrize("direction", [PULL, PUSH])
@pytest.mark.parametrize(
    ("inner", "fault"),
    [
        ('<vos:protocol uri="urn:x"><vos:endpoint>URL</vos:endpoint></vos:protocol>', "Protocol"),
        ("", "InvalidArgument"),
        (f'<vos:protocol uri="{CORE}httpget"/>', "InvalidArgument"),
        (
            f'<vos:protocol uri="{CORE}httpget"><vos:endpoint>URL</vos:endpoint>'
            '<vos:securityMethod uri="ivo://ivoa.net/sso#BasicAA"/></vos:protocol>',
            "ProtocolNotSupported",
        ),
        (
            f'<vos:view uri="urn:x"/><vos:protocol uri="{CORE}httpput">'
            "<vos:endpoint>URL</vos:endpoint></vos:protocol>",
            "ViewNotSupported",
        ),
    ],
)
async def test_without_a_usable_protocol_or_view_nothing_is_called(
    alice: Caller, peer: Peer, direction: str, inner: str, fault: str
) -> None:
    await alice.push(FILE, DATA)
    document = transfer(FILE, direction, more=inner.replace("URL", peer.url("file")))
    _, end, error = await ended(alice, document)
    assert (end, error.startswith(fault), peer.log) == ("ERROR", True, [])


@pytest.mark.row("PTV-07")
async def test_the_node_is_busy_while_bytes_come_in(alice: Caller, peer: Peer) -> None:
    job = await started(alice, endpoints(PULL, FILE, peer.url("slow")))
    await peer.begun.wait()
    assert 'busy="true"' in (await alice.get(f"/nodes{FILE}")).text

    async def shown() -> bool:
        return f'total="{len(DATA)}"' in (await alice.get(job)).text

    await until_true(shown)
    valid((await alice.get(job)).body)
    _, end, error = await ended(alice, endpoints(PULL, FILE, peer.url("file")))
    assert (end, error.split()[0]) == ("ERROR", "NodeBusy")
    peer.go_on.set()
    assert phase(await alice.get(f"{job}?WAIT=20")) == "COMPLETED"
    assert 'busy="false"' in (await alice.get(f"/nodes{FILE}")).text
    assert (await alice.pull(FILE)).body == DATA


@pytest.mark.row("PTV-08")
@pytest.mark.parametrize("name", ["slow", "slow-chunked", "hang"])
async def test_an_abort_stops_the_work_and_the_old_content_stays(
    alice: Caller, peer: Peer, name: str
) -> None:
    await alice.push(FILE, b"old")
    job = await started(alice, endpoints(PULL, FILE, peer.url(name), peer.url("file")))
    await peer.begun.wait()
    assert (await alice.form(f"{job}/phase", "PHASE=ABORT")).status == 303
    assert (await alice.get(f"{job}/phase")).text == "ABORTED"

    async def idle() -> bool:
        return 'busy="false"' in (await alice.get(f"/nodes{FILE}")).text

    await until_true(idle, 20)  # far less than the lease or the patience with a peer
    if name != "hang":
        await peer.gone.wait()
    assert peer.log == [f"GET {name}"]
    assert (await alice.pull(FILE)).body == b"old"
    assert phase(await alice.get(job)) == "ABORTED"


@pytest.mark.row("PTV-08")
async def test_a_deleted_job_is_stopped_too_and_its_new_node_goes(
    alice: Caller, peer: Peer
) -> None:
    job = await started(alice, endpoints(PULL, FILE, peer.url("slow")))
    await peer.begun.wait()
    assert (await alice.delete(job)).status == 303
    await peer.gone.wait()

    async def gone() -> bool:
        return (await alice.get(f"/nodes{FILE}")).status == 404

    await until_true(gone)


@pytest.mark.row("PTV-09")
@pytest.mark.parametrize("direction", [PULL, PUSH])
async def test_a_target_elsewhere_is_an_invalid_uri(
    alice: Caller, peer: Peer, direction: str
) -> None:
    document = endpoints(direction, FILE, peer.url("file"))
    document = document.replace(f"{AUTHORITY}{FILE}", "vos://other.org~x/y")
    job, end, error = await ended(alice, document)
    assert (end, error.split()[0]) == ("ERROR", "InvalidURI")
    assert "<uws:message>Invalid URI" in (await alice.get(job)).text


@pytest.mark.row("PTV-11")
@pytest.mark.parametrize("direction", [PULL, PUSH])
async def test_addresses_that_are_not_public_are_not_called(
    alice: Caller, peer: Peer, direction: str
) -> None:
    await alice.push(FILE, DATA)
    urls = [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        f"http://user:pw@127.0.0.1:{peer.port}/file",
        f"http://localhost:{free_port()}/file",
        f"http://[::1]:{peer.port}/file",
        f"http://[::ffff:127.0.0.1]:{peer.port}/file",
        f"http://2130706433:{peer.port + 1}/file",
        f"http://127.0.0.1:{free_port()}/file",
        "http://no-such-host.invalid/",
    ]
    _, end, error = await ended(alice, endpoints(direction, FILE, *urls))
    assert (end, error.count(";")) == ("ERROR", len(urls) - 1)
    for inside in ("Errno", "refused", "resolve"):
        assert inside not in error


@pytest.mark.row("PTV-11")
async def test_a_redirect_is_followed_where_it_may_lead(alice: Caller, peer: Peer) -> None:
    peer.redirect = peer.url("file")
    assert (await pulled(alice, peer.url("redirect")))[0] == "COMPLETED"
    for forbidden in (f"http://[::1]:{peer.port}/file", "file:///etc/passwd", "http://10.0.0.1/"):
        peer.redirect = forbidden
        end, error = await pulled(alice, peer.url("redirect"))
        assert (end, "127.0.0.1" in error) == ("ERROR", True)
        assert "10.0.0.1" not in error


async def test_what_is_longer_or_shorter_than_announced_is_not_kept(
    alice: Caller, peer: Peer
) -> None:
    await alice.push(FILE, b"old")
    for name in ("file", "chunked"):
        for size in (len(DATA) - 1, len(DATA) + 1):
            end, error = await pulled(alice, peer.url(name), size=size)
            assert (end, "announced" in error) == ("ERROR", True)
    assert (await alice.pull(FILE)).body == b"old"
    assert (await pulled(alice, peer.url("chunked"), size=len(DATA)))[0] == "COMPLETED"
    assert (await alice.pull(FILE)).body == DATA


@pytest.mark.parametrize("name", ["chunked", "etag", "empty"])
async def test_any_body_is_taken_and_an_entity_tag_is_no_digest(
    alice: Caller, peer: Peer, name: str
) -> None:
    assert (await pulled(alice, peer.url(name)))[0] == "COMPLETED"
    assert (await alice.pull(FILE)).body == (b"" if name == "empty" else DATA)


async def test_more_than_the_limit_is_not_fetched(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, b"old")
    document = endpoints(PULL, FILE, peer.url("large"), peer.url("large-chunked"))
    _, end, error = await ended(alice, document)
    assert (end, error.count("1048576 bytes that may be fetched")) == ("ERROR", 2)
    assert (await alice.pull(FILE)).body == b"old"


async def test_a_quota_bounds_what_is_fetched(alice: Caller, peer: Peer, dsn: str) -> None:
    db = await connect(dsn)
    await quotas.limit(db, NodePath(("home", "alice")), 1000)
    await db.close()
    for name in ("file", "chunked"):
        end, error = await pulled(alice, peer.url(name), peer.url("empty"))
        assert (end, error.split()[0]) == ("ERROR", "QuotaExceeded")
    assert (await pulled(alice, peer.url("empty")))[0] == "COMPLETED"


async def test_a_pull_into_a_container_makes_a_child(alice: Caller, peer: Peer) -> None:
    job, end, _ = await ended(alice, endpoints(PULL, "/home/alice", peer.url("file")))
    assert end == "COMPLETED"
    target = re.findall(r'id="target"[^>]*href="([^"]*)"', (await alice.get(job)).text)[0]
    assert (await alice.pull(target.removeprefix(AUTHORITY))).body == DATA


async def test_a_pull_through_a_link_reaches_its_target(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, b"old")
    link = f"<vos:target>{AUTHORITY}{FILE}</vos:target>"
    await alice.make("/home/alice/l", "LinkNode", link)
    _, end, _ = await ended(alice, endpoints(PULL, "/home/alice/l", peer.url("file")))
    assert (end, (await alice.pull(FILE)).body) == ("COMPLETED", DATA)


async def test_what_goes_to_null_is_read_and_dropped(alice: Caller, peer: Peer) -> None:
    null = "/home/alice/.null"
    assert (await ended(alice, endpoints(PULL, null, peer.url("file"))))[1] == "COMPLETED"
    assert (await ended(alice, endpoints(PULL, null, peer.url("short"))))[1] == "ERROR"
    assert (await ended(alice, endpoints(PUSH, null, peer.url("in"))))[1] == "COMPLETED"
    assert (peer.log, peer.received["in"]) == (["GET file", "GET short", "PUT in"], b"")


@pytest.mark.row("UWS-26")
async def test_a_job_is_aborted_at_the_end_of_its_duration(alice: Caller, peer: Peer) -> None:
    made = await alice.request("POST", "/transfers", endpoints(PULL, FILE, peer.url("slow")))
    job = made.location
    await alice.form(f"{job}/executionduration", "EXECUTIONDURATION=1")
    await alice.form(f"{job}/phase", "PHASE=RUN")
    await peer.gone.wait()

    async def aborted() -> bool:
        return (await alice.get(f"{job}/phase")).text == "ABORTED"

    await until_true(aborted)


@pytest.mark.row("MET-03")
async def test_the_protocols_that_the_service_speaks_as_a_client_are_listed(
    alice: Caller, peer: Peer
) -> None:
    accepts = (await alice.get("/protocols")).text.partition("</vos:accepts>")[0]
    listed = re.findall('uri="([^"]*)"', accepts)
    assert {f"{CORE}{name}" for name in ("httpget", "httpput")} <= set(listed)
    await alice.push(FILE, DATA)
    for uri in listed:  # each can be used, both ways; over TLS the endpoint must be https
        for direction in (PULL, PUSH):
            named = f'<vos:protocol uri="{uri}"><vos:endpoint>{peer.url("file")}</vos:endpoint>'
            document = transfer(FILE, direction, more=named + "</vos:protocol>")
            _, end, error = await ended(alice, document)
            if "https" in uri:
                assert "is no https URL" in error
            else:
                assert (end, error) == ("COMPLETED", "")


@pytest.mark.parametrize("direction", [PULL, PUSH])
async def test_they_are_asynchronous_only(alice: Caller, peer: Peer, direction: str) -> None:
    refused = await alice.sync(endpoints(direction, FILE, peer.url("file")))
    assert (refused.status, refused.fault) == (501, "OperationNotSupported")


@pytest.mark.parametrize("direction", [PULL, PUSH])
async def test_nobody_without_a_name_has_us_call_others(
    alice: Caller, peer: Peer, direction: str
) -> None:
    await alice.push(FILE, DATA)
    await alice.set(FILE, properties(publicread="true"))
    _, end, error = await ended(alice(None), endpoints(direction, FILE, peer.url("file")))
    assert (end, error.split()[0], peer.log) == ("ERROR", "PermissionDenied", [])


@pytest.mark.row("PFV-01")
async def test_the_bytes_of_a_node_are_put_to_another_server(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, DATA)
    job, end, error = await ended(alice, endpoints(PUSH, FILE, peer.url("summed")))
    assert (end, error, peer.received["summed"]) == ("COMPLETED", "", DATA)
    assert peer.headers[0]["Content-Length"] == str(len(DATA))
    assert peer.headers[0]["Digest"].startswith("md5=")
    assert f'done="{len(DATA)}" total="{len(DATA)}"' in (await alice.get(job)).text
    assert "transferDetails" in (await alice.get(f"{job}/results")).text
    await alice.push(FILE, b"")
    assert await pushed(alice, peer.url("empty")) == ("COMPLETED", "")
    assert peer.received["empty"] == b""


@pytest.mark.row("PFV-02")
async def test_the_source_must_exist_and_be_readable(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, DATA)
    for caller, path, fault in (
        (alice, "/home/alice/none", "NodeNotFound"),
        (alice("bob"), FILE, "PermissionDenied"),
    ):
        job, end, error = await ended(caller, endpoints(PUSH, path, peer.url("in")))
        assert (end, error.split()[0]) == ("ERROR", fault)
        message = re.sub("(?<=[a-z])(?=[A-Z])", " ", fault)
        assert f"<uws:message>{message}</uws:message>" in (await caller.get(job)).text
    assert peer.log == []


@pytest.mark.row("PFV-03", "PFV-04")
async def test_when_no_endpoint_takes_it_the_transfer_failed(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, DATA)
    peer.redirect = peer.url("in")
    names = ("bad", "wrong-digest", "redirect", "bad-too")
    job, end, error = await ended(alice, endpoints(PUSH, FILE, *map(peer.url, names)))
    assert (end, error.split()[0]) == ("ERROR", "TransferFailed")
    assert "<uws:message>Transfer Failed</uws:message>" in (await alice.get(job)).text
    for reason in ("answered 500", "digest", "redirects"):
        assert reason in error
    assert peer.log == [f"PUT {name}" for name in names]


@pytest.mark.row("PFV-04")
async def test_the_second_endpoint_takes_what_the_first_refused(alice: Caller, peer: Peer) -> None:
    await alice.push(FILE, DATA)
    names = ("bad", "own-digest", "in")
    assert (await pushed(alice, *map(peer.url, names)))[0] == "COMPLETED"
    assert peer.log == ["PUT bad", "PUT own-digest"]
    assert peer.received["own-digest"] == DATA


@pytest.mark.parametrize("name", ["hold", "hang"])
async def test_a_push_is_aborted_while_the_other_side_hangs(
    alice: Caller, peer: Peer, name: str
) -> None:
    await alice.push(FILE, DATA)
    job = await started(alice, endpoints(PUSH, FILE, peer.url(name), peer.url("in")))
    await peer.begun.wait()
    await alice.form(f"{job}/phase", "PHASE=ABORT")
    # The one worker that this took is free again at once, and the next job is done.
    assert (await pushed(alice, peer.url("next")))[0] == "COMPLETED"
    assert peer.log == [f"PUT {name}", "PUT next"]
    assert phase(await alice.get(job)) == "ABORTED"


async def test_several_jobs_are_done_at_once(alice: Caller, peer: Peer) -> None:
    first = await started(alice, endpoints(PULL, FILE, peer.url("slow")))
    await peer.begun.wait()
    _, end, _ = await ended(alice, endpoints(PULL, "/home/alice/g", peer.url("file")))
    assert (end, phase(await alice.get(first))) == ("COMPLETED", "EXECUTING")
    peer.go_on.set()
    assert phase(await alice.get(f"{first}?WAIT=20")) == "COMPLETED"


@pytest.mark.row("UWS-42")
@pytest.mark.parametrize("name", ["slow", "hang"])
async def test_a_server_that_is_stopped_leaves_its_job_to_the_next(
    dsn: str, tmp_path: Path, peer: Peer, name: str
) -> None:
    await stack.add_user(dsn, "alice")
    rules = {"allow_hosts": f"127.0.0.1:{peer.port}"}
    async with (
        stack.whole_stack(dsn, tmp_path, nodes=1, storage=rules) as running,
        ClientSession() as http,
    ):
        await started(Caller(http, running.url, "alice"), endpoints(PULL, FILE, peer.url(name)))
        await peer.begun.wait()
    db = await connect(dsn)
    left = await db.fetchrow("select phase, lease > now() as held from job")
    assert left is not None
    assert tuple(left) == ("EXECUTING", True)
    assert await db.fetchval("select outcome from attempt") == "failed"
    await db.close()


def test_an_entry_of_allow_hosts_that_is_none_stops_the_server(tmp_path: Path) -> None:
    sections = stack.settings("postgres://u:p@localhost/d", tmp_path)
    sections["Storage"]["allow_hosts"] = "data.example.org, http://x"
    with pytest.raises(ConfigError, match=r"\[Storage\] allow_hosts: 'http://x'"):
        create_app(stack.parsed(sections))
