"""The client against the servers of this project, through to archive nodes and back."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import stack
from stack import PASSWORD

from pyvospace_ngas import errors
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.model.node import Detail, NodeType
from pyvospace_ngas.model.standard import CORE, CREATOR
from pyvospace_ngas.model.uri import NodePath

HOME = NodePath(("home", "alice"))
BIG = random.Random(8).randbytes(7_000_001)
NAMES = (
    "plain.fits",
    "a b%20c#?&+é",
    "'\"<>;=@!~$,()*",
    "%41",
    "…",
    "中\U0001f600",
    "a\\b|c^d`{}",
)


@pytest.fixture
async def url(dsn: str, tmp_path: Path) -> AsyncIterator[str]:
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path / "stack", nodes=1) as running:
        yield running.url


@pytest.fixture
async def alice(url: str) -> AsyncIterator[VOSpace]:
    async with VOSpace(url, "alice", PASSWORD) as client:
        yield client


async def everything(client: VOSpace, path: NodePath) -> bytes:
    async with aclosing(client.pull(path)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_bytes_of_every_kind_of_source_come_back(alice: VOSpace, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 999_999):
            yield BIG[start : start + 999_999]

    (tmp_path / "big").write_bytes(BIG)
    sources: list[bytes | Path | AsyncIterator[bytes]] = [BIG, tmp_path / "big", pieces()]
    for number, source in enumerate(sources):
        stored = await alice.push(HOME / str(number), source)
        assert (stored.length, stored.md5) == (len(BIG), hashlib.md5(BIG).hexdigest())
    await alice.push(HOME / "3", pieces(), length=len(BIG))
    for number in range(4):
        assert await everything(alice, HOME / str(number)) == BIG
    assert await alice.pull_to_file(HOME / "0", tmp_path / "back") == len(BIG)
    assert (tmp_path / "back").read_bytes() == BIG


async def test_names_and_sums_are_those_that_were_given(alice: VOSpace) -> None:
    for name in NAMES:
        await alice.push(HOME / name, name.encode())
        assert await everything(alice, HOME / name) == name.encode()
    listed = [child async for child in alice.list(HOME, page=3)]
    assert {child.path.name for child in listed} == set(NAMES)
    for child in listed:
        data = child.path.name.encode()
        assert (child.length, child.md5) == (len(data), hashlib.md5(data).hexdigest())
        assert child.modified is not None


async def test_an_empty_file_is_a_file(alice: VOSpace) -> None:
    await alice.push(HOME / "empty", b"")
    assert await everything(alice, HOME / "empty") == b""
    assert await alice.read_range(HOME / "empty", 0, 10) == b""
    assert (await alice.get(HOME / "empty")).length == 0


async def test_ranges_are_read_over_one_endpoint(alice: VOSpace) -> None:
    await alice.push(HOME / "f", BIG)
    reader = await alice.reader(HOME / "f")
    for start, length in ((0, 10), (5_000_000, 70_000), (len(BIG) - 3, 10), (len(BIG), 10)):
        assert await reader.read(start, length) == BIG[start : start + length]


async def test_nodes_are_made_changed_moved_copied_and_deleted(alice: VOSpace) -> None:
    made = await alice.create(HOME / "d", properties={CORE + "title": " A <title> & more "})
    assert made.type is NodeType.CONTAINER
    assert made.properties[CORE + "title"] == " A <title> & more "
    assert CREATOR in made.read_only
    await alice.push(HOME / "d" / "f", b"x")
    changed = await alice.set_properties(HOME / "d", {CORE + "title": None, "urn:a": ""})
    assert CORE + "title" not in changed.properties
    assert changed.properties["urn:a"] == ""
    assert (await alice.move(HOME / "d", HOME / "e")).phase is Phase.COMPLETED
    assert (await alice.copy(HOME / "e", HOME / "g")).phase is Phase.COMPLETED
    assert await everything(alice, HOME / "g" / "f") == b"x"
    await alice.delete(HOME / "e")
    assert [child.path async for child in alice.list(HOME)] == [HOME / "g"]
    link = await alice.create(HOME / "l", NodeType.LINK, target="http://x.org/?a&b")
    assert link.target == "http://x.org/?a&b"


async def test_a_long_listing_comes_in_pages(alice: VOSpace) -> None:
    names = [f"{number:02}" for number in range(30)]
    for name in names:
        await alice.create(HOME / name)
    for page in (7, 29, 30, 31):
        children = alice.list(HOME, Detail.MIN, page)
        assert [child.path.name async for child in children] == names


async def test_refusals_are_the_classes_that_the_servers_raise(alice: VOSpace, url: str) -> None:
    await alice.create(HOME / "d")
    for refusal, attempt in (
        (errors.NodeNotFound, alice.get(HOME / "none")),
        (errors.DuplicateNode, alice.create(HOME / "d")),
        (errors.ContainerNotFound, alice.create(HOME / "none" / "d")),
        (errors.ContainerNotFound, alice.push(HOME / "none" / "f", b"x")),
        (errors.PermissionDenied, alice.set_properties(HOME / "d", {CREATOR: "bob"})),
        (errors.NodeNotFound, alice.move(HOME / "none", HOME / "x")),
        (errors.InvalidURI, alice.move(HOME / "d", HOME / "d" / "e")),
        (errors.NodeNotFound, everything(alice, HOME / "none")),
        (errors.InvalidArgument, alice.create(HOME / "l", NodeType.LINK)),
    ):
        with pytest.raises(refusal) as raised:
            await attempt
        assert type(raised.value) is refusal
    async with VOSpace(url, "bob", PASSWORD) as bob:
        with pytest.raises(errors.PermissionDenied):
            await bob.get(HOME)
    async with VOSpace(url, "bob", "wrong") as stranger:
        with pytest.raises(errors.NotAuthenticated):
            await stranger.get(HOME)


async def test_a_session_serves_instead_of_the_password(url: str) -> None:
    async with VOSpace(url) as client:
        await client.login("alice", PASSWORD)
        await client.push(HOME / "f", b"x")
        await client.create(HOME / "d")
        await client.move(HOME / "f", HOME / "d")
        assert await everything(client, HOME / "d" / "f") == b"x"
        await client.logout()
        with pytest.raises(errors.PermissionDenied):
            await client.get(HOME)


async def test_jobs_are_listed_and_shown(alice: VOSpace) -> None:
    await alice.create(HOME / "d")
    done = await alice.move(HOME / "d", HOME / "e")
    assert done.id in {job.id for job in await alice.jobs(Phase.COMPLETED)}
    assert not await alice.jobs(Phase.ERROR)
    shown = await alice.job(done.id, wait=5)
    assert (shown.phase, shown.owner) == (Phase.COMPLETED, "alice")
    assert shown.transfer is not None
    assert shown.transfer.keep_bytes is False


async def test_a_reader_outlives_the_job_that_its_endpoint_came_from(alice: VOSpace) -> None:
    await alice.push(HOME / "f", b"0123456789")
    reader = await alice.reader(HOME / "f")
    assert await reader.read(2, 3) == b"234"
    (job,) = await alice.jobs(Phase.EXECUTING)
    assert (await alice.abort(job.id)).phase is Phase.ABORTED
    assert await reader.read(5, 3) == b"567"


async def test_many_files_go_at_once(alice: VOSpace) -> None:
    bodies = {HOME / str(number): random.Random(number).randbytes(50_000) for number in range(12)}
    async with asyncio.TaskGroup() as group:
        for path, data in bodies.items():
            group.create_task(alice.push(path, data))
    for path, data in bodies.items():
        assert await everything(alice, path) == data
