"""Rows SYN and PAR: /synctrans, with a document and with parameters."""

import re
from urllib.parse import quote, urlencode

import pytest
from stack import AUTHORITY, CORE, relocation, transfer

from conformance.world import Witness, details, endpoints, job_of, message, names, phase

row = pytest.mark.row
DATA = b"0123456789abcdef" * 512
BASIC = "ivo://ivoa.net/sso#BasicAA"


def asked(path: str, direction: str = "pullFrom", **more: str) -> dict[str, str]:
    """Return the parameters of a push or a pull."""
    protocol = "httpget" if direction == "pullFrom" else "httpput"
    return {
        "TARGET": AUTHORITY + path,
        "DIRECTION": f"{direction}VoSpace",
        "PROTOCOL": CORE + protocol,
        **more,
    }


def query(given: dict[str, str]) -> str:
    """Return the parameters as a query at /synctrans."""
    return f"/synctrans?{urlencode(given, quote_via=quote)}"


@row("SYN-01", "SYN-02", "SYN-03", "UWS-11")
async def test_a_document_is_answered_by_its_jobs_details(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/a", DATA)
    answer = await alice.sync(transfer(f"{home}/a", "pullFromVoSpace", "httpget"))
    assert answer.status == 303
    assert re.fullmatch(
        rf"{re.escape(alice.base)}(/auth)?/transfers/\w+/results/transferDetails", answer.location
    )
    told = await alice.get(answer.location)
    assert (told.status, len(endpoints(told))) == (200, 1)
    assert (await alice.get(endpoints(told)[0])).body == DATA
    job = await alice.get(job_of(answer))
    assert (job.status, phase(job)) == (200, "COMPLETED")
    assert job_of(answer) in (await alice.get("/transfers?LAST=3")).text


@row("SYN-04", "SYN-05", "UWS-35", "UWS-36", "FLT-04")
async def test_an_error_is_told_by_the_job(alice: Witness, home: str) -> None:
    answer = await alice.sync(transfer(f"{home}/none", "pullFromVoSpace", "httpget"))
    url = job_of(answer)
    told = await details(alice, url)
    assert "<vos:protocol" not in told.text
    assert f"<vos:target>{AUTHORITY}{home}/none</vos:target>" in told.text
    job = await alice.get(url)
    assert (job.status, phase(job), message(job)) == (200, "ERROR", "Node Not Found")
    assert re.search('<uws:errorSummary type="(fatal|transient)" hasDetail="true">', job.text)
    assert (await alice.get(f"{url}/phase")).text == "ERROR"
    error = await alice.get(f"{url}/error")
    assert error.text == f"NodeNotFound {AUTHORITY}{home}/none"


@row("SYN-06")
async def test_a_push_works_likewise(alice: Witness, home: str) -> None:
    answer = await alice.sync(transfer(f"{home}/p", "pushToVoSpace", "httpput"))
    place = endpoints(await alice.get(answer.location))[0]
    assert (await alice.request("PUT", place, DATA)).status == 201
    assert (await alice.get(f"{job_of(answer)}/phase")).text == "COMPLETED"


@row("SYN-07")
@pytest.mark.parametrize("body", ["<x", "<vos:node/>", "<a/>", "{}", "", "\xff\xfe"])
async def test_what_cannot_be_read_makes_no_job(alice: Witness, home: str, body: str) -> None:
    before = await alice.get("/transfers?LAST=1")
    for resource in ("/synctrans", "/transfers"):
        refused = await alice.request("POST", resource, body)
        assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (await alice.get("/transfers?LAST=1")).body == before.body


@row("SYN-08")
async def test_every_other_operation_has_a_defined_answer(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    for keep, target in ((True, "b"), (False, "c")):
        done = await alice.sync(relocation(f"{home}/a", f"{home}/{target}", keep=keep))
        assert (await alice.get(f"{job_of(done)}/phase")).text == "COMPLETED"
    assert names(await alice.get(f"/nodes{home}")) == ["b", "c"]
    protocol = f'<vos:protocol uri="{CORE}httpget"><vos:endpoint>http://127.0.0.1:9/x</vos:endpoint></vos:protocol>'
    for direction in ("pullToVoSpace", "pushFromVoSpace"):
        refused = await alice.sync(transfer(f"{home}/a", direction, more=protocol))
        assert (refused.status, refused.fault) == (501, "OperationNotSupported")
        assert direction in refused.text
    for direction in ("pulltovospace", "sideways", "http://example.org/x"):
        refused = await alice.sync(transfer(f"{home}/a", direction, "httpget"))
        assert (refused.status, refused.fault) == (400, "InvalidArgument")


@row("PAR-01", "PAR-02", "PAR-03")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("direction", ["pullFrom", "pushTo"])
async def test_parameters_are_answered_by_the_transfer(
    alice: Witness, home: str, method: str, direction: str
) -> None:
    await alice.push(f"{home}/f", b"old")
    answer = await alice.request(method, query(asked(f"{home}/f", direction)))
    assert (answer.status, "Location" in answer.headers) == (200, False)
    assert "<vos:transfer " in answer.text
    assert f"<vos:target>{AUTHORITY}{home}/f</vos:target>" in answer.text
    place = endpoints(answer)[0]
    if direction == "pushTo":
        assert (await alice.request("PUT", place, DATA)).status == 201
    assert (await alice.pull(f"{home}/f")).body == (DATA if direction == "pushTo" else b"old")


@row("PAR-04")
@pytest.mark.parametrize("case", [str.upper, str.lower, str.title])
async def test_parameters_may_come_in_a_form(alice: Witness, home: str, case: object) -> None:
    await alice.push(f"{home}/f", DATA)
    assert callable(case)
    given = {case(name): value for name, value in asked(f"{home}/f").items()}
    answer = await alice.form("/synctrans", urlencode(given))
    assert (answer.status, len(endpoints(answer))) == (200, 1)


@row("PAR-05")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_leads_to_the_bytes(alice: Witness, home: str, method: str) -> None:
    await alice.push(f"{home}/f", DATA)
    answer = await alice.request(method, query(asked(f"{home}/f", REQUEST="redirect")))
    assert (answer.status, "/transfers/" in answer.location) == (303, False)
    assert (await alice(None).get(answer.location)).body == DATA


@row("PAR-06")
async def test_a_security_method_comes_back(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    answer = await alice.get(query(asked(f"{home}/f", SECURITYMETHOD=BASIC)))
    assert f'<vos:securityMethod uri="{BASIC}"/>' in answer.text
    assert "securityMethod" not in (await alice.get(query(asked(f"{home}/f")))).text


@row("PAR-07")
async def test_the_view_counts(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    for view, offered in ((f"{CORE}defaultview", 1), (f"{CORE}binaryview", 1), ("urn:x", 0)):
        answer = await alice.get(query(asked(f"{home}/f", VIEW=view)))
        assert (answer.status, len(endpoints(answer))) == (200, offered)
        assert f'<vos:view uri="{view}"' in answer.text
    assert len(endpoints(await alice.get(query(asked(f"{home}/f"))))) == 1


@row("PAR-08", "PAR-09", "PAR-10")
async def test_parameters_that_cannot_be_are_refused(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    whole = asked(f"{home}/f")
    without = [query({n: v for n, v in whole.items() if n != name}) for name in whole]
    twice = [query(whole) + "&" + urlencode({name: whole[name]}) for name in whole]
    others = [
        query({**whole, "DIRECTION": direction})
        for direction in ("pullToVoSpace", "pushFromVoSpace", "x", f"{AUTHORITY}{home}/g")
    ]
    before = await alice.get("/transfers?LAST=1")
    for path in (*without, *twice, *others, query({**whole, "REQUEST": "please"}), "/synctrans"):
        refused = await alice.get(path)
        assert (refused.status, refused.fault) == (400, "InvalidArgument"), path
    assert (await alice.get("/transfers?LAST=1")).body == before.body


@row("PAR-11")
async def test_an_error_is_a_transfer_without_protocol(alice: Witness, home: str) -> None:
    answer = await alice.get(query(asked(f"{home}/none")))
    assert (answer.status, "<vos:protocol" in answer.text) == (200, False)
    place = answer.headers["Content-Location"]
    assert (await alice.get(place)).body == answer.body
    job = place.removesuffix("/results/transferDetails")
    assert (await alice.get(f"{job}/error")).fault == "NodeNotFound"


@row("PAR-12")
@pytest.mark.parametrize(
    ("path", "status", "fault"),
    [("{home}/none", 404, "NodeNotFound"), ("/home/bob", 403, "PermissionDenied")],
)
async def test_an_error_with_a_redirect_is_the_fault(
    alice: Witness, home: str, path: str, status: int, fault: str
) -> None:
    refused = await alice.get(query(asked(path.format(home=home), REQUEST="redirect")))
    assert (refused.status, refused.fault) == (status, fault)


@row("PAR-13")
async def test_a_redirect_changes_nothing_of_a_push(alice: Witness, home: str) -> None:
    answer = await alice.get(query(asked(f"{home}/f", "pushTo", REQUEST="redirect")))
    assert (answer.status, len(endpoints(answer))) == (200, 1)


@row("PAR-14")
async def test_values_are_decoded_once(alice: Witness, home: str) -> None:
    for name, data in (("a%20b", b"space"), ("a%2520b", b"percent")):
        assert (await alice.push(f"{home}/{name}", data)).status == 201
    for name, data in (("a%20b", b"space"), ("a%2520b", b"percent")):
        answer = await alice.get(query(asked(f"{home}/{name}", REQUEST="redirect")))
        assert (await alice.get(answer.location)).body == data
