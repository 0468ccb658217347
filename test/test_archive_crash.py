"""Whatever moment a node is killed at: what it acknowledged is there, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession
from archive_support import (
    NodeProcess,
    archive,
    command,
    prepare,
    retrieve,
    running_node,
    set_attributes,
    until,
    write_config,
)
from ports import free_port

from pyvospace_ngas.archive import transactions
from pyvospace_ngas.archive.database import opened
from pyvospace_ngas.archive.settings.serving import Db
from pyvospace_ngas.archive.steps import Database, DatabaseError, Result, Row, Script
from pyvospace_ngas.archive.transactions import Intent, Wanted

MIB = 1024 * 1024
ROUNDS = 5


@dataclass
class Ledger:
    """What a node has acknowledged: digests by name and version, and names that were discarded."""

    kept: dict[tuple[str, int], str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    discarding: set[tuple[str, int]] = field(default_factory=set)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def upload_until_it_dies(
    session: ClientSession, url: str, ledger: Ledger, numbers: Iterator[int], seed: int
) -> None:
    """Archive small and large files, overwrite and discard some, until the node is gone."""
    dice = random.Random(seed)
    try:
        while True:
            number = next(numbers)
            name = f"{number % 7}.bin" if number % 3 else f"unique{number}.bin"
            size = 3 * MIB if number % 5 == 0 else dice.randrange(0, 20_000)
            data = dice.randbytes(size)
            ledger.sent.add(hashlib.sha256(data).hexdigest())
            status, answer = await archive(session, url, name, data)
            assert status == 200
            disk = answer.disks[0]
            key = (name, disk.files[0].file_version)
            ledger.kept[key] = hashlib.sha256(data).hexdigest()
            if number % 4 == 0:
                ledger.discarding.add(key)
                status, _ = await command(
                    session,
                    f"{url}/DISCARD",
                    disk_id=disk.disk_id,
                    file_id=name,
                    file_version=str(key[1]),
                    execute="1",
                )
                assert status == 200
                del ledger.kept[key]
    except (ClientError, ConnectionError):
        return


async def check(session: ClientSession, url: str, root: Path, ledger: Ledger) -> None:
    """Compare the ledger, the rows and the files."""
    for (name, version), digest in ledger.kept.items():
        if (name, version) in ledger.discarding:
            continue  # its DISCARD was not answered: either is right
        data = await retrieve(session, url, name, file_version=str(version))
        assert hashlib.sha256(data).hexdigest() == digest, (name, version)
    with sqlite3.connect(root / "ngas.sqlite") as database:
        rows = database.execute(
            "select d.mount_point || '/' || f.file_name, f.file_size, f.file_id, f.file_version "
            "from ngas_files f join ngas_disks d on d.disk_id = f.disk_id"
        ).fetchall()
        assert database.execute("select count(*) from archive_intent").fetchone() == (0,)
        assert database.execute("select count(*) from archive_removal").fetchone() == (0,)
    database.close()
    on_disk = {
        str(path): path.read_bytes()
        for path in (root / "volumes").rglob("*.bin")
        if path.is_file()
    }
    assert set(on_disk) == {row[0] for row in rows}
    for path, size, _, _ in rows:
        assert len(on_disk[path]) == size
        assert hashlib.sha256(on_disk[path]).hexdigest() in ledger.sent
    assert not any(path.is_file() for path in (root / "volumes").glob("*/staging/*"))


async def test_a_node_killed_at_any_moment_loses_nothing_it_acknowledged(
    tmp_path: Path, session: ClientSession
) -> None:
    prepare(tmp_path, 2)
    node = NodeProcess(tmp_path)
    ledger, numbers = Ledger(), itertools.count()
    dice = random.Random()
    try:
        for number in range(ROUNDS):
            await node.start("-v", "0")
            await check(session, node.url, tmp_path, ledger)
            clients = [
                asyncio.create_task(
                    upload_until_it_dies(session, node.url, ledger, numbers, number * 100 + each)
                )
                for each in range(8)
            ]
            enough = len(ledger.kept) + dice.randrange(15, 30)
            await until(lambda enough=enough: len(ledger.kept) >= enough)  # type: ignore[misc]
            await node.kill()
            await asyncio.gather(*clients)
        await node.start("-v", "0")
        await check(session, node.url, tmp_path, ledger)
        assert len(ledger.kept) > ROUNDS * 10
    finally:
        assert await node.stop() == 0


async def test_a_node_killed_while_it_clones_leaves_no_row_without_its_file(
    tmp_path: Path, session: ClientSession
) -> None:
    prepare(tmp_path, 3)
    port = str(free_port())  # the node must have its name again to know its jobs
    edit = set_attributes("Server", PortNo=port, RequestDbBackend="bsddb")
    node = NodeProcess(tmp_path, edit=edit)
    ledger, dice = Ledger(), random.Random()
    try:
        await node.start("-v", "0")
        await archive_some(session, node.url, ledger)
        for _ in range(3):
            jobs = await clone_all_disks(session, node.url, tmp_path)
            enough = copies_in(tmp_path) + dice.randrange(1, 15)
            await until(lambda enough=enough: copies_in(tmp_path) >= enough)  # type: ignore[misc]
            await node.kill()
            await node.start("-v", "0")
            await check(session, node.url, tmp_path, ledger)
            for job in jobs:  # whatever became of it, nobody waits for it for ever
                status, answer = await command(session, f"{node.url}/STATUS", request_id=job)
                assert status == 200
                assert answer.status.completion_time
        assert copies_in(tmp_path) > len(ledger.kept)
    finally:
        assert await node.stop() == 0


async def archive_some(session: ClientSession, url: str, ledger: Ledger) -> None:
    for number in range(30):
        data = random.Random(number).randbytes(3 * MIB if number % 10 == 0 else number * 100)
        status, _ = await archive(session, url, f"{number}.bin", data)
        assert status == 200
        digest = hashlib.sha256(data).hexdigest()
        ledger.kept[f"{number}.bin", 1] = digest
        ledger.sent.add(digest)


async def clone_all_disks(session: ClientSession, url: str, root: Path) -> list[str]:
    """Begin to clone every disk; return the requests."""
    jobs: list[str] = []
    with sqlite3.connect(root / "ngas.sqlite") as database:
        rows = database.execute("select distinct disk_id from ngas_files").fetchall()
    database.close()
    for (disk_id,) in rows:
        parameters = {"disk_id": disk_id, "async": "1"}
        status, answer = await command(session, f"{url}/CLONE", **parameters)
        assert status == 200
        jobs.append(answer.status.request_id)
    return jobs


def copies_in(root: Path) -> int:
    with sqlite3.connect(root / "ngas.sqlite") as database:
        [count] = database.execute("select count(*) from ngas_files").fetchone()
    database.close()
    return int(count)


# The moments one by one, made by hand


async def interrupted(root: Path, *, placed: str | None) -> Intent:
    """Leave what a node leaves that dies after its files were written, before their rows were."""
    [path] = prepare(root)
    async with running_node(root) as node:  # makes the tables and registers the volume
        disk_id, host_id = node.node.volumes[0].disk_id, node.host_id
    token = "0f0e0d0c-0000-4000-8000-00000000000a"
    wish = Wanted(token, disk_id, "f", "arch/day", "f.bin")
    async with opened(Db("sqlite3", str(root / "ngas.sqlite"))) as database:
        answer = await database.run(transactions.reserve([wish], host_id))
    intent = answer[token]
    assert isinstance(intent, Intent)
    (path / "staging" / token).write_bytes(b"half a file")
    if placed is not None:
        target = path / getattr(intent, placed)
        target.parent.mkdir(parents=True)
        target.hardlink_to(path / "staging" / token)
    return intent


@pytest.mark.parametrize("placed", [None, "file_name", "other_name"])
async def test_a_file_without_a_row_is_taken_out_by_its_record(
    tmp_path: Path, session: ClientSession, placed: str | None
) -> None:
    await interrupted(tmp_path, placed=placed)
    async with running_node(tmp_path) as node:
        assert list((tmp_path / "volumes").rglob("f.bin")) == []
        assert list((tmp_path / "volumes").glob("*/staging/*")) == []
        status, answer = await archive(session, node.url, "f.bin", b"x", file_id="f")
        assert (status, answer.disks[0].files[0].file_version) == (200, 1)


async def test_a_stranger_in_the_recorded_place_stays(tmp_path: Path) -> None:
    intent = await interrupted(tmp_path, placed=None)
    volume = tmp_path / "volumes" / "volume1"
    stranger = volume / intent.file_name
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"someone else's")
    (volume / "arch" / "foreign.fits").write_bytes(b"also")
    async with running_node(tmp_path):
        assert stranger.read_bytes() == b"someone else's"
        assert (volume / "arch" / "foreign.fits").exists()


async def test_a_stranger_in_the_way_is_never_replaced(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path) as node:
        _, answer = await archive(session, node.url, "a.bin", b"first")
        disk = answer.disks[0]
        name = disk.files[0].file_name.replace("a.bin", "b.bin")
        stranger = Path(disk.mount_point) / name
        stranger.write_bytes(b"someone else's")
        _, answer = await archive(session, node.url, "b.bin", b"second")
        assert answer.disks[0].files[0].file_name != name
        assert stranger.read_bytes() == b"someone else's"
        assert await retrieve(session, node.url, "b.bin") == b"second"


async def test_a_removal_that_was_cut_short_is_finished(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path) as node:
        _, answer = await archive(session, node.url, "a.bin", b"x")
        disk = answer.disks[0]
    path = Path(disk.mount_point) / disk.files[0].file_name
    async with opened(Db("sqlite3", str(tmp_path / "ngas.sqlite"))) as database:
        await database.run(transactions.discard(disk.disk_id, "a.bin", 1, 1))
    assert path.exists()
    async with running_node(tmp_path) as node:
        assert not path.exists()
        status, _ = await command(session, f"{node.url}/STATUS", file_id="a.bin")
        assert status == 400


# An index that goes away in the middle


class Fickle:
    """An index that loses answers as planned: before a transaction is done, or after it."""

    def __init__(self, real: Database) -> None:
        self.real = real
        self.plan: list[str] = []

    async def run(self, script: Script[Result]) -> Result:
        what = self.plan.pop(0) if self.plan else "well"
        if what == "before":
            script.close()
            raise DatabaseError("gone")
        result = await self.real.run(script)
        if what == "after":
            raise DatabaseError("gone")
        return result

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        return await self.real.fetch(sql, *arguments)

    def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        return self.real.pages(sql, *arguments)

    async def look_up(self, sql: str, *arguments: object) -> list[Row]:
        return await self.real.look_up(sql, *arguments)

    async def close(self) -> None:
        await self.real.close()


@pytest.mark.parametrize("size", [1000, 2 * MIB])
@pytest.mark.parametrize(
    ("plan", "status"),
    [
        (["before"], 500),  # nothing was reserved
        (["after"], 500),  # it was, but nobody knows which version
        (["well", "before"], 500),  # no row
        (["well", "after"], 200),  # the row is there, only the answer was lost
        (["well", "before", "before", "before"], 500),  # and the index stays away for a while
        (["well", "after", "before", "before"], 500),  # in doubt, but archived
    ],
)
async def test_a_lost_answer_of_the_index_leaves_no_riddle(
    tmp_path: Path, session: ClientSession, size: int, plan: list[str], status: int
) -> None:
    data = random.Random(1).randbytes(size)
    async with running_node(tmp_path) as node:
        fickle = Fickle(node.node.database)
        node.node.committer._database = fickle
        fickle.plan = list(plan)
        found, _ = await archive(session, node.url, "a.bin", data)
        assert found == status
        fickle.plan = []
        assert (await archive(session, node.url, "next.bin", b"x"))[0] == 200
        archived = "after" in plan[1:]
        code, _ = await command(session, f"{node.url}/STATUS", file_id="a.bin")
        assert code == (200 if archived else 400)
        if archived:
            assert await retrieve(session, node.url, "a.bin") == data
        left = {"next.bin", "a.bin"} if archived else {"next.bin"}
        await until(lambda: names_in(tmp_path) == sorted(left))
        await until(lambda: not node.node.committer._leftover)
        assert await fickle.real.fetch("select 1 from archive_intent") == []
        _, answer = await archive(session, node.url, "a.bin", b"again")
        assert answer.disks[0].files[0].file_version == (2 if archived else 1)


def names_in(root: Path) -> list[str]:
    """The names of all files in the volumes; staged ones have only a token."""
    found = (root / "volumes").rglob("*")
    return sorted(p.name for p in found if p.is_file() and not p.name.startswith(".ngas"))


async def test_two_processes_never_write_one_volume(tmp_path: Path) -> None:
    async with running_node(tmp_path):
        path = write_config(tmp_path, port=0)
        second = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "pyvospace_ngas.cli.node", "-cfg", str(path), "-autoOnline"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == 1
    assert "is in use by another node" in second.stderr
    assert "Traceback" not in second.stderr
    async with running_node(tmp_path):  # the lock ends with its holder
        pass
