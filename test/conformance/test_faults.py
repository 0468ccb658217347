"""Rows FLT, SEC, VOS and CMP: faults, log-in, what VOSI asks for, and old clients."""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth
from lxml import etree
from stack import AUTHORITY, SECRET, Answer, node, properties, relocation, transfer
from validation import IVOA, valid

from conformance.world import Witness, World, begun, details, endpoints
from pyvospace_ngas.model.endpoint import Endpoint, endpoint_keys, read, sign

row = pytest.mark.row
REGISTRATION = Path(__file__).resolve().parents[2] / "docker" / "registration.xml"
# The schema of a record: the root is the registry's own, what it holds is VOResource's.
RECORD = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
    xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"
    targetNamespace="http://www.ivoa.net/xml/RegistryInterface/v1.0">
  <xs:import namespace="http://www.ivoa.net/xml/VOResource/v1.0"
      schemaLocation="{folder}/VOResource-v1.1.xsd"/>
  <xs:import namespace="http://www.ivoa.net/xml/VODataService/v1.1"
      schemaLocation="{folder}/VODataService-v1.2-nostc.xsd"/>
  <xs:element name="Resource" type="vr:Resource"/>
</xs:schema>
"""
METHODS = {"ivo://ivoa.net/sso#BasicAA": "Basic", "ivo://ivoa.net/sso#token": "Bearer"}


async def every_fault(alice: Witness, home: str) -> dict[str, Answer]:
    """Provoke every fault that the node resource has; return the answers by name and cause."""
    await alice.make(f"{home}/f", "DataNode")
    await alice.make(f"{home}/l", "LinkNode", "<vos:target>urn:x</vos:target>")
    bob = alice("bob")
    return {
        "NodeNotFound get": await alice.get(f"/nodes{home}/none"),
        "NodeNotFound set": await alice.set(f"{home}/none", properties(title="T")),
        "NodeNotFound delete": await alice.delete(f"/nodes{home}/none"),
        "ContainerNotFound create": await alice.make(f"{home}/none/x"),
        "ContainerNotFound set": await alice.set(f"{home}/none/x", properties(title="T")),
        "ContainerNotFound delete": await alice.delete(f"/nodes{home}/none/x"),
        "LinkFound create": await alice.make(f"{home}/l/x"),
        "LinkFound delete": await alice.delete(f"/nodes{home}/l/x"),
        "DuplicateNode create": await alice.make(f"{home}/f", "DataNode"),
        "InvalidURI create": await alice.request("PUT", f"/nodes{home}/a", node(f"{home}/b")),
        "InvalidURI get": await alice.get(f"/nodes{home}/%2e%2e/x"),
        "TypeNotSupported create": await alice.make(f"{home}/x", "FooNode"),
        "InvalidArgument set": await alice.set(f"{home}/f", properties(publicread="maybe")),
        "InvalidArgument get": await alice.get(f"/nodes{home}?limit=x"),
        "ViewNotSupported get": await alice.get(f"/nodes{home}/f?view=urn:x"),
        "PermissionDenied get": await bob.get(f"/nodes{home}/f"),
        "PermissionDenied set": await bob.set(f"{home}/f", properties(title="T")),
        "PermissionDenied create": await bob.make(f"{home}/x"),
        "PermissionDenied delete": await bob.delete(f"/nodes{home}/f"),
        "PermissionDenied property": await alice.set(f"{home}/f", properties(length="1")),
    }


STATUS = {
    "NodeNotFound": 404, "ContainerNotFound": 404, "LinkFound": 400, "DuplicateNode": 409,
    "InvalidURI": 400, "TypeNotSupported": 400, "InvalidArgument": 400, "ViewNotSupported": 400,
    "PermissionDenied": 403,
}  # fmt: skip


@row("FLT-01", "FLT-02", "FLT-03", "FLT-05", "FLT-07")
async def test_every_fault_is_told_in_one_way(alice: Witness, home: str) -> None:
    answers = await every_fault(alice, home)
    for cause, answer in answers.items():
        name = cause.split()[0]
        assert re.match(rf"{name}\s+\S", answer.text), cause
        assert answer.status == STATUS[name], cause
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert not re.search("Traceback|SELECT|asyncpg|File ", answer.text)
    for cause, detail in (
        ("NodeNotFound get", f"{AUTHORITY}{home}/none"),
        ("ContainerNotFound create", f"{AUTHORITY}{home}/none"),
        ("DuplicateNode create", f"{AUTHORITY}{home}/f"),
        ("InvalidURI create", f"{AUTHORITY}{home}/b"),
        ("TypeNotSupported create", "vos:FooNode"),
        ("InvalidArgument set", "publicread"),
        ("InvalidArgument get", "limit"),
        ("ViewNotSupported get", "urn:x"),
        ("LinkFound create", "<vos:target>urn:x</vos:target>"),
        ("LinkFound delete", f'uri="{AUTHORITY}{home}/l"'),
    ):
        assert detail in answers[cause].text
    link = answers["LinkFound create"].text.partition("<")
    valid(link[1] + link[2])


@row("FLT-06")
@pytest.mark.parametrize("method", ["PATCH", "TRACE", "LOCK", "OPTIONS"])
async def test_other_methods_are_405(alice: Witness, home: str, method: str) -> None:
    for path in (f"/nodes{home}", "/transfers", "/synctrans", "/capabilities", "/availability"):
        refused = await alice.request(method, path)
        assert (refused.status, "GET" in refused.headers["Allow"]) == (405, True)


@row("FLT-06")
@pytest.mark.parametrize(
    "path", ["/nosuch", "/", "", "/nodesx", "/capabilities/x", "/transfers/a/b/c/d"]
)
async def test_what_there_is_not_is_404(alice: Witness, path: str) -> None:
    assert (await alice.get(path)).status == 404


def interfaces(document: Answer) -> dict[str, list[etree._Element]]:
    """Return the interfaces of each capability; its elements have no namespace."""
    root = etree.fromstring(document.body)
    return {
        capability.get("standardID", ""): capability.findall("interface")
        for capability in root.findall("capability")
    }


@row("VOS-01", "VOS-02", "VOS-03", "VOS-04", "CMP-03")
async def test_the_capabilities_name_every_resource(alice: Witness) -> None:
    nobody = alice(None)
    answer = await nobody.get("/capabilities")
    assert (answer.status, answer.headers["Content-Type"][:8]) == (200, "text/xml")
    valid(answer.body)
    found = interfaces(answer)
    standard = "ivo://ivoa.net/std/"
    itself = found[f"{standard}VOSI#capabilities"]
    assert not [method for one in itself for method in one.findall("securityMethod")]
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    for name in (
        "VOSI#capabilities", "VOSI#availability", "VOSpace/v2.0#nodes", "VOSpace/v2.0#transfers",
        "VOSpace#sync-2.1", "VOSpace/v2.0#sync", "VOSpace/v2.0#properties", "VOSpace/v2.0#views",
        "VOSpace/v2.0#protocols",
    ):  # fmt: skip
        for one in found[standard + name]:
            assert one.get(kind) == "vs:ParamHTTP"
            url = one.findtext("accessURL")
            assert url is not None
            # /synctrans is there as well: it misses its parameters.
            wanted = 400 if "sync" in name else 200
            assert (await nobody.get(url)).status == wanted, url


@row("VOS-05")
async def test_the_capabilities_say_when_they_changed(alice: Witness) -> None:
    head = await alice(None).request("HEAD", "/capabilities")
    assert head.status == 200
    assert parsedate_to_datetime(head.headers["Last-Modified"]) <= datetime.now(UTC)


@row("VOS-06")
async def test_the_service_is_available(alice: Witness) -> None:
    answer = await alice(None).get("/availability")
    valid(answer.body)
    assert (answer.status, "<vosi:available>true<" in answer.text) == (200, True)


@row("SEC-01")
def test_the_access_policy_is_described_for_the_registry() -> None:
    record = etree.parse(REGISTRATION)
    assert record.findtext("identifier") == "ivo://icrar.org/ngas"
    rights = " ".join((record.findtext("rights") or "").split())
    for word in ("groupread", "groupwrite", "publicread", "owner", "anonymous"):
        assert word in rights
    if IVOA.is_dir():
        etree.XMLSchema(etree.fromstring(RECORD.format(folder=IVOA))).assertValid(record)


@row("SEC-02", "SEC-03")
async def test_wrong_credentials_meet_a_challenge(alice: Witness, running: World) -> None:
    declared = {
        method.get("standardID")
        for one in interfaces(await alice.get("/capabilities")).values()
        for interface in one
        for method in interface.findall("securityMethod")
    }
    for credentials in (
        encode_basic_auth("alice", "wrong"),
        encode_basic_auth("nobody", "x"),
        "Basic nonsense",
        "Bearer nonsense",
        "Strange scheme",
    ):
        async with running.http.get(
            f"{alice.base}/nodes", headers={"Authorization": credentials}
        ) as answer:
            assert answer.status == 401
            challenge = ", ".join(answer.headers.getall("WWW-Authenticate"))
            offered = {scheme for scheme in METHODS.values() if f"{scheme} " in challenge}
            assert offered == {METHODS[m] for m in declared if m in METHODS}
    refused = await alice(None).get("/nodes/home/bob")
    assert (refused.status, "WWW-Authenticate" in refused.headers) == (403, True)


@row("SEC-04")
async def test_the_service_says_whom_it_recognised(alice: Witness) -> None:
    for path in ("/capabilities", "/nodes"):
        for user in ("alice", None):
            head = await alice(user).request("HEAD", path)
            assert head.headers.get("X-VO-Authenticated") == user


@row("SEC-05")
async def test_an_endpoint_needs_its_token_only(alice: Witness, home: str, running: World) -> None:
    await alice.push(f"{home}/f", b"1")
    get = await alice.endpoint(f"{home}/f", "pullFromVoSpace", "httpget")
    put = await alice.endpoint(f"{home}/f", "pushToVoSpace", "httpput")
    assert (await alice(None).get(get)).body == b"1"
    assert (await alice(None).request("PUT", put, b"2")).status == 201
    # Credentials in its place open nothing.
    for user in ("alice", "root"):
        login = {"Authorization": running.basic(user)}
        bare = re.sub(r"/files/[^/]+/", "/files/x/", get)
        assert (await alice.get(bare, **login)).status == 404


@row("SEC-06")
async def test_tokens_are_for_one_job_and_method(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"1")
    get = await alice.endpoint(f"{home}/f", "pullFromVoSpace", "httpget")
    put = await alice.endpoint(f"{home}/f", "pushToVoSpace", "httpput")
    assert 400 <= (await alice.request("PUT", get, b"2")).status < 500
    assert 400 <= (await alice.get(put)).status < 500
    token = get.split("/files/")[1].split("/")[0]
    for place in (0, len(token) // 2, len(token) - 2):
        other = "A" if token[place] != "A" else "B"
        forged = token[:place] + other + token[place + 1 :]
        assert (await alice.get(get.replace(token, forged))).status == 404
    assert (await alice.get(get.replace(token, secrets.token_urlsafe(60)))).status == 404
    for key, late in (("another secret, as long as needed", 60), (SECRET, -1)):
        keys = endpoint_keys((key,))
        known = read(token, endpoint_keys((SECRET,)), datetime.now(UTC))
        until = datetime.now(UTC) + timedelta(seconds=late)
        made = Endpoint(known.job_id, "GET", known.node_id, until, known.size, known.view)
        assert (await alice.get(get.replace(token, sign(made, keys[0])))).status == 404
    assert (await alice(None).get(get)).body == b"1"
    url, _ = await begun(alice, transfer(f"{home}/f", "pullFromVoSpace", "httpget"))
    mine = endpoints(await details(alice, url))[0]
    await alice.form(f"{url}/phase", "PHASE=ABORT")
    assert (await alice.get(mine)).status == 404
    assert (await alice.get(get)).status == 200


@row("FLT-05")
async def test_racing_requests_are_answered_in_the_same_words(alice: Witness, home: str) -> None:
    for number in range(3):
        await alice.make(f"{home}/{number}")
        path = f"{home}/{number}"
        answers = await asyncio.gather(
            alice.delete(f"/nodes{path}"),
            alice.set(path, properties(title="T")),
            alice.make(f"{path}/x", "DataNode"),
            alice.sync(relocation(path, f"{home}/m{number}", keep=False)),
            alice.sync(relocation(path, f"{home}/c{number}", keep=True)),
            alice.delete(f"/nodes{path}"),
        )
        assert all(answer.status in (200, 201, 204, 303, 404) for answer in answers)
