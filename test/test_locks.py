"""Locks: what is locked stays as it is, for everybody, until who may write it unlocks it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from stack import Answer, Caller, properties, relocation, transfer

LOCK = "ivo://cadc.nrc.ca/vospace/core#islocked"
LOCKED = f'<vos:properties><vos:property uri="{LOCK}">true</vos:property></vos:properties>'
NIL = f'<vos:properties><vos:property uri="{LOCK}" xsi:nil="true"/></vos:properties>'
FALSE = LOCKED.replace("true", "false")
DATA = b"some bytes"


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, whose folder bob's group may write."""
    await stack.add_user(dsn, "alice", "team")
    await stack.add_user(dsn, "bob", "team")
    async with stack.whole_stack(dsn, tmp_path, 1) as running, ClientSession() as http:
        caller = Caller(http, running.url, "alice")
        await caller.set("/home/alice", properties(groupread="team"))
        shared = properties(groupwrite="team")
        await caller.make("/home/alice/d", "ContainerNode", shared)
        await caller.push("/home/alice/d/f", DATA)
        yield caller


async def lock(caller: Caller, path: str) -> None:
    assert (await caller.set(path, LOCKED)).status == 200


def is_locked(answer: Answer) -> None:
    assert (answer.status, answer.fault) == (423, "NodeLocked"), answer


@pytest.mark.parametrize("user", ["alice", "bob"])
async def test_bytes_and_place_of_a_locked_file_stay(alice: Caller, user: str) -> None:
    await lock(alice, "/home/alice/d/f")
    caller = alice(user)
    is_locked(await caller.delete("/nodes/home/alice/d/f"))
    if user == "alice":
        is_locked(await caller.delete("/nodes/home/alice/d"))
    for document in (
        transfer("/home/alice/d/f", "pushToVoSpace", "httpput"),
        relocation("/home/alice/d/f", "/home/alice/d/g", keep=False),
    ):
        _, job = await caller.run(document)
        assert "Node Locked" in job.text
    assert (await caller.pull("/home/alice/d/f")).body == DATA


async def test_an_upload_meets_a_lock_at_its_end(alice: Caller) -> None:
    endpoint = await alice.endpoint("/home/alice/d/f", "pushToVoSpace", "httpput")
    await lock(alice, "/home/alice/d/f")
    is_locked(await alice.request("PUT", endpoint, b"other"))
    await alice.set("/home/alice/d/f", NIL)
    assert (await alice.request("PUT", endpoint, b"other")).status == 201


async def test_a_locked_container_keeps_its_children(alice: Caller) -> None:
    await lock(alice, "/home/alice/d")
    is_locked(await alice.make("/home/alice/d/e"))
    is_locked(await alice.delete("/nodes/home/alice/d/f"))
    is_locked(await alice.delete("/nodes/home/alice/d"))
    await alice.make("/home/alice/e")
    for source, target in (("/home/alice/e", "/home/alice/d"), ("/home/alice/d", "/home/alice/x")):
        _, job = await alice.run(relocation(source, target, keep=False))
        assert "Node Locked" in job.text


async def test_the_owner_sets_properties_of_what_is_locked_and_others_do_not(
    alice: Caller,
) -> None:
    await lock(alice, "/home/alice/d/f")
    assert (await alice.set("/home/alice/d/f", properties(title="T"))).status == 200
    bob = alice("bob")
    is_locked(await bob.set("/home/alice/d/f", properties(title="B")))
    assert (await bob.set("/home/alice/d/f", LOCKED)).status == 200  # it is already


@pytest.mark.parametrize("document", [NIL, FALSE])
async def test_who_may_write_unlocks(alice: Caller, document: str) -> None:
    bob = alice("bob")
    await lock(bob, "/home/alice/d/f")
    assert f'uri="{LOCK}">true<' in (await alice.get("/nodes/home/alice/d/f")).text
    assert (await bob.set("/home/alice/d/f", document)).status == 200
    assert LOCK not in (await alice.get("/nodes/home/alice/d/f")).text
    assert (await bob.delete("/nodes/home/alice/d/f")).status == 204


async def test_a_reader_locks_nothing(alice: Caller) -> None:
    refused = await alice("bob").set("/home/alice", LOCKED)
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    unclear = await alice.set("/home/alice/d", LOCKED.replace("true", "maybe"))
    assert (unclear.status, unclear.fault) == (400, "InvalidArgument")


async def test_a_copy_is_not_locked(alice: Caller) -> None:
    await lock(alice, "/home/alice/d/f")
    _, job = await alice.run(relocation("/home/alice/d/f", "/home/alice/d/g", keep=True))
    assert "<uws:phase>COMPLETED" in job.text
    assert LOCK not in (await alice.get("/nodes/home/alice/d/g")).text


async def test_a_whole_node_can_be_sent_back_with_a_lock(alice: Caller) -> None:
    whole = (await alice.get("/nodes/home/alice/d/f")).text
    more = whole.replace(
        "</vos:properties>", f'<vos:property uri="{LOCK}">true</vos:property></vos:properties>'
    )
    assert (await alice.request("POST", "/nodes/home/alice/d/f", more)).status == 200
    is_locked(await alice.delete("/nodes/home/alice/d/f"))


async def test_a_recursive_delete_leaves_what_is_locked(alice: Caller) -> None:
    await alice.push("/home/alice/d/g", DATA)
    await alice.make("/home/alice/d/e")
    await lock(alice, "/home/alice/d/f")
    made = await alice.form("/async-delete?PHASE=RUN", "target=vos://icrar.org~ngas/home/alice/d")
    await alice.get(f"{made.location}?WAIT=20&PHASE=QUEUED")
    ended = await alice.get(f"{made.location}?WAIT=20&PHASE=EXECUTING")
    assert "final:2" in ended.text
    left = (await alice.get("/nodes/home/alice/d?detail=min")).text
    assert ("/d/f" in left, "/d/g" in left, "/d/e" in left) == (True, False, False)
    assert (await alice.pull("/home/alice/d/f")).body == DATA


async def test_public_has_two_names(alice: Caller) -> None:
    async def flags() -> tuple[bool, bool]:
        shown = (await alice.get("/nodes/home/alice/d/f")).text
        return f'{stack.CORE}publicread">true<' in shown, f'{stack.CORE}ispublic">true<' in shown

    for document, public in (
        (properties(ispublic="true"), True),
        (properties(publicread="false"), False),
        (properties(publicread="true", ispublic="false"), True),
        (properties(publicread="true", ispublic="false"), False),
        (properties(publicread="false", ispublic="true"), True),
        (properties(publicread="true", ispublic="true"), True),
        (properties(ispublic=None), False),
    ):
        assert (await alice.set("/home/alice/d/f", document)).status == 200
        assert await flags() == (public, public), document
