"""Searches over HTTP, in the form of VOSpace 2.0: what is found, and by whom."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import stack
from aiohttp import ClientSession
from stack import AUTHORITY, CORE, Answer, Caller, properties
from validation import valid

from pyvospace_ngas.db.connect import connect

VOS: Final = 'xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0"'
NAME: Final = "ivo://icrar.org#name"


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, at a server without archive nodes; bob and the administrator root exist too."""
    await stack.add_user(dsn, "root", admin=True)
    for name in ("alice", "bob"):
        await stack.add_user(dsn, name, "stars")
    config = stack.parsed(stack.settings(dsn, tmp_path / "staging"))
    async with stack.space_server(config) as url, ClientSession() as http:
        yield Caller(http, url, "alice")


def search(matches: str = "", *targets: str, more: str = "") -> str:
    """Return a search document."""
    nodes = "".join(f'<vos:node uri="{AUTHORITY}{target}"/>' for target in targets)
    matches = matches.replace("&", "&amp;").replace("<", "&lt;")
    return f"<vos:search {VOS}>{more}<vos:matches>{matches}</vos:matches>{nodes}</vos:search>"


async def ended(caller: Caller, document: str) -> tuple[str, Answer]:
    """Run a search to its end; return the job's URL and the job."""
    made = await caller.request("POST", "/searches?PHASE=RUN", document)
    assert made.status == 303, made.text
    for phase in ("QUEUED", "EXECUTING"):
        await caller.get(f"{made.location}?WAIT=20&PHASE={phase}")
    job = await caller.get(made.location)
    valid(job.body)
    return made.location, job


def uris(answer: Answer) -> list[str]:
    """Return the paths of the nodes in a list of what was found, in its order."""
    assert answer.status == 200, answer
    valid(answer.body)
    found = re.findall(r'<vos:node [^>]*uri="([^"]*)"', answer.text)
    return [uri.removeprefix(AUTHORITY) for uri in found]


async def found(caller: Caller, document: str) -> list[str]:
    """Search, and return the paths of what is found."""
    url, job = await ended(caller, document)
    assert "<uws:phase>COMPLETED" in job.text, job.text
    assert f'xlink:href="{url}/results/searchDetails"' in job.text
    return uris(await caller.get(f"{url}/results/searchDetails"))


async def grow(alice: Caller) -> None:
    """Make a small tree below alice's home, with titles."""
    for path in ("d", "d/e", "f"):
        await alice.make(f"/home/alice/{path}", inner=properties(title=f"folder {path}"))
    for path, title in (("a.fits", "a star"), ("d/b.fits", "a galaxy"), ("d/e/c.txt", "a star's")):
        inner = properties(title=title).replace(
            "</vos:properties>", '<vos:property uri="urn:p">7</vos:property></vos:properties>'
        )
        await alice.make(f"/home/alice/{path}", "DataNode", inner)
    target = f"<vos:target>{AUTHORITY}/home/alice/d</vos:target>"
    await alice.make("/home/alice/f/link", "LinkNode", target)


@pytest.mark.row("CMP-04")
async def test_nodes_are_found_by_name_and_properties(alice: Caller) -> None:
    await grow(alice)
    home = "/home/alice"
    title = f"{CORE}title"
    for matches, wanted in (
        (f"{title}='^a star'", ["a.fits", "d/e/c.txt"]),
        (f"{title}='star''s$'", ["d/e/c.txt"]),
        (f"{title}='STAR'", []),
        (rf"{NAME}='\.fits$'", ["a.fits", "d/b.fits"]),
        (rf"{NAME}='\.fits$' and {title}='galaxy'", ["d/b.fits"]),
        (rf"({NAME}='\.txt$' or {title}='galaxy') and urn:p='7'", ["d/b.fits", "d/e/c.txt"]),
        (f"{title}='folder'", ["d", "d/e", "f"]),
        ("ivo://icrar.org/ngas#name='^link$'", ["f/link"]),
        (f"{CORE}creator='^alice$' and {NAME}='^[ad]$'", ["d"]),
        (f"{CORE}length='[1-9]'", []),
        (f"{CORE}btime='^[0-9-]+T[0-9:.]+Z$' and {NAME}='^f$'", ["f"]),
        ("urn:none=''", []),
        ("", ["a.fits", "d", "d/b.fits", "d/e", "d/e/c.txt", "f", "f/link"]),
    ):
        paths = await found(alice, search(matches, home))
        assert sorted(paths) == [f"{home}/{path}" for path in wanted], matches
    both = search(f"{title}=''", f"{home}/d/e", f"{home}/f")
    assert await found(alice, both) == [f"{home}/d/e/c.txt"]


async def test_the_service_says_that_it_can_be_searched(alice: Caller) -> None:
    document = (await alice.get("/capabilities")).text
    part = document.partition('standardID="ivo://ivoa.net/std/VOSpace/v2.0#searches"')[2]
    assert f"{alice.base}/searches<" in part.partition("</capability>")[0]
    job, _ = await ended(alice, search(f"{NAME}='^alice$'"))
    assert f"{NAME}='^alice$'" in (await alice.get(f"{job}/parameters")).text
    listed = await alice.get("/searches")
    valid(listed.body)
    assert job in listed.text
    assert job.rpartition("/")[2] not in (await alice.get("/transfers")).text
    assert (await alice("bob").get(f"{job}/results/searchDetails")).status == 403
    assert (await alice.delete(job)).location.endswith("/searches")
    made = await alice.request("POST", "/searches", search())
    assert (await alice.get(f"{made.location}/phase")).text == "PENDING"
    assert (await alice.get(f"{made.location}/results/searchDetails")).status == 404


async def test_detail_and_limit_are_as_in_a_listing(alice: Caller, dsn: str) -> None:
    await grow(alice)
    for detail, told, lists in (
        ("min", False, False),
        ("properties", True, False),
        ("max", True, True),
    ):
        more = f"<vos:detail>{detail}</vos:detail>"
        job, _ = await ended(alice, search(f"{NAME}='fits'", "/home/alice", more=more))
        text = (await alice.get(f"{job}/results/searchDetails")).text
        assert ("a star<" in text, "<vos:accepts>" in text) == (told, lists)
    db = await connect(dsn)
    await db.execute(
        """
        insert into node (parent_id, name, type, owner)
             select id, 'm' || i, 2, 'alice' from node, generate_series(1, 2500) i where name = 'e'
        """
    )
    await db.close()
    seen = await found(alice, search(f"{NAME}='^m'", more="<vos:limit>5000</vos:limit>"))
    assert len(seen) == 1000
    while True:
        more = f"<vos:limit>700</vos:limit><vos:uri>{AUTHORITY}{seen[-1]}</vos:uri>"
        page = await found(alice, search(f"{NAME}='^m'", more=more))
        assert page[0] == seen[-1]
        seen += page[1:]
        if len(page) < 700:
            break
    assert sorted(seen) == sorted(f"/home/alice/d/e/m{i}" for i in range(1, 2501))
    assert await found(alice, search(more="<vos:limit>0</vos:limit>")) == []


async def test_nobody_finds_what_they_may_not_read(alice: Caller) -> None:
    bob = alice("bob")
    await alice.set("/home/alice", properties(groupread="stars"))
    await alice.make("/home/alice/shut", inner=properties(groupread=""))
    for path in ("open", "shut/public", "shut/shared"):
        inner = properties(title="T", publicread="true", groupread="stars")
        assert (await alice.make(f"/home/alice/{path}", "DataNode", inner)).status == 201
    await alice.make("/home/alice/secret", "DataNode", properties(title="T", groupread=""))
    title = f"{CORE}title='T'"
    assert await found(bob, search(title)) == ["/home/alice/open"]
    assert len(await found(alice, search(title))) == 4
    assert len(await found(alice("root"), search(title))) == 4
    refused, _ = await ended(bob, search(title, "/home/alice/shut"))
    assert (await bob.get(f"{refused}/error")).fault == "PermissionDenied"
    # What is not readable, or there, any more is not shown any more.
    job, _ = await ended(bob, search(title))
    await alice.set("/home/alice", properties(groupread=""))
    assert uris(await bob.get(f"{job}/results/searchDetails")) == []
    job, _ = await ended(alice, search(title))
    await alice.delete("/nodes/home/alice/shut")
    left = uris(await alice.get(f"{job}/results/searchDetails"))
    assert sorted(left) == ["/home/alice/open", "/home/alice/secret"]


async def test_a_token_finds_what_it_is_good_for(alice: Caller) -> None:
    await grow(alice)
    form = "scope=read&path=/home/alice/d"
    token = json.loads((await alice.form("/tokens", form)).text)["token"]
    program = {"Authorization": f"Bearer {token}"}
    nobody = alice(None)
    jobs = []
    for document in (search(f"{CORE}title='star|galaxy'"), search("", "/home/alice")):
        made = await nobody.request("POST", "/searches?PHASE=RUN", document, program)
        for phase in ("QUEUED", "EXECUTING"):
            await nobody.get(f"{made.location}?WAIT=20&PHASE={phase}", **program)
        jobs.append(made.location)
    inside = await nobody.get(f"{jobs[0]}/results/searchDetails", **program)
    assert sorted(uris(inside)) == ["/home/alice/d/b.fits", "/home/alice/d/e/c.txt"]
    outside = await nobody.get(f"{jobs[1]}/error", **program)
    assert (outside.status, outside.fault) == (200, "PermissionDenied")


async def test_what_is_no_search_is_refused(alice: Caller) -> None:
    for body in (
        "", "<vos:search", "<search/>", search("a"), search("a='x' and"),
        search(more="<vos:limit>x</vos:limit>"), search(more="<vos:detail>all</vos:detail>"),
        search(more="<vos:limit>1</vos:limit>" * 2),
        search().replace("</vos:search", "<vos:node/></vos:search"),
    ):  # fmt: skip
        refused = await alice.request("POST", "/searches", body)
        assert (refused.status, refused.fault) == (400, "InvalidArgument"), body
    assert (await alice(None).request("POST", "/searches", search())).status == 403
    assert (await alice.request("POST", "/searches?PHASE=HELD", search())).status == 400
    for document, fault in (
        (search("urn:p='('", "/home/alice"), "InvalidArgument"),
        (search("", "/home/alice/none"), "NodeNotFound"),
        (search("", "/home/bob"), "PermissionDenied"),
        (search("").replace("</vos:s", '<vos:node uri="vos://x.org~y/"/></vos:s'), "InvalidURI"),
        (search("urn:p='1'", more=f"<vos:uri>{AUTHORITY}/home</vos:uri>"), "InvalidURI"),
    ):
        job, shown = await ended(alice, document)
        assert "<uws:phase>ERROR" in shown.text
        assert (await alice.get(f"{job}/error")).fault == fault, document
