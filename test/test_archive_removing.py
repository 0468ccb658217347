"""REMFILE and REMDISK: what may go because there are three copies on three disks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
)

from pyvospace_ngas.archive.index import locate
from pyvospace_ngas.archive.targets import Target


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def copies(session: ClientSession, node: RunningNode, name: str, count: int) -> list[str]:
    """Archive a file and make copies of it; return the disks that have one."""
    await archive(session, node.url, name, name.encode())
    for _ in range(count - 1):
        status, _ = await command(session, f"{node.url}/CLONE", file_id=name)
        assert status == 200
    return await disks(node, name)


async def disks(node: RunningNode, name: str) -> list[str]:
    found = await locate(node.node.database, name)
    for copy in found:
        assert copy.path.read_bytes() == name.encode()
    return [copy.disk.disk_id for copy in found]


async def test_a_file_goes_from_a_disk_while_there_are_three_copies(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=4) as node:
        url = f"{node.url}/REMFILE"
        where = await copies(session, node, "a.bin", 4)
        which = {"disk_id": where[0], "file_id": "a.bin", "file_version": "1"}
        status, answer = await command(session, url, **which)
        assert (status, answer.status.status, answer.status.code) == (200, "SUCCESS", 4040)
        assert [file.file_id for file in answer.disks[0].files] == ["a.bin"]
        assert len(await disks(node, "a.bin")) == 4
        status, answer = await command(session, url, **which, execute="1")
        assert (status, answer.status.code) == (200, 4040)
        assert await disks(node, "a.bin") == where[1:]
        which["disk_id"] = where[1]
        del which["file_version"]
        await command(session, url, **which, execute="1")
        assert await disks(node, "a.bin") == where[2:]
        for more in ({}, {"execute": "1"}):
            status, answer = await command(session, url, **which | {"disk_id": where[2]}, **more)
            assert (status, answer.status.status, answer.status.code) == (200, "FAILURE", 4046)
        assert await disks(node, "a.bin") == where[2:]
        assert await retrieve(session, node.url, "a.bin") == b"a.bin"
        assert len(list((tmp_path / "volumes").rglob("a.bin"))) == 2
        assert await node.node.database.fetch("select 1 from archive_removal") == []


@pytest.mark.parametrize(
    ("name", "parameters", "code"),
    [
        ("REMFILE", {"disk_id": "x"}, 4035),
        ("REMFILE", {"file_id": "x"}, 4035),
        ("REMFILE", {"disk_id": "x", "file_id": "y"}, 4019),
        ("REMDISK", {}, 4035),
        ("REMDISK", {"disk_id": "x"}, 4020),
    ],
)
async def test_what_cannot_be_removed_is_refused(
    tmp_path: Path, session: ClientSession, name: str, parameters: dict[str, str], code: int
) -> None:
    async with running_node(tmp_path) as node:
        status, answer = await command(session, f"{node.url}/{name}", **parameters)
    assert (status, answer.status.code) == (400, code)


async def test_a_node_that_may_not_remove_does_not(tmp_path: Path, session: ClientSession) -> None:
    edit = set_attributes("Permissions", AllowRemoveReq="0")
    async with running_node(tmp_path, edit=edit) as node:
        for name in ("REMFILE", "REMDISK"):
            status, answer = await command(session, f"{node.url}/{name}", disk_id="x", file_id="y")
            assert (status, answer.status.code) == (400, 4017)


async def test_of_three_who_remove_a_copy_each_one_may(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path, database, volumes=3) as node:
        where = await copies(session, node, "a.bin", 3)
        answers = await asyncio.gather(
            *(
                command(session, f"{node.url}/REMFILE", disk_id=disk, file_id="a.bin", execute="1")
                for disk in where
            )
        )
        codes = sorted(str(answer.status.code) for _, answer in answers)
        assert codes == ["4040", "4046", "4046"]
        assert len(await disks(node, "a.bin")) == 2


async def test_a_disk_goes_when_all_its_files_have_other_copies(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path, database, volumes=3) as node:
        url = f"{node.url}/REMDISK"
        for name in ("a.bin", "b.bin"):
            await copies(session, node, name, 3)
        _, alone = await archive(session, node.url, "alone.bin", b"alone.bin")
        taken = alone.disks[0].disk_id
        other = next(v.disk_id for v in node.node.volumes if v.disk_id != taken)
        for more in ({}, {"execute": "1"}):
            status, answer = await command(session, url, disk_id=taken, **more)
            assert (status, answer.status.status, answer.status.code) == (400, "FAILURE", 4046)
        status, answer = await command(session, url, disk_id=other)
        assert (status, answer.status.code, answer.disks[0].disk_id) == (200, 4044, other)
        assert len(await disks(node, "a.bin")) == 3
        volume = node.node.volume(other)
        assert volume is not None
        with Target(volume).promise(1):  # an upload is under way
            status, _ = await command(session, url, disk_id=other, execute="1")
            assert (status, len(await disks(node, "a.bin"))) == (409, 3)
        status, answer = await command(session, url, disk_id=other, execute="1")
        assert (status, answer.status.code) == (200, 4043)
        assert not list(volume.path.rglob("*.bin"))
        for name in ("a.bin", "b.bin"):
            assert len(await disks(node, name)) == 2
            assert await retrieve(session, node.url, name) == name.encode()
        status, answer = await command(session, f"{node.url}/STATUS", disk_id=other)
        assert (status, answer.status.code) == (400, 4020)
        rows = await node.node.database.fetch("select disk_id, hist_synopsis from ngas_disks_hist")
        assert rows == [(other, "Disk Removed")]
        for number in range(6):  # nothing more goes there
            _, answer = await archive(session, node.url, f"{number}.bin", b"x")
            assert answer.disks[0].disk_id != other
        await command(session, f"{node.url}/OFFLINE")
        await command(session, f"{node.url}/ONLINE")
        _, answer = await command(session, f"{node.url}/STATUS", disk_id=other)
        assert (answer.disks[0].number_of_files, answer.disks[0].mounted) == (0, True)


async def test_a_disk_of_another_node_is_its_business(
    tmp_path: Path, session: ClientSession
) -> None:
    database = str(tmp_path / "shared.sqlite")
    async with (
        running_node(tmp_path / "one", database, volumes=2) as here,
        running_node(tmp_path / "two", database) as there,
    ):
        where = await copies(session, here, "a.bin", 2)
        await command(session, f"{there.url}/CLONE", file_id="a.bin")
        for name in ("REMFILE", "REMDISK"):
            status, answer = await command(
                session, f"{there.url}/{name}", disk_id=where[0], file_id="a.bin", execute="1"
            )
            assert (status, answer.status.status) == (400, "FAILURE")
            assert here.host_id in answer.status.message
        assert len(await disks(here, "a.bin")) == 3
