"""Rows NOD: the types of nodes and what each holds."""

import asyncio
import random
import re

import pytest
from stack import AUTHORITY, CORE, node, properties, transfer

from conformance.world import Witness, kind_of, names, of_uri, refusal

row = pytest.mark.row


def link(target: str) -> str:
    """Return what a LinkNode has inside."""
    return f"<vos:target>{target}</vos:target>"


@row("NOD-01")
async def test_the_type_stands_on_a_node_and_its_children(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    await alice.make(f"{home}/b")
    await alice.make(f"{home}/c", "LinkNode", link("urn:x"))
    for detail in ("min", "properties", "max"):
        listed = await alice.get(f"/nodes{home}?detail={detail}")
        opened = re.findall("<vos:node [^>]*>", listed.text)
        assert len(opened) == 4
        assert all('xsi:type="vos:' in start and 'uri="' in start for start in opened)


@row("NOD-02")
async def test_no_type_means_a_node_or_something_more_special(alice: Witness, home: str) -> None:
    document = node(f"{home}/x").replace(' xsi:type="vos:ContainerNode"', "")
    made = await alice.request("PUT", f"/nodes{home}/x", document)
    assert (made.status, kind_of(made)) == (201, "DataNode")


@row("NOD-04", "NOD-05", "NOD-16", "NOD-17", "CRE-01")
async def test_a_data_node_has_all_its_lists(alice: Witness, home: str) -> None:
    made = await alice.make(f"{home}/f", "UnstructuredDataNode")
    assert made.status == 201
    for answer in (made, await alice.get(f"/nodes{home}/f")):
        order = [
            answer.text.find(f"<vos:{name}") for name in ("properties", "accepts", "provides")
        ]
        assert -1 not in order
        assert order == sorted(order)
        accepts = answer.text.partition("<vos:accepts>")[2].partition("</vos:accepts>")[0]
        assert f'<vos:view uri="{CORE}anyview"/>' in accepts
        # No capability is offered, so that none is there that does not work or has a wrong name.
        assert "<vos:capabilities/>" in answer.text


@row("NOD-06", "GET-06")
async def test_a_container_lists_its_direct_children_only(alice: Witness, home: str) -> None:
    for path in ("/s", "/s/t"):
        await alice.make(home + path)
    for detail in ("min", "properties", "max"):
        listed = await alice.get(f"/nodes{home}?detail={detail}")
        assert names(listed) == ["s"]
        assert f'uri="{AUTHORITY}{home}/s"' in listed.text


@row("NOD-07", "NOD-08", "NOD-14")
@pytest.mark.parametrize(
    "target",
    ["http://x.org/a?b=1&amp;c=%20", f"{AUTHORITY}/home", "vos://other.org~x/y", "urn:a:b"],
)
async def test_a_link_keeps_any_target_as_it_was_given(
    alice: Witness, home: str, target: str
) -> None:
    made = await alice.make(f"{home}/l", "LinkNode", link(target))
    read = await alice.get(f"/nodes{home}/l")
    for answer in (made, read, await alice.get(f"/nodes{home}")):
        assert link(target) in answer.text
    assert (made.status, kind_of(read)) == (201, "LinkNode")


@row("NOD-09")
async def test_properties_of_a_link_stay_its_own(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    await alice.make(f"{home}/l", "LinkNode", link(f"{AUTHORITY}{home}/a"))
    await alice.set(f"{home}/l", properties(title="T"))
    assert of_uri(await alice.get(f"/nodes{home}/l"), "title") == "T"
    assert of_uri(await alice.get(f"/nodes{home}/a"), "title") is None


@row("NOD-10")
async def test_containers_and_links_have_no_bytes(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/l", "LinkNode", link("http://127.0.0.1:9/"))
    for path, fault in ((home, "ViewNotSupported"), (f"{home}/l", "InvalidURI")):
        seen = await alice.get(f"/nodes{path}?view=data")
        assert (seen.status, seen.fault) == (400, fault)
        _, name, _ = await refusal(alice, transfer(path, "pullFromVoSpace", "httpget"))
        assert name == fault


@row("NOD-11")
async def test_bytes_come_back_identical(alice: Witness, home: str) -> None:
    data = random.Random(11).randbytes(1 << 20)
    assert (await alice.make(f"{home}/f", "UnstructuredDataNode")).status == 201
    assert (await alice.push(f"{home}/f", data)).status == 201
    assert kind_of(await alice.get(f"/nodes{home}/f")) == "UnstructuredDataNode"
    assert (await alice.pull(f"{home}/f")).body == data


@row("NOD-15")
async def test_links_in_a_circle_hang_nothing(alice: Witness, home: str) -> None:
    for name, target in (("a", "b"), ("b", "a"), ("c", "c")):
        await alice.make(f"{home}/{name}", "LinkNode", link(f"{AUTHORITY}{home}/{target}"))
    async with asyncio.timeout(20):
        for name in "ac":
            for direction, protocol in (("pullFrom", "httpget"), ("pushTo", "httpput")):
                document = transfer(f"{home}/{name}", f"{direction}VoSpace", protocol)
                message, fault, _ = await refusal(alice, document)
                assert (message, fault) == ("Invalid URI", "InvalidURI")
    assert names(await alice.get(f"/nodes{home}")) == ["a", "b", "c"]
