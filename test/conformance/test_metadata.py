"""Rows MET: what the service says that it accepts, provides and contains."""

import re

import pytest
from stack import CORE, Answer, transfer

from conformance.world import Witness, begun, details, ended, phase

row = pytest.mark.row
SHARE = "http://wiki.ivoa.net/twiki/bin/view/IVOA/VOSpacePublicShare"


def listed(answer: Answer, heading: str) -> list[str]:
    """Return the URIs below ``heading``."""
    part = re.search(rf"<vos:{heading}>(.*?)</vos:{heading}>", answer.text, re.DOTALL)
    assert part, answer
    return re.findall('uri="([^"]*)"', part[1])


@row("MET-01")
async def test_protocols_are_listed(alice: Witness) -> None:
    answer = await alice(None).get("/protocols")
    assert (answer.status, "<vos:protocols " in answer.text) == (200, True)
    provides = listed(answer, "provides")
    assert {CORE + "httpget", CORE + "httpput"} <= set(provides)
    assert listed(answer, "accepts")


@row("MET-02")
async def test_what_is_provided_can_be_negotiated(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"1")
    for uri in listed(await alice.get("/protocols"), "provides"):
        direction = "pushToVoSpace" if uri.endswith("put") else "pullFromVoSpace"
        url, _ = await begun(alice, transfer(f"{home}/f", direction, uri))
        answer = await details(alice, url)
        assert f'<vos:protocol uri="{uri}"><vos:endpoint>http' in answer.text


@row("MET-04", "MET-05")
async def test_views_are_listed_under_their_headings(alice: Witness) -> None:
    answer = await alice(None).get("/views")
    assert (answer.status, "<vos:views " in answer.text) == (200, True)
    accepts, provides = listed(answer, "accepts"), listed(answer, "provides")
    assert CORE + "anyview" in accepts
    assert CORE + "anyview" not in provides
    assert CORE + "defaultview" in provides
    assert CORE + "defaultview" not in accepts
    assert CORE + "binaryview" in accepts


@row("MET-06", "MET-07")
async def test_properties_in_use_are_listed(alice: Witness, home: str) -> None:
    def used(value: str) -> str:
        nil = ' xsi:nil="true"' if value == "nil" else ""
        return f'<vos:properties><vos:property uri="urn:example:m7"{nil}/></vos:properties>'

    before = await alice.get("/properties")
    assert "<vos:properties " in before.text
    assert CORE + "title" in listed(before, "accepts")
    assert CORE + "length" in listed(before, "provides")
    assert "urn:example:m7" not in listed(before, "contains")
    await alice.set(home, used("7"))
    assert "urn:example:m7" in listed(await alice.get("/properties"), "contains")
    assert "urn:example:m7" not in (await alice(None).get("/properties")).text
    await alice.set(home, used("nil"))
    assert "urn:example:m7" not in listed(await alice.get("/properties"), "contains")


@row("MET-09")
@pytest.mark.parametrize("resource", ["/protocols", "/views", "/properties"])
@pytest.mark.parametrize("method", ["DELETE", "PUT", "POST", "PATCH"])
async def test_what_the_service_says_is_only_read(
    alice: Witness, resource: str, method: str
) -> None:
    refused = await alice.request(method, resource)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD")


@row("MET-10")
@pytest.mark.parametrize("path", ["/properties", "/views", "/protocols", "/nodes", "/transfers"])
async def test_every_resource_is_bound(alice: Witness, path: str) -> None:
    assert (await alice.get(path)).status == 200
    head = await alice.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")


@row("MET-03")
async def test_what_is_accepted_is_what_the_service_can_call(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/f", "DataNode")
    for uri in listed(await alice.get("/protocols"), "accepts"):
        # Port 9 is "discard": a refused connection, so that all of them end as failed attempts.
        protocol = (
            f'<vos:protocol uri="{uri}"><vos:endpoint>{uri.rpartition("#")[2][:-3]}'
            "://127.0.0.1:9/f</vos:endpoint></vos:protocol>"
        )
        for direction in ("pullToVoSpace", "pushFromVoSpace"):
            document = transfer(f"{home}/f", direction, more=protocol)
            url, _ = await begun(alice, document)
            assert phase(await ended(alice, url)) == "ERROR"
            error = (await alice.get(f"{url}/error")).text
            assert not error.startswith(("ProtocolNotSupported", "OperationNot")), error
