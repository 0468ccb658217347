"""Rows PSH: pushToVoSpace."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from stack import AUTHORITY, CORE, Answer, properties, transfer
from waiting_support import until_true

from conformance.world import (
    Witness,
    begun,
    details,
    endpoints,
    job_of,
    kind_of,
    names,
    new_container,
    of_uri,
    phase,
    refusal,
    result_of,
)

row = pytest.mark.row
DATA = b"0123456789abcdef" * 4096
BASIC = "ivo://ivoa.net/sso#BasicAA"


def push(path: str, *protocols: str, more: str = "") -> str:
    """Return the document of a push."""
    return transfer(path, "pushToVoSpace", *protocols, more=more)


def protocol(name: str, *methods: str) -> str:
    """Return a protocol with security methods."""
    inner = "".join(f'<vos:securityMethod uri="{method}"/>' for method in methods)
    return f'<vos:protocol uri="{CORE}{name}">{inner}</vos:protocol>'


@asynccontextmanager
async def slowly(
    alice: Witness, path: str
) -> AsyncIterator[tuple[asyncio.Event, asyncio.Task[int]]]:
    """Begin an upload, and let it go on once the event is set; the node is busy meanwhile."""
    endpoint = await alice.endpoint(path, "pushToVoSpace", "httpput")
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        await go_on.wait()
        yield DATA

    async def put() -> int:
        length = {"Content-Length": str(2 * len(DATA))}
        async with alice.http.put(endpoint, data=body(), headers=length) as answer:
            return answer.status

    async def busy() -> bool:
        return 'busy="true"' in (await alice.get(f"/nodes{path}")).text

    task = asyncio.create_task(put())
    try:
        await until_true(busy)
        yield go_on, task
    finally:
        go_on.set()
        task.cancel()
        await asyncio.wait([task])

    async def idle() -> bool:
        return not await busy()

    await until_true(idle)


@row("PSH-01", "PSH-02", "PSH-03", "PSH-04", "PSH-05", "PSH-06", "UWS-06", "UWS-10", "UWS-12")
async def test_a_push_is_a_job_that_its_bytes_complete(alice: Witness, home: str) -> None:
    made = await alice.request("POST", "/transfers", push(f"{home}/p", "httpput"))
    job = made.location
    assert (made.status, (await alice.get(f"{job}/phase")).text) == (303, "PENDING")
    assert (await alice.get(f"{job}/results/transferDetails")).status == 404
    pending = await alice.get(job)
    assert pending.text.count('xsi:nil="true"') >= 2
    started = await alice.form(f"{job}/phase", "PHASE=RUN")
    assert (started.status, started.location) == (303, job)
    assert (await alice.get(f"{job}/phase")).text == "EXECUTING"
    results = await alice.get(f"{job}/results")
    assert result_of(results, "transferDetails") == f"{job}/results/transferDetails"
    assert result_of(results, "dataNode") == f"{AUTHORITY}{home}/p"
    assert kind_of(await alice.get(f"/nodes{home}/p")) == "DataNode"
    answer = await details(alice, job)
    assert answer.text.count("<vos:protocol ") == len(endpoints(answer)) == 1
    assert (await alice(None).request("PUT", endpoints(answer)[0], DATA)).status == 201
    assert (await alice.get(f"{job}/phase")).text == "COMPLETED"
    assert of_uri(await alice.get(f"/nodes{home}/p"), "length") == str(len(DATA))
    ended = await alice.get(job)
    for name in ("startTime", "endTime"):
        assert re.search(rf"<uws:{name}>\d{{4}}-\d\d-\d\dT[\d:.]+Z<", ended.text)


@row("PSH-07", "PSH-08")
async def test_a_push_replaces_bytes_and_clears_properties(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"first")
    mine = '<vos:property uri="urn:p">v</vos:property></vos:properties>'
    inner = properties(title="T", groupread="g").replace("</vos:properties>", mine)
    assert (await alice.set(f"{home}/f", inner)).status == 200
    await alice.push(f"{home}/f", DATA)
    after = await alice.get(f"/nodes{home}/f")
    assert (of_uri(after, "title"), "urn:p" in after.text) == (None, False)
    assert (of_uri(after, "groupread"), of_uri(after, "creator")) == ("g", "alice")
    assert (await alice.pull(f"{home}/f")).body == DATA


@row("PSH-09", "PSH-19")
@pytest.mark.parametrize("path", ["/d", "/d/.auto"])
async def test_bytes_for_a_container_become_a_child(alice: Witness, home: str, path: str) -> None:
    await alice.make(f"{home}/d", inner=properties(title="T"))
    url, job = await begun(alice, push(home + path, "httpput"))
    made = (result_of(job, "target") or "").removeprefix(AUTHORITY)
    assert made.startswith(f"{home}/d/")
    answer = await details(alice, url)
    assert (await alice.request("PUT", endpoints(answer)[0], DATA)).status == 201
    assert names(await alice.get(f"/nodes{home}/d")) == [made.rpartition("/")[2]]
    assert (await alice.pull(made)).body == DATA
    assert of_uri(await alice.get(f"/nodes{home}/d"), "title") == "T"


@row("PSH-11", "PSH-12", "NOD-13", "PUL-09")
async def test_a_node_is_busy_while_bytes_come(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"old")
    async with slowly(alice, f"{home}/f") as (go_on, task):
        told = await refusal(alice, push(f"{home}/f", "httpput"))
        assert told[:2] == ("Node Busy", "NodeBusy")
        assert (await alice.pull(f"{home}/f")).body == b"old"
        go_on.set()
        assert await task == 201
        assert (await alice.pull(f"{home}/f")).body == 2 * DATA
    assert 'busy="false"' in (await alice.get(f"/nodes{home}/f")).text


@row("PSH-12")
async def test_of_uploads_at_once_to_one_node_whole_ones_win(alice: Witness, home: str) -> None:
    wanted = [letter.encode() * 200_000 for letter in "abcdef"]
    urls = [await alice.endpoint(f"{home}/f", "pushToVoSpace", "httpput") for _ in wanted]
    answers = await asyncio.gather(
        *(alice.request("PUT", url, data) for url, data in zip(urls, wanted, strict=True))
    )
    assert 201 in {answer.status for answer in answers}
    assert {answer.status for answer in answers} <= {201, 409}
    done = [data for data, answer in zip(wanted, answers, strict=True) if answer.status == 201]
    assert (await alice.pull(f"{home}/f")).body in done


@row("PSH-13")
async def test_unknown_protocols_are_left_out(alice: Witness, home: str) -> None:
    url, _ = await begun(alice, push(f"{home}/p", "urn:x", "httpput", "urn:y"))
    found = re.findall('<vos:protocol uri="([^"]*)"', (await details(alice, url)).text)
    assert found == [f"{CORE}httpput"]


@row("PSH-14", "PSH-15", "PSH-16", "PSH-17", "PSH-23", "FLT-04", "PUL-18")
@pytest.mark.parametrize(
    ("document", "message", "detail"),
    [
        (push("{home}/p", "urn:x", "urn:y"), "Protocol Not Supported", "urn:x urn:y"),
        (push("{home}/p", "httpget"), "Protocol Not Supported", f"{CORE}httpget"),
        (
            push("{home}/p", "http://wiki.ivoa.net/twiki/bin/view/IVOA/VOSpacePublicShare"),
            "Protocol Not Supported",
            "VOSpacePublicShare",
        ),
        (
            push("{home}/p", "httpput", more='<vos:view uri="urn:example:v"/>'),
            "View Not Supported",
            "urn:example:v",
        ),
        (
            push("{home}/p", "httpput", more=f'<vos:view uri="{CORE}defaultview"/>'),
            "View Not Supported",
            f"{CORE}defaultview",
        ),
        (
            push(
                "{home}",
                "httpput",
                more='<vos:view uri="vos://cadc.nrc.ca~vospace/CADC/std/Pkg-1.0">'
                f'<vos:param uri="{CORE}format">nonsense</vos:param></vos:view>',
            ),
            "Invalid Argument",
            "nonsense",
        ),
        (push("/home/bob/p", "httpput"), "Permission Denied", ""),
        (push("{home}/none/x", "httpput"), "Container Not Found", AUTHORITY + "{home}/none"),
        (
            push("vos://other.org~x/p", "httpput").replace(AUTHORITY, ""),
            "Invalid URI",
            "other.org",
        ),
        (push("{home}/../x", "httpput"), "Invalid URI", "/../x"),
        (push("{home}/l/x", "httpput"), "Link Found", "<vos:target>urn:x</vos:target>"),
    ],
)
async def test_a_push_that_cannot_be_says_why(
    alice: Witness, home: str, document: str, message: str, detail: str
) -> None:
    await alice.make(f"{home}/l", "LinkNode", "<vos:target>urn:x</vos:target>")
    told = await refusal(alice, document.replace("{home}", home))
    assert (told[0], told[1]) == (message, message.replace(" ", ""))
    assert detail.replace("{home}", home) in told[2]
    assert names(await alice.get(f"/nodes{home}")) == ["l"]


@row("PSH-16")
async def test_a_length_that_is_none_makes_no_job(alice: Witness, home: str) -> None:
    wrong = push(f"{home}/p", "httpput").replace(
        "</vos:transfer>", f'<vos:param uri="{CORE}length">many</vos:param></vos:transfer>'
    )
    for resource in ("/transfers", "/synctrans"):
        refused = await alice.request("POST", resource, wrong)
        assert (refused.status, refused.fault) == (400, "InvalidArgument")


@row("PSH-17")
async def test_a_stranger_pushes_nothing(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"1")
    for path in (home, f"{home}/f"):
        await alice.set(path, properties(publicread="true"))
    for user in ("bob", None):
        for path in (f"{home}/f", f"{home}/new", home):
            told = await refusal(alice(user), push(path, "httpput"))
            assert told[:2] == ("Permission Denied", "PermissionDenied")
    assert names(await alice.get(f"/nodes{home}")) == ["f"]


@row("PSH-18")
@pytest.mark.parametrize(
    ("asked", "answered"),
    [((), []), ((BASIC,), [BASIC]), (("urn:x", BASIC), [BASIC])],
)
async def test_security_methods_come_back_iff_asked_for(
    alice: Witness, home: str, asked: tuple[str, ...], answered: list[str]
) -> None:
    url, _ = await begun(alice, push(f"{home}/p", more=protocol("httpput", *asked)))
    answer = await details(alice, url)
    assert re.findall('<vos:securityMethod uri="([^"]*)"', answer.text) == answered
    assert len(endpoints(answer)) == 1


@row("PSH-18")
async def test_a_protocol_with_unknown_methods_only_is_dropped(alice: Witness, home: str) -> None:
    unknown = push(f"{home}/p", more=protocol("httpput", "urn:x"))
    assert (await refusal(alice, unknown))[0] == "Protocol Not Supported"
    both = push(f"{home}/p", more=protocol("httpput", "urn:x") + protocol("httpsput"))
    url, _ = await begun(alice, both)
    answer = await details(alice, url)
    assert re.findall('<vos:protocol uri="([^"]*)"', answer.text) == [f"{CORE}httpsput"]


@row("PSH-20")
@pytest.mark.parametrize("path", ["{home}/.null", "/.null"])
async def test_null_takes_bytes_and_keeps_none(alice: Witness, home: str, path: str) -> None:
    assert (await alice.push(path.format(home=home), DATA)).status in (200, 201)
    assert names(await alice.get(f"/nodes{home}")) == []
    assert ".null" not in names(await alice.get("/nodes"))


@row("PSH-21")
async def test_a_success_voids_every_endpoint(alice: Witness, home: str) -> None:
    url, _ = await begun(alice, push(f"{home}/f", "httpput", "httpsput"))
    places = endpoints(await details(alice, url))
    assert len(places) == 2
    assert (await alice.request("PUT", places[0], DATA)).status == 201
    for place in places:
        again = await alice.request("PUT", place, b"other")
        assert 400 <= again.status < 500
    assert (await alice.pull(f"{home}/f")).body == DATA


@row("PSH-22")
async def test_an_upload_that_breaks_off_leaves_the_old_bytes(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"old")
    async with slowly(alice, f"{home}/f") as (_, task):
        task.cancel()
    assert (await alice.pull(f"{home}/f")).body == b"old"
    assert 'busy="false"' in (await alice.get(f"/nodes{home}/f")).text


@row("PSH-22")
async def test_an_upload_that_breaks_off_can_be_repeated(alice: Witness, home: str) -> None:
    url, _ = await begun(alice, push(f"{home}/f", "httpput"))
    place = endpoints(await details(alice, url))[0]
    wrong = {"Digest": "md5=1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert (await alice.request("PUT", place, DATA, wrong)).status == 412
    assert (await alice.get(f"{url}/phase")).text == "EXECUTING"
    assert (await alice.request("PUT", place, DATA)).status == 201


@row("PSH-24")
async def test_an_announced_length_is_checked(alice: Witness, home: str) -> None:
    announced = push(f"{home}/f", "httpput").replace(
        "</vos:transfer>", f'<vos:param uri="{CORE}length">10</vos:param></vos:transfer>'
    )
    url, _ = await begun(alice, announced)
    place = endpoints(await details(alice, url))[0]
    assert (await alice.request("PUT", place, b"too long by far")).status in (400, 413)
    assert (await alice.request("PUT", place, b"0123456789")).status == 201


@row("PSH-25")
async def test_a_link_is_followed_to_its_target(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/a", b"old")
    link = f"<vos:target>{AUTHORITY}{home}/a</vos:target>"
    await alice.make(f"{home}/l", "LinkNode", link)
    url, job = await begun(alice, push(f"{home}/l", "httpput"))
    assert result_of(job, "dataNode") == f"{AUTHORITY}{home}/a"
    place = endpoints(await details(alice, url))[0]
    assert (await alice.request("PUT", place, DATA)).status == 201
    assert (await alice.pull(f"{home}/a")).body == DATA
    assert kind_of(await alice.get(f"/nodes{home}/l")) == "LinkNode"


@row("PSH-06")
async def test_a_push_that_nobody_used_leaves_no_node(alice: Witness) -> None:
    home = await new_container(alice)
    url, job = await begun(alice, push(f"{home}/f", "httpput"))
    assert phase(job) == "EXECUTING"
    assert (await alice.form(f"{url}/phase", "PHASE=ABORT")).status == 303
    assert names(await alice.get(f"/nodes{home}")) == []


async def asked(
    alice: Witness, path: str, condition: dict[str, str], data: bytes = DATA
) -> tuple[str, Answer]:
    """Push on a condition; return the job and the error, or the answer to the PUT."""
    document = push(path, "httpput")
    made = await alice.request("POST", "/synctrans", document, condition)
    job = job_of(made)
    if (await alice.get(f"{job}/phase")).text == "ERROR":
        return job, await alice.get(f"{job}/error")
    return job, await alice.request("PUT", endpoints(await details(alice, job))[0], data)


@row("PSH-07")
async def test_a_push_replaces_only_what_its_client_has_read(alice: Witness, home: str) -> None:
    path = f"{home}/f"
    await alice.push(path, b"first")
    read = (await alice.get(f"/nodes{path}")).headers["ETag"]
    _, done = await asked(alice, path, {"If-Match": read}, b"second")
    assert done.status == 201
    _, late = await asked(alice, path, {"If-Match": read})
    assert late.fault == "PreconditionFailed"
    assert (await asked(alice, f"{home}/none", {"If-Match": "*"}))[1].fault == "PreconditionFailed"
    assert names(await alice.get(f"/nodes{home}")) == ["f"]
    # Changed after the negotiation: the bytes that come then are not put in place.
    now = {"If-Match": (await alice.get(f"/nodes{path}")).headers["ETag"]}
    made = await alice.request("POST", "/synctrans", push(path, "httpput"), now)
    await alice.set(path, properties(title="T"))
    place = endpoints(await details(alice, job_of(made)))[0]
    refused = await alice.request("PUT", place, DATA)
    assert (refused.status, refused.fault) == (412, "PreconditionFailed")
    assert (await alice.pull(path)).body == b"second"


@row("PSH-06")
async def test_of_pushes_that_want_a_new_file_one_makes_it(alice: Witness, home: str) -> None:
    new = {"If-None-Match": "*"}
    path = f"{home}/f"
    made = await alice.request("POST", "/synctrans", push(path, "httpput"), new)
    place = endpoints(await details(alice, job_of(made)))[0]
    assert (await asked(alice, path, new))[1].fault == "PreconditionFailed"
    assert (await alice.push(path, b"of somebody in a hurry")).status == 201
    assert (await alice.request("PUT", place, DATA)).status == 412
    assert (await alice.pull(path)).body == b"of somebody in a hurry"
    ends = await asyncio.gather(*(asked(alice, f"{home}/g", new) for _ in range(5)))
    assert sorted(end.status for _, end in ends) == [200, 200, 200, 200, 201]
    assert {end.fault for _, end in ends if end.status == 200} == {"PreconditionFailed"}
    assert (await alice.pull(f"{home}/g")).body == DATA
