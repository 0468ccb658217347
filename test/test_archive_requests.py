"""The requests database: what was asked of a node can be asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import archive, command, running_node, set_attributes

from pyvospace_ngas.archive.database import opened
from pyvospace_ngas.archive.jobs import CUT_SHORT, Jobs
from pyvospace_ngas.archive.ledger import MOST, Entry, Ledger
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.settings.serving import Db, RequestBackend
from pyvospace_ngas.archive.steps import Database, Result, Row, Script

HERE = "here:7777"
MEMORY = set_attributes("Server", RequestDbBackend="memory")
PERSISTENT = set_attributes("Server", RequestDbBackend="bsddb")


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def index(database: str) -> Db:
    kind = "asyncpg" if database.startswith("postgres") else "sqlite3"
    return Db(interface=kind, location=database)


class Counting:
    """An index that counts its transactions."""

    def __init__(self, real: Database) -> None:
        self.real = real
        self.count = 0

    async def run(self, script: Script[Result]) -> Result:
        self.count += 1
        return await self.real.run(script)

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        return await self.real.fetch(sql, *arguments)

    def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        return self.real.pages(sql, *arguments)

    async def look_up(self, sql: str, *arguments: object) -> list[Row]:
        return await self.real.look_up(sql, *arguments)

    async def close(self) -> None:
        await self.real.close()


async def test_without_a_requests_database_no_request_is_known(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path) as node:
        _, stored = await archive(session, node.url, "a.bin", b"abc")
        found = stored.status.request_id
        status, answer = await command(session, f"{node.url}/STATUS", request_id=found)
    assert (status, answer.status.code) == (400, 4059)


async def test_requests_in_memory_are_known_until_the_node_ends(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=MEMORY) as node:
        _, stored = await archive(session, node.url, "a.bin", b"abc")
        which = stored.status.request_id
        status, answer = await command(session, f"{node.url}/STATUS", request_id=which)
        assert (status, answer.status.request_id) == (200, which)
        assert answer.status.succeeded
        assert answer.status.request_time == stored.status.request_time
        assert answer.status.completion_percent == "100.00"
        assert answer.status.completion_time >= answer.status.request_time
        status, answer = await command(session, f"{node.url}/STATUS", request_id="1234")
        assert (status, answer.status.code) == (400, 4059)
    async with running_node(tmp_path, edit=MEMORY) as node:
        status, answer = await command(session, f"{node.url}/STATUS", request_id=which)
        assert (status, answer.status.code) == (400, 4059)


async def test_requests_on_record_outlive_the_node(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path / "one", database, edit=PERSISTENT) as node:
        _, stored = await archive(session, node.url, "a.bin", b"abc")
        which = stored.status.request_id
        # What PostgreSQL would not store as text harms no other request.
        await command(session, f"{node.url}/STATUS", disk_id="\0")
        _, answer = await command(session, f"{node.url}/STATUS", request_id=which)
        assert answer.status.request_id == which
    async with running_node(tmp_path / "two", database, edit=PERSISTENT) as node:
        for unknown in ("x", "\0"):
            status, answer = await command(session, f"{node.url}/STATUS", request_id=unknown)
            assert (status, answer.status.code) == (400, 4059)
        status, answer = await command(session, f"{node.url}/STATUS", request_id=which)
    assert (status, answer.status.succeeded) == (200, True)
    assert answer.status.request_time == stored.status.request_time
    assert answer.status.completion_percent == "100.00"


async def test_a_job_that_died_with_its_node_is_shown_as_interrupted(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path, database, edit=PERSISTENT) as node:
        host_id, port = node.host_id, node.port
    async with opened(index(database)) as db:
        ledger = Ledger(RequestBackend.PERSISTENT, db, host_id)
        entry = ledger.begin("CLONE")
        entry.expected = 3
        await ledger.accept(entry)  # and no end: the node is killed
        others = Ledger(RequestBackend.PERSISTENT, db, "other:7777")
        alive = others.begin("CLONE")
        await others.accept(alive)
    async with running_node(tmp_path, database, edit=PERSISTENT, port=port) as node:
        status, answer = await command(session, f"{node.url}/STATUS", request_id=entry.id)
        assert (status, answer.status.status) == (200, "FAILURE")
        assert "ended before" in answer.status.message
        assert (answer.status.expected_count, answer.status.actual_count) == ("3", "0")
        assert answer.status.completion_time
        _, answer = await command(session, f"{node.url}/STATUS", request_id=alive.id)
        assert answer.status.succeeded
        assert not answer.status.completion_time


async def test_a_thousand_requests_cost_one_transaction(database: str) -> None:
    async with opened(index(database)) as real:
        db = Counting(real)
        ledger = Ledger(RequestBackend.PERSISTENT, db, HERE)
        entries = [ledger.begin("STATUS") for _ in range(1000)]
        for entry in entries:
            ledger.end(entry, succeeded=False, message="a\0b\n")
        assert await ledger.find(entries[0].id) is entries[0]
        assert db.count == 0
        await ledger.close()
        assert db.count == 1
        found = await ledger.find(entries[-1].id)
        assert found is not None
        assert (found.succeeded, found.message) == (False, "a?b?")


async def test_progress_is_seen_and_estimated(tmp_path: Path) -> None:
    async with opened(index(str(tmp_path / "ngas.sqlite"))) as db:
        ledger = Ledger(RequestBackend.MEMORY, db, HERE)
        entry = ledger.begin("CLONE")
        entry.began = datetime(2026, 11, 22, 1, tzinfo=UTC).timestamp()
        entry.expected, entry.actual, entry.updated = 4, 1, "2026-11-22T01:00:10.000"
        async with running_node(tmp_path / "node") as node:
            status = entry.on(node.node.status(""))
    assert (status.expected_count, status.actual_count) == ("4", "1")
    assert status.completion_percent == "25.00"
    assert (status.est_total_time, status.remaining_time) == ("40.000", "30.000")
    assert status.completion_time == ""


@pytest.mark.parametrize("backend", [RequestBackend.MEMORY, RequestBackend.PERSISTENT])
async def test_requests_are_forgotten_after_a_day(database: str, backend: RequestBackend) -> None:
    async with opened(index(database)) as db:
        ledger = Ledger(backend, db, HERE)
        ended, going = ledger.begin("STATUS"), ledger.begin("CLONE")
        await ledger.accept(going)
        ledger.end(ended)
        await ledger.close()
        now = datetime.now(UTC)
        assert await ledger.forget(now + timedelta(hours=23)) == 0
        assert await ledger.forget(now + timedelta(hours=25)) == 1
        assert await ledger.find(ended.id) is None
        assert await ledger.find(going.id) is not None


async def test_memory_is_bounded_but_jobs_stay(tmp_path: Path) -> None:
    async with opened(index(str(tmp_path / "ngas.sqlite"))) as db:
        ledger = Ledger(RequestBackend.MEMORY, db, HERE)
        job = ledger.begin("CLONE")
        await ledger.accept(job)
        ledger.end(job)
        first = ledger.begin("STATUS")
        ledger.end(first)
        for _ in range(MOST):
            ledger.end(ledger.begin("STATUS"))
        assert await ledger.find(job.id) is job
        assert await ledger.find(first.id) is None


async def test_every_end_of_a_job_is_recorded(tmp_path: Path) -> None:
    async def well() -> None: ...

    async def refused() -> None:
        raise Refused("no room")

    async def broken() -> None:
        raise ZeroDivisionError("what nobody should read")

    async def endless() -> None:
        await asyncio.Event().wait()

    async with opened(index(str(tmp_path / "ngas.sqlite"))) as db:
        ledger = Ledger(RequestBackend.MEMORY, db, HERE)
        jobs = Jobs(ledger)
        entries: list[Entry] = []
        for work in (well, refused, broken, endless):
            entries.append(ledger.begin("CLONE"))
            jobs.start(entries[-1], work())
        await asyncio.sleep(0)
        never_began = ledger.begin("CLONE")
        jobs.start(never_began, endless())
        await jobs.stop()
    assert [(e.succeeded, e.message) for e in (*entries, never_began)] == [
        (True, ""),
        (False, "no room"),
        (False, "The node failed to do it."),
        (False, CUT_SHORT),
        (False, CUT_SHORT),
    ]
    assert all(entry.completed for entry in entries)
