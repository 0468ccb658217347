"""Deleting trees and setting properties on trees, as jobs, over HTTP."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import stack
from aiohttp import ClientSession
from processes import cluster
from stack import AUTHORITY, CORE, Caller, properties
from validation import valid
from waiting_support import until_true

from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.model import walk
from pyvospace_ngas.model.walk import Frame, Walk

STD: Final = "ivo://ivoa.net/std/VOSpace#"


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, at a server without archive nodes; bob and the administrator root exist too."""
    await stack.add_user(dsn, "root", admin=True)
    for name in ("alice", "bob"):
        await stack.add_user(dsn, name, "stars")
    config = stack.parsed(stack.settings(dsn, tmp_path / "staging", space={"delete_limit": "50"}))
    async with stack.space_server(config) as url, ClientSession() as http:
        yield Caller(http, url, "alice")


async def plant(dsn: str, owner: str, containers: int, files: int, name: str = "t") -> None:
    """Make ``/home/OWNER/NAME`` with so many containers of so many files each."""
    db = await connect(dsn)
    await db.execute(
        """
        with home as (
            select n.id from node n join node h on h.id = n.parent_id
             where n.name = $1 and h.name = 'home' and h.parent_id = 0
        ), top as (
            insert into node (parent_id, name, type, owner)
                 select id, $4, 4, $1 from home returning id
        ), middle as (
            insert into node (parent_id, name, type, owner)
                 select top.id, 'c' || i, 4, $1 from top, generate_series(1, $2::int) i
          returning id
        )
        insert into node (parent_id, name, type, owner)
             select id, 'f' || i, 2, $1 from middle, generate_series(1, $3::int) i
        """,
        owner,
        containers,
        files,
        name,
    )
    await db.close()


async def ended(caller: Caller, job: str) -> stack.Answer:
    """Run a job to its end, as CADC's client does; return the job."""
    assert (await caller.form(f"{job}/phase", "phase=RUN")).status == 303
    while (answer := await caller.get(f"{job}?WAIT=6")).text.find("EXECUTING") > 0:
        pass
    valid(answer.body)
    return answer


async def deleted(caller: Caller, path: str) -> tuple[str, stack.Answer]:
    made = await caller.form("/async-delete", f"target={AUTHORITY}{path}")
    assert made.status == 303, made.text
    return made.location, await ended(caller, made.location)


async def changed(caller: Caller, path: str, inner: str) -> tuple[str, stack.Answer]:
    made = await caller.request("POST", "/async-setprops", stack.node(path, inner=inner))
    assert made.status == 303, made.text
    return made.location, await ended(caller, made.location)


def count(job: stack.Answer, which: str) -> int | None:
    """Return what a job says of its nodes; ``None`` when it says nothing."""
    found = re.search(f'id="{which}count"[^>]*href="final:([0-9]+)"', job.text)
    return int(found[1]) if found else None


def phase(job: stack.Answer) -> str:
    return job.text.partition("<uws:phase>")[2].partition("<")[0]


async def test_the_capabilities_name_both_jobs(alice: Caller) -> None:
    document = (await alice.get("/capabilities")).text
    for name, path in (
        ("recursive-delete-proto", "async-delete"),
        ("recursive-nodeprops-proto", "async-setprops"),
    ):
        after = document.partition(f'standardID="{STD}{name}"')[2].partition("</capability>")[0]
        assert f"{alice.base}/{path}<" in after


async def test_a_tree_is_deleted_and_its_nodes_are_counted(alice: Caller, dsn: str) -> None:
    await plant(dsn, "alice", 10, 7)
    job, done = await deleted(alice, "/home/alice/t")
    assert (phase(done), count(done, "success"), count(done, "error")) == ("COMPLETED", 81, None)
    assert (await alice.get("/nodes/home/alice/t")).status == 404
    assert "/async-delete/" in job
    for sub in ("phase", "parameters", "results", "owner", "quote", "destruction"):
        assert (await alice.get(f"{job}/{sub}")).status == 200
    assert f'id="TARGET">{AUTHORITY}/home/alice/t<' in (await alice.get(f"{job}/parameters")).text
    assert (await alice.get(f"{job}/results/transferDetails")).status == 404
    listed = (await alice.get("/async-delete")).text
    assert job in listed
    other = job.replace("async-delete", "transfers")
    assert (await alice.get(other)).status == 404
    assert job.rpartition("/")[2] not in (await alice.get("/transfers")).text
    assert (await alice("bob").get(job)).status == 403
    assert (await alice.delete(job)).location.endswith("/async-delete")


async def test_a_tree_too_large_for_a_delete_goes_by_a_job(alice: Caller, dsn: str) -> None:
    await plant(dsn, "alice", 60, 3)
    refused = await alice.delete("/nodes/home/alice/t")
    assert (refused.status, "/async-delete" in refused.text) == (403, True)
    _, done = await deleted(alice, "/home/alice/t")
    assert (phase(done), count(done, "success"), count(done, "error")) == ("COMPLETED", 241, None)
    assert (await alice.get("/nodes/home/alice/t")).status == 404


async def test_a_single_file_is_deleted_by_a_job_too(alice: Caller) -> None:
    await alice.make("/home/alice/f", "DataNode")
    _, done = await deleted(alice, "/home/alice/f")
    assert count(done, "success") == 1
    assert (await alice.get("/nodes/home/alice/f")).status == 404


async def test_what_may_not_be_deleted_stays_with_what_is_around_it(alice: Caller) -> None:
    """Bob writes to t by its group; not to k in it, but to d in that."""
    stars = properties(groupread="stars", groupwrite="stars")
    none = properties(groupread="stars", groupwrite="")
    await alice.set("/home/alice", properties(groupread="stars", groupwrite="stars"))
    for path, inner in (
        ("t", stars), ("t/a", stars), ("t/a/b", stars), ("t/k", none), ("t/k/d", stars)
    ):  # fmt: skip
        assert (await alice.make(f"/home/alice/{path}", inner=inner)).status == 201
    for path, inner in (("t/f", stars), ("t/g", none), ("t/k/h", stars), ("t/k/d/i", stars)):
        assert (await alice.make(f"/home/alice/{path}", "DataNode", inner)).status == 201
    job, done = await deleted(alice("bob"), "/home/alice/t")
    # Gone: a, a/b, f and k/d/i. Left: g, k, h, d (its container is not bob's to write), and t.
    assert (phase(done), count(done, "success"), count(done, "error")) == ("COMPLETED", 4, 5)
    said = (await alice("bob").get(f"{job}/results/failures")).text
    assert f"{AUTHORITY}/home/alice/t/g PermissionDenied" in said
    assert f"{AUTHORITY}/home/alice/t/k PermissionDenied" in said
    assert f"{AUTHORITY}/home/alice/t PermissionDenied something in it" in said
    for path, status in (("a", 404), ("f", 404), ("g", 200), ("k/h", 200), ("k/d/i", 404)):
        assert (await alice.get(f"/nodes/home/alice/t/{path}")).status == status, path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/alice/none", "NodeNotFound"),
        ("/home/none/x", "ContainerNotFound"),
        ("/home/bob/x", "PermissionDenied"),
        ("/home", "PermissionDenied"),
        ("", "PermissionDenied"),
    ],
)
async def test_what_cannot_begin_ends_in_error(alice: Caller, path: str, name: str) -> None:
    job, done = await deleted(alice, path)
    assert phase(done) == "ERROR"
    assert (await alice.get(f"{job}/error")).fault == name


async def test_what_is_no_job_is_refused(alice: Caller) -> None:
    for body in ("", "target=", "target=vos://other.org~x/a", f"target={AUTHORITY}/a&PHASE=HELD"):
        assert (await alice.form("/async-delete", body)).status == 400, body
    for body in ("", "<vos:node", "x=y", stack.transfer("/a", "pushToVoSpace")):
        assert (await alice.request("POST", "/async-setprops", body)).status == 400, body
    assert (await alice.get("/async-delete/none")).status == 404


async def test_properties_are_set_and_taken_away_on_a_whole_tree(alice: Caller, dsn: str) -> None:
    await plant(dsn, "alice", 30, 50)
    job, done = await changed(
        alice,
        "/home/alice/t",
        properties(title="T", groupread="stars", publicread="true", length="7"),
    )
    assert (phase(done), count(done, "success"), count(done, "error")) == (
        "COMPLETED", 1531, None,
    )  # fmt: skip
    assert "/async-setprops/" in job
    for path in ("t", "t/c30", "t/c7/f50"):
        shown = (await alice.get(f"/nodes/home/alice/{path}?limit=0")).text
        assert f'{CORE}title">T<' in shown
        assert f'{CORE}groupread">stars<' in shown
        assert f'{CORE}publicread">true<' in shown
    gone = properties(title=None, groupread=None, publicread="false")
    _, done = await changed(alice, "/home/alice/t", gone)
    assert count(done, "success") == 1531
    shown = (await alice.get("/nodes/home/alice/t/c7/f50")).text
    assert f"{CORE}title" not in shown
    assert f"{CORE}groupread" not in shown


async def test_each_node_is_changed_only_by_who_may(alice: Caller) -> None:
    """Bob may write to t and its file f; g he may not write, and sharing is its owner's."""
    stars = properties(groupread="stars", groupwrite="stars")
    await alice.set("/home/alice", properties(groupread="stars"))
    await alice.make("/home/alice/t", inner=stars)
    await alice.make("/home/alice/t/f", "DataNode", stars)
    await alice.make("/home/alice/t/g", "DataNode", properties(groupwrite="", groupread=""))
    await alice.make("/home/alice/t/p", inner=properties(groupwrite="x", groupread="x"))
    await alice.make("/home/alice/t/p/f", "DataNode", stars)
    job, done = await changed(alice("bob"), "/home/alice/t", properties(title="B"))
    assert (count(done, "success"), count(done, "error")) == (2, 2)
    said = (await alice("bob").get(f"{job}/results/failures")).text
    assert f"{AUTHORITY}/home/alice/t/g PermissionDenied" in said
    assert f"{AUTHORITY}/home/alice/t/p PermissionDenied" in said
    for path, has in (("t", True), ("t/f", True), ("t/g", False), ("t/p/f", False)):
        shown = (await alice.get(f"/nodes/home/alice/{path}?limit=0")).text
        assert (f'{CORE}title">B<' in shown) is has, path
    _, done = await changed(alice("bob"), "/home/alice/t", properties(groupread="other"))
    assert (count(done, "success"), count(done, "error")) == (0, 4)
    _, done = await changed(alice("bob"), "/home/alice/t", properties(publicread="maybe"))
    assert count(done, "success") == 0


async def test_an_abort_stops_a_job_within_its_page(alice: Caller, dsn: str) -> None:
    await plant(dsn, "alice", 200, 200)
    document = stack.node("/home/alice/t", inner=properties(title="T"))
    made = await alice.request("POST", "/async-setprops?PHASE=RUN", document)
    db = await connect(dsn)

    async def begun() -> bool:
        walked = await db.fetchval("select max((detail -> 'walk' ->> 'done')::int) from job")
        return bool(walked)

    await until_true(begun)
    assert (await alice.form(f"{made.location}/phase", "PHASE=ABORT")).status == 303
    assert (await alice.get(f"{made.location}/phase")).text == "ABORTED"
    set_ = "select count(*) from node where props <> '{}'"
    reached = await db.fetchval(set_)
    assert reached < 40_201
    assert await db.fetchval(set_) == reached
    await db.close()


async def test_a_job_goes_on_at_another_server_when_its_own_is_killed(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path, nodes=1, servers=2) as site:
        await plant(dsn, "alice", 150, 200)
        one, other = site.caller("alice", 0), site.caller("alice", 1)
        document = stack.node("/home/alice/t", inner=properties(title="T"))
        made = await one.request("POST", "/async-setprops?PHASE=RUN", document)

        async def half_done() -> bool:
            done = await site.value("select (detail -> 'walk' ->> 'done')::int from job")
            return bool(done)

        await until_true(half_done)
        executor = await site.value("select executor from job")
        pid = int(executor.split(":")[1])
        victim = next(space for space in site.spaces if space.pid == pid)
        await victim.kill()
        at = await site.value("select (detail -> 'walk' ->> 'done')::int from job")
        await site.query("update job set lease = now() - interval '1 s'")
        asked = other if victim is site.spaces[0] else one
        job = asked.base + made.location.partition("/vospace")[2]
        done = await ended_there(asked, job)
        assert (phase(done), count(done, "success")) == ("COMPLETED", 30_151)
        assert 0 < at < 30_151
        # Every node once: nobody did a page again.
        assert await site.query(
            "select version, count(*) from node where props <> '{}' group by version"
        ) == [(2, 30_151)]


async def ended_there(caller: Caller, job: str) -> stack.Answer:
    while phase(answer := await caller.get(f"{job}?WAIT=6")) in ("QUEUED", "EXECUTING"):
        pass
    return answer


def test_a_walk_is_stored_and_read_again() -> None:
    whole = Walk(7, (Frame(7, "a", False), Frame(9)), 3).refused("/a/b", "PermissionDenied x", 2)
    assert walk.read(walk.words(whole)) == whole
    assert walk.read(None) == Walk()
    many = whole
    for _ in range(3 * walk.MOST_FAILURES):
        many = many.refused("/a", "no")
    assert (many.failed, len(many.failures)) == (602, walk.MOST_FAILURES)
