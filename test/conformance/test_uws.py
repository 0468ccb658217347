"""Rows UWS: jobs."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from stack import AUTHORITY, Answer, relocation, transfer
from validation import valid
from waiting_support import until_true

from conformance.world import Witness, World, begun, details, endpoints, phase, refusal

row = pytest.mark.row
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
RESOURCES = ("", "/phase", "/executionduration", "/destruction", "/quote", "/owner", "/error")
LISTS = ("/parameters", "/results", "/results/transferDetails")


async def pending(person: Witness, path: str = "/home/alice/none", query: str = "") -> str:
    """Make a job that nobody runs; return its URL."""
    document = transfer(path, "pullFromVoSpace", "httpget")
    made = await person.request("POST", f"/transfers{query}", document)
    assert made.status == 303, made
    return made.location


def listed(answer: Answer) -> list[str]:
    """Return the ids of the jobs in a list, in its order."""
    assert answer.status == 200, answer
    return re.findall('<uws:jobref id="([^"]*)"', answer.text)


def id_of(url: str) -> str:
    """Return the id of the job at ``url``."""
    return url.rpartition("/")[2]


def element(answer: Answer, name: str) -> str:
    """Return the text of the first element ``name`` of UWS, empty if it is nil."""
    return answer.text.partition(f"<uws:{name}>")[2].partition("<")[0]


@row("UWS-01", "UWS-02")
async def test_the_list_names_each_job(alice: Witness) -> None:
    job = await pending(alice)
    answer = await alice.get("/transfers?LAST=1")
    assert re.search('<uws:jobs [^>]*version="1.1"', answer.text)
    assert listed(answer) == [id_of(job)]
    assert f'xlink:href="{job}"' in answer.text
    assert element(answer, "phase") == "PENDING"
    assert STAMP.fullmatch(element(answer, "creationTime"))
    valid(answer.body)


@row("UWS-03", "UWS-04", "UWS-05", "UWS-38", "UWS-41")
async def test_a_new_job_is_pending_or_run_at_once(alice: Witness, home: str) -> None:
    job = await pending(alice, query="?RUNID=abc")
    assert (await alice.get(f"{job}/phase")).text == "PENDING"
    assert element(await alice.get(job), "runId") == "abc"
    await alice.push(f"{home}/f", b"1")
    for query in ("?PHASE=RUN", "?phase=run"):
        job = await pending(alice, f"{home}/f", query)
        assert (await alice.get(f"{job}/phase")).text == "EXECUTING"
    for word in ("ABORT", "FOO"):
        document = transfer(f"{home}/f", "pullFromVoSpace", "httpget")
        refused = await alice.request("POST", f"/transfers?PHASE={word}", document)
        assert (refused.status, refused.fault) == (400, "InvalidArgument")


@row("UWS-06", "UWS-07", "UWS-08", "UWS-41")
async def test_phases_follow_the_standard(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"1")
    aborted, executing = await pending(alice), await pending(alice, f"{home}/f")
    done, failed = await pending(alice, f"{home}/f"), await pending(alice)
    for job in (executing, done, failed):
        answer = await alice.form(f"{job}/phase", "phase=RUN")
        assert (answer.status, answer.location) == (303, job)
    for job in (aborted, executing):
        answer = await alice.form(f"{job}/phase", "PHASE=ABORT")
        assert (answer.status, answer.location) == (303, job)
        assert (await alice.get(f"{job}/phase")).text == "ABORTED"
    await alice.get(endpoints(await details(alice, done))[0])
    for job, end in ((aborted, "ABORTED"), (done, "COMPLETED"), (failed, "ERROR")):
        assert (await alice.get(f"{job}/phase")).text == end
        for word in ("RUN", "ABORT"):
            refused = await alice.form(f"{job}/phase", f"PHASE={word}")
            assert (refused.status, refused.fault) == (403, "IllegalTransition")
        assert (await alice.get(f"{job}/phase")).text == end


@row("UWS-09")
@pytest.mark.parametrize(
    "body", ["PHASE=FOO", "PHASE=", "", "x", "PHASE=RUN&PHASE=RUN", "\xff=%ff"]
)
async def test_another_phase_is_refused(alice: Witness, body: str) -> None:
    job = await pending(alice)
    refused = await alice.form(f"{job}/phase", body)
    assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (await alice.get(f"{job}/phase")).text == "PENDING"


@row("UWS-10", "UWS-31", "UWS-32")
async def test_small_resources_are_bare_text(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"1")
    url, _ = await begun(alice, transfer(f"{home}/f", "pullFromVoSpace", "httpget"))
    for name, wanted in (
        ("phase", "EXECUTING"),
        ("owner", "alice"),
        ("executionduration", r"\d+"),
        ("destruction", f"({STAMP.pattern})?"),
        ("quote", f"({STAMP.pattern})?"),
    ):
        answer = await alice.get(f"{url}/{name}")
        assert (answer.status, answer.headers["Content-Type"][:10]) == (200, "text/plain")
        assert re.fullmatch(wanted, answer.text), (name, answer.text)


@row("UWS-11", "UWS-12", "UWS-37")
async def test_a_job_is_valid_in_every_phase(alice: Witness, home: str) -> None:
    job = await pending(alice)
    before = await alice.get(job)
    await alice.form(f"{job}/phase", "PHASE=RUN")
    after = await alice.get(job)
    for answer in (before, after):
        valid(answer.body)
        assert 'version="1.1"' in answer.text
        for name in re.findall("<uws:(\\w*Time|destruction|quote)>", answer.text):
            assert STAMP.fullmatch(element(answer, name)), name
    assert (element(before, "startTime"), element(before, "endTime")) == ("", "")
    assert STAMP.fullmatch(element(after, "endTime"))
    order = [after.text.find(f"<uws:{name}") for name in (
        "jobId", "ownerId", "phase", "creationTime", "startTime", "endTime", "executionDuration",
        "destruction", "parameters", "results", "errorSummary", "jobInfo",
    )]  # fmt: skip
    assert -1 not in order
    assert order == sorted(order)


@row("UWS-13")
@pytest.mark.parametrize("id_", ["nosuch", "0" * 32, "%00", "a" * 300, "%F0%9F%94%AD"])
async def test_no_such_job_is_404(alice: Witness, id_: str) -> None:
    for path in (*RESOURCES, *LISTS):
        assert (await alice.get(f"/transfers/{id_}{path}")).status == 404, path
    assert (await alice.delete(f"/transfers/{id_}")).status == 404
    assert (await alice.form(f"/transfers/{id_}/phase", "PHASE=RUN")).status == 404
    job = await pending(alice)
    assert (await alice.get(f"{job}/results/none")).status == 404
    assert (await alice.get(f"{job}/nosuch")).status == 404


@row("UWS-14", "UWS-15")
async def test_a_job_is_its_owners(alice: Witness) -> None:
    job = await pending(alice)
    for user in ("bob", None):
        stranger = alice(user)
        for path in (*RESOURCES, *LISTS):
            assert (await stranger.get(job + path)).status == 403, path
        assert (await stranger.delete(job)).status == 403
        assert (await stranger.form(f"{job}/phase", "PHASE=ABORT")).status == 403
        assert (await stranger.form(job, "ACTION=DELETE")).status == 403
        assert id_of(job) not in (await stranger.get("/transfers")).text
    assert (await alice.get(f"{job}/phase")).text == "PENDING"


@row("UWS-16", "UWS-17", "UWS-18", "UWS-19")
async def test_the_list_is_filtered(running: World) -> None:
    carol = running.person("carol")
    ids = []
    for _ in range(4):
        ids.append(id_of(await pending(carol, "/home/carol/none")))
    for job in ids[1:3]:
        await carol.form(f"/transfers/{job}/phase", "PHASE=RUN")
    mine = set(ids)

    async def kept(query: str) -> list[str]:
        return [id_ for id_ in listed(await carol.get(f"/transfers?{query}")) if id_ in mine]

    assert set(await kept("PHASE=PENDING")) == {ids[0], ids[3]}
    assert set(await kept("PHASE=ERROR")) == {ids[1], ids[2]}
    assert set(await kept("PHASE=PENDING&PHASE=ERROR")) == mine
    assert set(await kept("PHASE=QUEUED&PHASE=HELD")) == set()
    assert await kept("LAST=2") == [ids[3], ids[2]]
    assert await kept("PHASE=PENDING&LAST=1") == [ids[3]]
    created = element(await carol.get(f"/transfers/{ids[1]}"), "creationTime")
    assert set(await kept(f"AFTER={created}")) == {ids[2], ids[3]}
    assert await kept("AFTER=2999-01-01T00:00:00Z") == []
    assert await kept(f"AFTER={created}&PHASE=PENDING&LAST=5") == [ids[3]]


@row("UWS-20")
@pytest.mark.parametrize(
    "query", ["LAST=0", "LAST=-1", "LAST=x", "AFTER=x", "AFTER=", "PHASE=FOO", "LAST=1&LAST=2"]
)
async def test_filters_that_cannot_be_are_refused(alice: Witness, query: str) -> None:
    refused = await alice.get(f"/transfers?{query}")
    assert (refused.status, refused.fault) == (400, "InvalidArgument")


@row("UWS-21", "UWS-24")
@pytest.mark.parametrize("seconds", [30, -1])
async def test_a_wait_ends_with_a_change_of_phase(alice: Witness, seconds: int) -> None:
    job = await pending(alice)
    waiting = asyncio.create_task(alice.get(f"{job}?WAIT={seconds}"))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await alice.form(f"{job}/phase", "PHASE=RUN")
    assert phase(await waiting) == "ERROR"


@row("UWS-24")
@pytest.mark.scale
async def test_a_wait_without_a_limit_ends_by_itself(alice: Witness) -> None:
    began = time.monotonic()
    assert phase(await alice.get(f"{await pending(alice)}?WAIT=-1")) == "PENDING"
    assert 10 < time.monotonic() - began < 110  # below the time-outs of proxies and clients


@row("UWS-21")
async def test_a_wait_ends_in_time(alice: Witness) -> None:
    job = await pending(alice)
    began = time.monotonic()
    assert phase(await alice.get(f"{job}?WAIT=1")) == "PENDING"
    assert time.monotonic() - began > 0.9
    for wrong in ("x", "-2", "1.5", ""):
        assert (await alice.get(f"{job}?WAIT={wrong}")).status == 400


@row("UWS-22", "UWS-23")
async def test_a_wait_for_nothing_returns_at_once(alice: Witness) -> None:
    job, over = await pending(alice), await pending(alice)
    await alice.form(f"{over}/phase", "PHASE=RUN")
    async with asyncio.timeout(20):  # and not the 60 s of each wait
        for url, query, wanted in (
            (over, "WAIT=60", "ERROR"),
            (over, "WAIT=-1", "ERROR"),
            (over, "WAIT=60&PHASE=ERROR", "ERROR"),
            (job, "WAIT=60&PHASE=QUEUED", "PENDING"),
            (job, "WAIT=-1&PHASE=COMPLETED", "PENDING"),
            (job, "WAIT=0", "PENDING"),
        ):
            assert phase(await alice.get(f"{url}?{query}")) == wanted


@row("UWS-25", "UWS-27")
async def test_duration_and_destruction_are_set(alice: Witness) -> None:
    job = await pending(alice)
    moment = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, body, wanted in (
        ("executionduration", "EXECUTIONDURATION=600", "600"),
        ("destruction", f"DESTRUCTION={moment}", moment.removesuffix("Z")),
    ):
        answer = await alice.form(f"{job}/{name}", body)
        assert (answer.status, answer.location) == (303, job)
        assert (await alice.get(f"{job}/{name}")).text.startswith(wanted)
    assert element(await alice.get(job), "executionDuration") == "600"
    for name, word in (
        ("executionduration", "-1"),
        ("executionduration", "x"),
        ("destruction", "x"),
    ):
        refused = await alice.form(f"{job}/{name}", f"{name.upper()}={word}")
        assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (
        await alice.form(f"{job}/destruction", "DESTRUCTION=9999-01-01T00:00:00Z")
    ).status == 303
    assert not (await alice.get(f"{job}/destruction")).text.startswith("9999")


@row("UWS-26", "UWS-28", "UWS-40")
async def test_a_job_ends_in_its_time_and_goes_in_its_time(alice: Witness, home: str) -> None:
    push = transfer(f"{home}/f", "pushToVoSpace", "httpput")
    late = await alice.request("POST", "/transfers", push)
    await alice.form(f"{late.location}/executionduration", "EXECUTIONDURATION=1")
    await alice.form(f"{late.location}/phase", "PHASE=RUN")
    place = endpoints(await details(alice, late.location))[0]
    old, _ = await begun(alice, push.replace(f"{home}/f", f"{home}/g"))
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert (await alice.form(f"{old}/destruction", f"DESTRUCTION={soon[:19]}Z")).status == 303
    other = endpoints(await details(alice, old))[0]

    async def over() -> bool:
        aborted = (await alice.get(f"{late.location}/phase")).text == "ABORTED"
        return aborted and (await alice.get(f"{old}/phase")).text == "ARCHIVED"

    await until_true(over)
    assert id_of(old) not in (await alice.get("/transfers")).text
    assert id_of(old) in listed(await alice.get("/transfers?PHASE=ARCHIVED"))
    assert (await alice.form(f"{old}/phase", "PHASE=RUN")).status == 403
    assert endpoints(await details(alice, old)) == []
    for void in (place, other):
        assert (await alice.request("PUT", void, b"1")).status == 404
    for name in "fg":
        assert (await alice.get(f"/nodes{home}/{name}")).status == 404


@row("UWS-29", "UWS-30")
@pytest.mark.parametrize("running_", [False, True])
async def test_a_job_is_deleted(alice: Witness, home: str, running_: bool) -> None:
    await alice.push(f"{home}/f", b"1")
    for way in ("DELETE", "POST"):
        job = await pending(alice, f"{home}/f", "?PHASE=RUN" if running_ else "")
        place = endpoints(await details(alice, job))[0] if running_ else None
        gone = await (alice.delete(job) if way == "DELETE" else alice.form(job, "ACTION=DELETE"))
        assert (gone.status, gone.location) == (303, f"{alice.base}/transfers")
        assert (await alice.get(job)).status == 404
        assert (await alice.get(f"{job}/phase")).status == 404
        if place:
            assert (await alice.get(place)).status == 404
    assert (await alice.form(await pending(alice), "ACTION=DANCE")).status == 400


@row("UWS-32")
async def test_nobodys_job_has_no_owner(alice: Witness) -> None:
    job = await pending(alice(None))
    shown = await alice(None).get(job)
    assert re.search('<uws:ownerId[^>]* xsi:nil="true"', shown.text)
    assert (await alice(None).get(f"{job}/owner")).text == ""
    assert "<uws:ownerId>alice</uws:ownerId>" in (await alice.get(await pending(alice))).text


@row("UWS-33", "UWS-34")
async def test_results_and_parameters_are_valid(alice: Witness, home: str) -> None:
    push = transfer(f"{home}/.auto", "pushToVoSpace", "httpput")
    url, _ = await begun(alice, push)
    for job in (url, await pending(alice)):
        for name in ("results", "parameters"):
            answer = await alice.get(f"{job}/{name}")
            assert (answer.status, f"<uws:{name}" in answer.text) == (200, True)
            valid(answer.body)
    results = await alice.get(f"{url}/results")
    ids = re.findall('<uws:result id="([^"]*)"', results.text)
    assert sorted(ids) == ["dataNode", "target", "transferDetails"]
    for name in ids:
        assert (await alice.get(f"{url}/results/{name}")).status == 200


@row("UWS-35", "UWS-36", "FLT-04")
async def test_a_failed_job_tells_its_fault(alice: Witness, home: str) -> None:
    document = transfer(f"{home}/none", "pullFromVoSpace", "httpget")
    told = await refusal(alice, document)
    assert told == ("Node Not Found", "NodeNotFound", f"{AUTHORITY}{home}/none")
    assert (await alice.get(f"{await pending(alice)}/error")).status == 404


@row("UWS-39")
@pytest.mark.parametrize("path", [*RESOURCES[1:], *LISTS])
async def test_nothing_below_a_job_is_deleted(alice: Witness, path: str) -> None:
    job = await pending(alice)
    refused = await alice.delete(job + path)
    assert (refused.status, "GET" in refused.headers["Allow"]) == (405, True)
    assert (await alice.delete("/transfers")).status == 405
    assert (await alice.get(job)).status == 200


@row("UWS-07")
async def test_an_abort_of_a_move_is_whole_or_too_late(alice: Witness, home: str) -> None:
    for number in range(4):
        await alice.make(f"{home}/a{number}")
        document = relocation(f"{home}/a{number}", f"{home}/b{number}", keep=False)
        made = await alice.request("POST", "/transfers", document)
        await alice.form(f"{made.location}/phase", "PHASE=RUN")
        await asyncio.sleep(number * 0.1)  # before, while and after a server looks for work
        stopped = await alice.form(f"{made.location}/phase", "PHASE=ABORT")
        assert stopped.status in (303, 403)
        ended = await alice.get(f"{made.location}?WAIT=20&PHASE=EXECUTING")
        moved = phase(ended) == "COMPLETED"
        assert (stopped.status == 403) is moved
        assert (await alice.get(f"/nodes{home}/b{number}")).status == (200 if moved else 404)
        assert (await alice.get(f"/nodes{home}/a{number}")).status == (404 if moved else 200)
