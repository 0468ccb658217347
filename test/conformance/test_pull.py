"""Rows PUL: pullFromVoSpace."""

import re

import pytest
from stack import AUTHORITY, CORE, properties, transfer

from conformance.world import Witness, begun, details, endpoints, phase, refusal, result_of

row = pytest.mark.row
DATA = b"0123456789abcdef" * 4096
BASIC = "ivo://ivoa.net/sso#BasicAA"
SHARE = "http://wiki.ivoa.net/twiki/bin/view/IVOA/VOSpacePublicShare"


def pull(path: str, *protocols: str, more: str = "") -> str:
    """Return the document of a pull."""
    return transfer(path, "pullFromVoSpace", *protocols, more=more)


@row("PUL-01", "PUL-02", "PUL-03", "PUL-10")
async def test_a_pull_is_a_job_that_its_bytes_complete(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/a", DATA)
    url, job = await begun(alice, pull(f"{home}/a", "httpget"))
    assert phase(job) == "EXECUTING"
    assert result_of(job, "dataNode") == f"{AUTHORITY}{home}/a"
    place = endpoints(await details(alice, url))[0]
    assert (await alice(None).get(place)).body == DATA
    assert (await alice.get(f"{url}/phase")).text == "COMPLETED"
    assert (await alice(None).get(place)).body == DATA  # the deviation of PUL-10


@row("PUL-04", "PUL-05", "PUL-07", "PUL-08", "FLT-04")
@pytest.mark.parametrize(
    ("document", "message", "detail"),
    [
        (pull("{home}/none", "httpget"), "Node Not Found", AUTHORITY + "{home}/none"),
        (pull("{home}/none/x", "httpget"), "Node Not Found", AUTHORITY + "{home}/none"),
        (pull("{home}/f", "urn:x"), "Protocol Not Supported", "urn:x"),
        (pull("{home}/f", "httpput"), "Protocol Not Supported", f"{CORE}httpput"),
        (
            pull("{home}/f", "httpget", more='<vos:view uri="urn:example:v"/>'),
            "View Not Supported",
            "urn:example:v",
        ),
        (
            pull("{home}/f", "httpget", more=f'<vos:view uri="{CORE}anyview"/>'),
            "View Not Supported",
            f"{CORE}anyview",
        ),
        (pull("{home}", "httpget"), "View Not Supported", ""),
        (pull("/home/bob", "httpget"), "Permission Denied", ""),
        (pull("/home/bob/x", "httpget"), "Permission Denied", ""),
        (pull("{home}/f/x", "httpget"), "Node Not Found", ""),
        (pull("{home}/l", "httpget"), "Invalid URI", "urn:x"),
        (pull("{home}/l/x", "httpget"), "Link Found", "<vos:target>urn:x</vos:target>"),
    ],
)
async def test_a_pull_that_cannot_be_says_why(
    alice: Witness, home: str, document: str, message: str, detail: str
) -> None:
    await alice.push(f"{home}/f", b"1")
    await alice.make(f"{home}/l", "LinkNode", "<vos:target>urn:x</vos:target>")
    told = await refusal(alice, document.replace("{home}", home))
    assert (told[0], told[1]) == (message, message.replace(" ", ""))
    assert detail.replace("{home}", home) in told[2]


@row("PUL-08")
@pytest.mark.parametrize("user", ["bob", None])
async def test_a_stranger_pulls_nothing(alice: Witness, home: str, user: str | None) -> None:
    await alice.push(f"{home}/f", b"1")
    await alice.set(home, properties(publicread="true"))
    told = await refusal(alice(user), pull(f"{home}/f", "httpget"))
    assert told[:2] == ("Permission Denied", "PermissionDenied")


@row("PUL-06")
@pytest.mark.parametrize("view", ["", "defaultview", "binaryview"])
async def test_the_default_view_gives_the_bytes(alice: Witness, home: str, view: str) -> None:
    await alice.push(f"{home}/f", DATA)
    more = f'<vos:view uri="{CORE}{view}"/>' if view else ""
    url, _ = await begun(alice, pull(f"{home}/f", "httpget", more=more))
    answer = await details(alice, url)
    assert more.removesuffix("/>") in answer.text
    assert (await alice.get(endpoints(answer)[0])).body == DATA


@row("PUL-11")
async def test_only_what_was_asked_for_is_offered(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    url, _ = await begun(alice, pull(f"{home}/f", "urn:x", "httpget", "httpsget"))
    answer = await details(alice, url)
    assert re.findall('<vos:protocol uri="([^"]*)"', answer.text) == [
        f"{CORE}httpget",
        f"{CORE}httpsget",
    ]
    assert len(endpoints(answer)) == 2
    url, _ = await begun(alice, pull(f"{home}/f"))
    offered = re.findall('<vos:protocol uri="([^"]*)"', (await details(alice, url)).text)
    assert set(offered) == {f"{CORE}httpget", f"{CORE}httpsget"}


@row("PUL-12")
@pytest.mark.parametrize("methods", [(), (BASIC,)])
async def test_security_methods_come_back_iff_asked_for(
    alice: Witness, home: str, methods: tuple[str, ...]
) -> None:
    await alice.push(f"{home}/f", DATA)
    inner = "".join(f'<vos:securityMethod uri="{method}"/>' for method in methods)
    for name in ("httpget", "httpsget"):
        asked = f'<vos:protocol uri="{CORE}{name}">{inner}</vos:protocol>'
        url, _ = await begun(alice, pull(f"{home}/f", more=asked))
        answer = await details(alice, url)
        assert re.findall('<vos:securityMethod uri="([^"]*)"', answer.text) == list(methods)
        assert len(endpoints(answer)) == 1


@row("PUL-14")
async def test_the_content_type_is_the_nodes(alice: Witness, home: str) -> None:
    for name, said, expected in (
        ("a.fits", None, "fits"),
        ("b.txt", None, "text/plain"),
        ("c", "application/x-mine", "application/x-mine"),
    ):
        await alice.push(f"{home}/{name}", DATA)
        if said:
            await alice.set(f"{home}/{name}", properties(type=said))
        place = await alice.endpoint(f"{home}/{name}", "pullFromVoSpace", "httpget")
        assert expected in (await alice.request("HEAD", place)).headers["Content-Type"]


@row("PUL-15")
async def test_an_endpoint_knows_head_and_range(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    place = await alice.endpoint(f"{home}/f", "pullFromVoSpace", "httpget")
    head = await alice.request("HEAD", place)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))
    part = await alice.get(place, Range="bytes=100-199")
    assert (part.status, part.body) == (206, DATA[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(DATA)}"
    assert (await alice.get(place, Range="bytes=-7")).body == DATA[-7:]
    assert (await alice.get(place, Range=f"bytes={len(DATA)}-")).status == 416


@row("PUL-16")
async def test_null_has_no_bytes(alice: Witness, home: str) -> None:
    empty = await alice.pull(f"{home}/.null")
    assert (empty.status, empty.body) == (200, b"")


@row("PUL-17", "SEC-05")
async def test_a_public_share_is_for_everybody(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f.txt", DATA)
    url, job = await begun(alice, pull(f"{home}/f.txt", SHARE))
    assert phase(job) == "COMPLETED"
    answer = await details(alice, url)
    assert "securityMethod" not in answer.text
    (place,) = endpoints(answer)
    assert place.endswith("/f.txt")
    for user in (None, "bob", None):
        got = await alice(user).get(place)
        assert (got.status, got.body) == (200, DATA)
        assert "f.txt" in got.headers["Content-Disposition"]
        assert got.headers["Content-Type"].startswith("text/plain")


@row("PUL-19")
async def test_a_job_shows_its_transfer_as_it_was_sent(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", DATA)
    document = pull(f"{home}/f", "urn:x", "httpget", more=f'<vos:view uri="{CORE}defaultview"/>')
    made = await alice.request("POST", "/transfers", document)
    await alice.form(f"{made.location}/phase", "PHASE=RUN")
    info = (await alice.get(made.location)).text.partition("<uws:jobInfo>")[2]
    for part in (
        f"<vos:target>{AUTHORITY}{home}/f</vos:target>",
        "<vos:direction>pullFromVoSpace</vos:direction>",
        f'<vos:view uri="{CORE}defaultview"/>',
        '<vos:protocol uri="urn:x"/>',
        f'<vos:protocol uri="{CORE}httpget"/>',
    ):
        assert part in info
