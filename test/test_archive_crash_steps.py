"""A node killed before each of the steps that make a second copy: there are two, or none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession
from archive_support import (
    READY_SECONDS,
    Edit,
    command,
    edits,
    elements,
    prepare,
    set_attributes,
    until,
    write_config,
)
from ports import free_port
from test_archive_crash import Ledger, check
from test_archive_storing import TWO_COPIES, send, storage_set, streams

MIB = 1024 * 1024
DOOMED = Path(__file__).with_name("doomed_node.py")
MOST_STEPS = 60
VOLUME1 = f"<StorageSets>{storage_set('s', 'volume1')}</StorageSets>"


@dataclass
class Lives:
    """A node that is started again and again, and dies where it is told to."""

    root: Path
    process: asyncio.subprocess.Process
    url: str = ""

    async def start(self, doom: int) -> None:
        """Begin a life that ends before a step; wait until the node is ready."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"%d\n" % doom)
        line = await self._line()
        assert " at http" in line, line
        self.url = line.rsplit(" ", 1)[1].strip()

    async def ended(self) -> None:
        """Wait until it is dead."""
        while not (line := await self._line()).startswith("ended"):
            pass
        assert line == "ended -9\n"

    async def survives(self) -> bool:
        """Whether it lives until nothing is left to do; it clears up behind its answers."""
        end = asyncio.create_task(self.ended())
        rest = asyncio.create_task(self.rest())
        done, pending = await asyncio.wait({end, rest}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        return end not in done

    async def rest(self) -> None:
        """Wait until nothing is left to do."""
        await until(lambda: not any((self.root / "volumes").glob("*/staging/*")))

    @property
    def armed(self) -> Path:
        return self.root / "armed"

    async def _line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            return (await self.process.stdout.readline()).decode()


@asynccontextmanager
async def lives(root: Path, edit: Edit) -> AsyncIterator[Lives]:
    prepare(root, 2)
    port = set_attributes("Server", PortNo=str(free_port()))
    config = write_config(root, edit=edits(port, edit))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DOOMED), str(root), "-cfg", str(config), "-autoonline", "-v", "0"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    try:
        yield Lives(root, process)
    finally:
        os.killpg(process.pid, 9)  # it, and the node that it may have started
        await process.wait()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def places(root: Path, file_id: str) -> list[tuple[int, str]]:
    """Return the versions of a file that have a row, each with its disk."""
    with sqlite3.connect(root / "ngas.sqlite") as database:
        found = database.execute(
            "select file_version, disk_id from ngas_files where file_id = ? order by 1, 2",
            (file_id,),
        ).fetchall()
    database.close()
    return found


Act = Callable[[int], Awaitable[None]]


async def die_before_each_step(node: Lives, act: Act, look: Act) -> int:
    """Let the node die before the first step of an act, then the second, until it has none left.

    ``look`` sees, in the next life, what each death left. Return how many there were.
    """
    for doom in range(MOST_STEPS):
        await node.start(doom)
        if doom:
            await look(doom - 1)
            await node.rest()
        node.armed.touch()
        try:
            await act(doom)
        except ClientError:
            await node.ended()
        else:
            if await node.survives():
                return doom
        finally:
            node.armed.unlink()
    raise AssertionError("there is no end of steps")


@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_a_node_killed_before_any_step_of_replicating_has_both_copies_or_none(
    tmp_path: Path, session: ClientSession, size: int
) -> None:
    ledger, data = Ledger(), os.urandom(size)
    ledger.sent.add(hashlib.sha256(data).hexdigest())

    async def replicate(doom: int) -> None:
        status, answer = await send(session, node.url, f"{doom}.bin", data)
        assert (status, len(places(tmp_path, f"{doom}.bin"))) == (200, 2), answer

    async def look(doom: int) -> None:
        await check(session, node.url, tmp_path, ledger)
        left = places(tmp_path, f"{doom}.bin")
        assert len(left) in {0, 2}
        status, _ = await send(session, node.url, f"{doom}.bin", data)
        assert status == 200
        again = places(tmp_path, f"{doom}.bin")
        assert again[: len(left)] == left
        assert len(again) == len(left) + 2
        outcomes.add(len(left))

    outcomes: set[int] = set()
    async with lives(tmp_path, TWO_COPIES) as node:
        assert await die_before_each_step(node, replicate, look) >= 6
    assert outcomes == {0, 2}  # it died before the commit, and after it


async def test_a_node_killed_before_any_step_of_a_clone_has_a_whole_copy_or_none(
    tmp_path: Path, session: ClientSession
) -> None:
    ledger, data = Ledger(), os.urandom(2 * MIB)
    ledger.sent.add(hashlib.sha256(data).hexdigest())

    async def clone(doom: int) -> None:
        node.armed.unlink()  # the original is none of the steps
        assert (await send(session, node.url, f"{doom}.bin", data))[0] == 200
        await node.rest()
        node.armed.touch()
        status, answer = await command(session, f"{node.url}/CLONE", file_id=f"{doom}.bin")
        assert (status, len(places(tmp_path, f"{doom}.bin"))) == (200, 2), answer

    async def look(doom: int) -> None:
        await check(session, node.url, tmp_path, ledger)
        left = places(tmp_path, f"{doom}.bin")
        status, answer = await command(session, f"{node.url}/CLONE", file_id=f"{doom}.bin")
        if len(left) == 2:
            assert "has it already" in answer.status.message
        else:
            assert status == 200
        found = places(tmp_path, f"{doom}.bin")
        assert len({disk for _, disk in found}) == 2
        for _, disk_id in found:
            _, answer = await command(
                session, f"{node.url}/CHECKFILE", file_id=f"{doom}.bin", disk_id=disk_id
            )
            assert "NGAMS_INFO_FILE_OK" in answer.status.message
        outcomes.add(len(left))

    outcomes: set[int] = set()
    # The originals on one volume and the copies on the other, or the steps were not the same ones.
    async with lives(tmp_path, elements(VOLUME1 + streams("s"))) as node:
        assert await die_before_each_step(node, clone, look) >= 4
    assert outcomes == {1, 2}
