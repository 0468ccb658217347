"""CLONE and CHECKFILE: further copies, from this node's disks and from another node's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    READY_SECONDS,
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
    until,
)
from lxml import etree

from pyvospace_ngas.archive import cloning
from pyvospace_ngas.archive.index import locate
from pyvospace_ngas.archive.jobs import CUT_SHORT
from pyvospace_ngas.archive.receiving import Receiver, Source
from pyvospace_ngas.ngas.status import Answer

LARGE = bytes(range(256)) * 8000


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def in_memory(document: etree._Element) -> None:
    set_attributes("Server", RequestDbBackend="memory")(document)


Pair = tuple[RunningNode, RunningNode]


@asynccontextmanager
async def pair(root: Path, database: str) -> AsyncIterator[Pair]:
    """Two nodes, the first with two volumes."""
    async with (
        running_node(root / "one", database, volumes=2, edit=in_memory) as first,
        running_node(root / "two", database) as second,
    ):
        yield first, second


@pytest.fixture
async def cluster(tmp_path: Path, database: str) -> AsyncIterator[Pair]:
    """Two nodes on either database."""
    async with pair(tmp_path, database) as nodes:
        yield nodes


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two nodes, where the database makes no difference."""
    async with pair(tmp_path, str(tmp_path / "shared.sqlite")) as nodes:
        yield nodes


def path_of(answer: Answer) -> Path:
    disk = answer.disks[0]
    return Path(disk.mount_point) / disk.files[0].file_name


async def clone(
    session: ClientSession, node: RunningNode, **parameters: str
) -> tuple[int, Answer, tuple[str, str]]:
    status, answer = await command(session, f"{node.url}/CLONE", **parameters)
    return status, answer, (answer.status.expected_count, answer.status.actual_count)


async def disks_of(node: RunningNode, file_id: str, version: int) -> list[str]:
    found = await locate(node.node.database, file_id, version)
    assert len({(copy.file.checksum, copy.file.size) for copy in found}) == 1
    for copy in found:
        assert copy.path.stat().st_size == copy.file.size
    return [copy.disk.disk_id for copy in found]


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_a_file_is_cloned_to_the_other_volume(
    nodes: Pair, session: ClientSession, data: bytes
) -> None:
    node, _ = nodes
    await archive(session, node.url, "a.bin", b"old")
    _, stored = await archive(session, node.url, "a.bin", data, crc_variant="crc32")
    status, answer, counts = await clone(session, node, file_id="a.bin")
    assert (status, answer.status.status, counts) == (200, "SUCCESS", ("1", "1"))
    assert answer.status.completion_percent == "100.00"
    assert answer.status.completion_time
    copies = await locate(node.node.database, "a.bin", 2)
    assert {copy.disk.disk_id for copy in copies} == {v.disk_id for v in node.node.volumes}
    assert {copy.path.read_bytes() for copy in copies} == {data}
    assert {copy.file.checksum for copy in copies} == {stored.disks[0].files[0].checksum}
    assert len(await disks_of(node, "a.bin", 1)) == 1
    _, asked = await command(session, f"{node.url}/STATUS", request_id=answer.status.request_id)
    assert (asked.status.actual_count, asked.status.completion_percent) == ("1", "100.00")
    status, answer, counts = await clone(session, node, file_id="a.bin")
    assert (status, answer.status.code) == (400, 4053)  # both volumes have it
    assert len(await disks_of(node, "a.bin", 2)) == 2


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_a_file_of_another_node_is_cloned_here(
    nodes: Pair, session: ClientSession, data: bytes
) -> None:
    here, there = nodes
    _, stored = await archive(session, there.url, "a.bin", data)
    disk_id = stored.disks[0].disk_id
    target = here.node.volumes[1].disk_id
    status, _, counts = await clone(
        session,
        here,
        file_id="a.bin",
        file_version="1",
        disk_id=disk_id,
        target_disk_id=target,
        check="0",
    )
    assert (status, counts) == (200, ("1", "1"))
    assert sorted(await disks_of(here, "a.bin", 1)) == sorted([disk_id, target])
    path_of(stored).chmod(0o644)
    path_of(stored).unlink()
    assert await retrieve(session, here.url, "a.bin") == data
    staging = here.node.volumes[1].staging  # its names go after the answer
    await until(lambda: not any(path.is_file() for path in staging.iterdir()))


async def test_a_whole_disk_is_cloned_as_a_job(cluster: Pair, session: ClientSession) -> None:
    here, there = cluster
    names = [f"{number}.bin" for number in range(12)]
    await asyncio.gather(*(archive(session, there.url, n, n.encode()) for n in names))
    source, target = there.node.volumes[0].disk_id, here.node.volumes[0].disk_id
    _, accepted, counts = await clone(
        session, here, disk_id=source, target_disk_id=target, **{"async": "1"}
    )
    assert accepted.status.message.startswith("Accepted")
    assert (counts, accepted.status.completion_time) == (("12", "0"), "")
    which = accepted.status.request_id

    def done() -> bool:
        return not here.node.jobs._tasks

    await until(done)
    _, answer = await command(session, f"{here.url}/STATUS", request_id=which)
    assert answer.status.succeeded
    assert (answer.status.expected_count, answer.status.actual_count) == ("12", "12")
    assert answer.status.completion_percent == "100.00"
    for name in names:
        assert sorted(await disks_of(here, name, 1)) == sorted([source, target])
    # Again: what could not be done is not called done.
    status, answer, counts = await clone(session, here, disk_id=source, target_disk_id=target)
    assert (status, answer.status.code, counts) == (400, 4052, ("12", "0"))
    assert "4053" in answer.status.message


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, 4035),
        ({"file_version": "1"}, 4035),
        ({"file_id": "nope"}, 4036),
        ({"file_id": "a.bin", "file_version": "9"}, 4036),
        ({"file_id": "a.bin", "disk_id": "x"}, 4036),
        ({"disk_id": "x"}, 4036),
        ({"file_id": "a.bin", "target_disk_id": "x"}, 4048),
    ],
)
async def test_what_cannot_be_cloned_is_refused(
    tmp_path: Path, session: ClientSession, parameters: dict[str, str], code: int
) -> None:
    async with running_node(tmp_path) as node:
        await archive(session, node.url, "a.bin", b"x")
        status, answer, _ = await clone(session, node, **parameters)
        assert (status, answer.status.code) == (400, code)
        status, answer, _ = await clone(session, node, file_id="a.bin")
        assert (status, answer.status.code) == (400, 4053)
        await command(session, f"{node.url}/OFFLINE")
        status, answer, _ = await clone(session, node, file_id="a.bin")
        assert (status, answer.status.code) == (400, 4015)


async def test_a_node_that_may_not_archive_does_not_clone(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes("Permissions", AllowArchiveReq="0")
    async with running_node(tmp_path, edit=edit) as node:
        status, answer, _ = await clone(session, node, file_id="a.bin")
    assert (status, answer.status.code) == (400, 4017)


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"X" + path.read_bytes()[1:])


@pytest.mark.parametrize("harm", [spoil, Path.unlink])
async def test_a_damaged_copy_is_not_cloned_but_a_sound_one_is(
    nodes: Pair, session: ClientSession, harm: Callable[[Path], None]
) -> None:
    here, there = nodes
    target = here.node.volumes[0].disk_id
    _, stored = await archive(session, there.url, "a.bin", LARGE)
    harm(path_of(stored))
    status, answer, counts = await clone(session, here, file_id="a.bin", target_disk_id=target)
    assert (status, answer.status.code, counts) == (500, 4052, ("1", "0"))
    assert await disks_of_rows(here) == [stored.disks[0].disk_id]
    assert not any(path.is_file() for path in (here.node.volumes[0].path / "staging").iterdir())
    _, stored = await archive(session, here.url, "b.bin", LARGE)
    await clone(session, there, file_id="b.bin")
    harm(path_of(stored))
    status, _, counts = await clone(session, here, file_id="b.bin")
    assert (status, counts) == (200, ("1", "1"))  # the other node's copy was sound


async def disks_of_rows(node: RunningNode) -> list[str]:
    return [row[0] for row in await node.node.database.fetch("select disk_id from ngas_files")]


async def test_a_version_that_is_replaced_meanwhile_gets_no_second_content(
    cluster: Pair, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = cluster
    _, stored = await archive(session, there.url, "a.bin", b"old content")
    fetch = cloning._fetch

    async def slow(*arguments: object) -> object:
        upload = await fetch(*arguments)  # type: ignore[arg-type]
        status, _ = await archive(session, there.url, "a.bin", b"new content", no_versioning="1")
        assert status == 200
        return upload

    monkeypatch.setattr(cloning, "_fetch", slow)
    status, answer, _ = await clone(session, here, file_id="a.bin")
    assert (status, answer.status.code) == (500, 4052)
    assert await disks_of(here, "a.bin", 1) == [stored.disks[0].disk_id]
    assert await retrieve(session, here.url, "a.bin") == b"new content"
    await until(lambda: not here.node.committer._leftover)
    assert list((here.node.config.server.volumes).rglob("a.bin")) == []
    assert await here.node.database.fetch("select 1 from archive_intent") == []


async def test_of_two_clones_to_one_disk_one_wins(cluster: Pair, session: ClientSession) -> None:
    here, there = cluster
    await archive(session, there.url, "a.bin", b"abc")
    target = here.node.volumes[0].disk_id
    answers = await asyncio.gather(
        *(clone(session, here, file_id="a.bin", target_disk_id=target) for _ in range(4))
    )
    assert sorted(status for status, _, _ in answers)[0] == 200
    assert sum(counts == ("1", "1") for _, _, counts in answers) == 1
    assert (await disks_of(here, "a.bin", 1)).count(target) == 1
    await until(lambda: not here.node.committer._leftover)
    assert len(list(here.node.volumes[0].path.rglob("a.bin"))) == 1


async def test_a_job_ends_when_the_node_goes_offline(
    nodes: Pair, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    await archive(session, there.url, "a.bin", LARGE)
    began = asyncio.Event()

    async def endless(_self: Receiver, source: Source, *_rest: object) -> None:
        assert await source.content.readany()
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Receiver, "take", endless)
    _, accepted, _ = await clone(session, here, file_id="a.bin", **{"async": "1"})
    await asyncio.wait_for(began.wait(), READY_SECONDS)
    status, answer = await command(session, f"{here.url}/OFFLINE")
    assert (status, answer.status.code) == (400, 4015)  # it is busy
    status, _ = await command(session, f"{here.url}/OFFLINE", force="1")
    assert status == 200
    _, answer = await command(session, f"{here.url}/STATUS", request_id=accepted.status.request_id)
    assert (answer.status.status, answer.status.message) == ("FAILURE", CUT_SHORT)
    assert (answer.status.actual_count, answer.status.sub_state) == ("0", "IDLE")


async def test_a_replaced_version_is_gone_from_every_disk(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2) as node:
        await archive(session, node.url, "a.bin", b"old")
        await clone(session, node, file_id="a.bin")
        await archive(session, node.url, "a.bin", b"new", no_versioning="1")
        assert len(await disks_of(node, "a.bin", 1)) == 1
        assert await retrieve(session, node.url, "a.bin") == b"new"
        folder = node.node.config.server.volumes

        def left() -> list[bytes]:
            return [path.read_bytes() for path in folder.rglob("a.bin")]

        await until(lambda: left() == [b"new"])  # the old ones are removed after the answer


# CHECKFILE


async def test_a_sound_file_and_a_damaged_one_are_told_apart(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path) as node:
        url = f"{node.url}/CHECKFILE"
        for variant in ("crc32", "crc32c", "crc32z", "none"):
            await archive(session, node.url, f"{variant}.bin", LARGE, crc_variant=variant)
            status, answer = await command(session, url, file_id=f"{variant}.bin")
            assert (status, answer.status.code) == (200, 4056)
            assert "File Version: 1/Disk ID: " in answer.status.message
        _, stored = await archive(session, node.url, "a.bin", LARGE)
        spoil(path_of(stored))
        status, answer = await command(session, url, file_id="a.bin", host_id=node.host_id)
        assert (status, answer.status.status, answer.status.code) == (200, "SUCCESS", 4057)
        path_of(stored).unlink()
        _, answer = await command(session, url, file_id="a.bin", file_version="1")
        assert answer.status.code == 4057
        for wrong in ({"file_id": "x"}, {"file_id": "a.bin", "disk_id": "x"}):
            status, answer = await command(session, url, **wrong)
            assert (status, answer.status.code) == (400, 4019)
        status, answer = await command(session, url)
        assert (status, answer.status.code) == (400, 4035)
        await command(session, f"{node.url}/OFFLINE")
        status, answer = await command(session, url, file_id="a.bin")
        assert (status, answer.status.code) == (400, 4015)


async def test_the_holder_checks_its_file(nodes: Pair, session: ClientSession) -> None:
    here, there = nodes
    await archive(session, there.url, "a.bin", b"abc")
    url = f"{here.url}/CHECKFILE"
    async with session.get(url, params={"file_id": "a.bin"}, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == f"{there.url}/CHECKFILE?file_id=a.bin"
