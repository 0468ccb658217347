"""A node as a cache: what goes from it, when, and what never does."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from archive_support import (
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
    until,
)
from lxml import etree

from pyvospace_ngas.archive import cachebook, caching
from pyvospace_ngas.archive.caching import Surplus, surplus
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.database import opened
from pyvospace_ngas.archive.examples.cache_by_name import cache_by_name
from pyvospace_ngas.archive.index import copy_on
from pyvospace_ngas.archive.settings.serving import Db
from pyvospace_ngas.archive.settings.tending import Caching
from pyvospace_ngas.archive.steps import Many, Script
from pyvospace_ngas.ngas.status import Answer

HOUR = 3600.0


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def cache(
    root: Path, database: str = "", **attributes: str
) -> AbstractAsyncContextManager[RunningNode]:
    """Run a node as a cache whose own rounds come too seldom to disturb."""
    given = {"Enable": "1", "Period": "01T00:00:00"} | attributes
    return running_node(root, database, volumes=2, edit=set_attributes("Caching", **given))


async def round_of(node: RunningNode, now: float | None = None) -> list[str]:
    """Have the cache look for what has to go; return the file ids that stay."""
    await caching.adopt(node.node)
    await caching.tidy(node.node, now or time.time())
    rows = await node.node.database.fetch(
        "select f.file_id, d.mount_point, f.file_name from ngas_files f "
        "join ngas_disks d on d.disk_id = f.disk_id"
    )
    on_disk = {str(path) for path in node.node.config.server.volumes.rglob("*.bin")}
    assert on_disk == {f"{row[1]}/{row[2]}" for row in rows}
    assert await node.node.database.fetch("select 1 from archive_removal") == []
    kept = await node.node.database.fetch("select file_id from ngas_cache")
    assert sorted(row[0] for row in kept) == sorted(row[0] for row in rows)
    return sorted(row[0] for row in rows)


async def age(node: RunningNode, file_id: str, since: float) -> None:
    def script() -> Script[None]:
        yield Many("update ngas_cache set cache_time = $2 where file_id = $1", [(file_id, since)])

    await caching.adopt(node.node)
    await node.node.database.run(script())


def which(answer: Answer) -> dict[str, str]:
    disk = answer.disks[0]
    file = disk.files[0]
    return {
        "disk_id": disk.disk_id,
        "file_id": file.file_id,
        "file_version": str(file.file_version),
    }


@pytest.mark.parametrize(
    ("settings", "files", "size", "expected"),
    [
        (Caching(), 1000, 1000, Surplus(0, 0)),
        (Caching(max_bytes=1000), 9, 1000, Surplus(0, 0)),
        (Caching(max_bytes=1000), 9, 1001, Surplus(0, 101)),
        (Caching(max_files=10), 10, 1, Surplus(0, 0)),
        (Caching(max_files=10), 11, 1, Surplus(2, 0)),
        (Caching(max_files=10), 20, 1, Surplus(11, 0)),
    ],
)
def test_how_much_is_too_much(settings: Caching, files: int, size: int, expected: Surplus) -> None:
    assert surplus(settings, files, size) == expected


async def test_what_is_marked_goes_in_the_next_round(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with cache(tmp_path, database) as node:
        _, stored = await archive(session, node.url, "a.bin", b"a")
        await archive(session, node.url, "b.bin", b"b")
        url = f"{node.url}/CACHEDEL"
        status, answer = await command(session, url, **which(stored))
        assert (status, answer.status.succeeded) == (200, True)
        assert await retrieve(session, node.url, "a.bin") == b"a"
        assert await round_of(node) == ["b.bin"]
        status, answer = await command(session, url, **which(stored))
        assert (status, answer.status.code) == (400, 4019)
        status, answer = await command(session, url, file_id="b.bin")
        assert (status, answer.status.code) == (400, 4035)


async def test_a_node_that_is_no_cache_says_so(tmp_path: Path, session: ClientSession) -> None:
    async with running_node(tmp_path) as node:
        _, stored = await archive(session, node.url, "a.bin", b"a")
        status, answer = await command(session, f"{node.url}/CACHEDEL", **which(stored))
        assert (status, answer.status.code) == (400, 4017)
        assert "no cache" in answer.status.message
        assert await node.node.database.fetch("select 1 from ngas_cache") == []


async def test_a_cache_that_may_not_remove_takes_no_requests_to(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes("Caching", Enable="1")

    def both(document: etree._Element) -> None:
        edit(document)
        set_attributes("Permissions", AllowRemoveReq="0")(document)

    async with running_node(tmp_path, edit=both) as node:
        _, stored = await archive(session, node.url, "a.bin", b"a")
        status, answer = await command(session, f"{node.url}/CACHEDEL", **which(stored))
    assert (status, answer.status.code) == (400, 4017)


async def test_files_go_by_age_also_those_from_before_a_restart(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path, database, volumes=2) as node:  # not yet a cache
        await archive(session, node.url, "old.bin", b"x")
        await archive(session, node.url, "new.bin", b"x")
    async with cache(tmp_path, database, MaxTime="00T01:00:00") as node:
        now = time.time()
        assert await round_of(node, now) == ["new.bin", "old.bin"]
        await age(node, "old.bin", now - HOUR - 1)
        assert await round_of(node, now) == ["new.bin"]
        assert await round_of(node, now + HOUR + 60) == []


async def test_the_oldest_go_when_there_are_too_many(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with cache(tmp_path, database, MaxFiles="3") as node:
        for number in range(5):
            await archive(session, node.url, f"{number}.bin", b"x")
            await age(node, f"{number}.bin", 1_700_000_000.123456 + number)
        assert await round_of(node) == ["3.bin", "4.bin"]


async def test_the_oldest_go_when_they_are_too_large(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "PAGE", 2)
    async with cache(tmp_path, MaxCacheSize="500") as node:
        for number in range(6):
            await archive(session, node.url, f"{number}.bin", b"x" * 100)
            await age(node, f"{number}.bin", 1_700_000_000.5)
        assert len(await round_of(node)) == 4  # down to nine tenths


async def test_a_plug_in_decides(tmp_path: Path, session: ClientSession) -> None:
    name = "pyvospace_ngas.archive.examples.cache_by_name"
    async with cache(
        tmp_path, CacheControlPlugIn=name, CacheControlPlugInPars="names=p*,least=3"
    ) as node:
        for file_id, data in {"p1.bin": b"xxx", "p2.bin": b"x", "q.bin": b"xxx"}.items():
            await archive(session, node.url, file_id, data)
        facts = await copy_on(node.node.database, node.node.volumes[0].disk_id, "q.bin", 1)
        assert facts is None or not cache_by_name(facts.facts(), "names=p*")
        assert await round_of(node) == ["p2.bin", "q.bin"]


async def test_a_plug_in_that_fails_lets_nothing_go(
    tmp_path: Path, session: ClientSession
) -> None:
    name = "pyvospace_ngas.archive.examples.cache_by_name"
    async with cache(
        tmp_path, CacheControlPlugIn=name, CacheControlPlugInPars="names=*,least=much"
    ) as node:
        await archive(session, node.url, "a.bin", b"x")
        assert await round_of(node) == ["a.bin"]


async def test_a_plug_in_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        async with cache(tmp_path, CacheControlPlugIn="nowhere.at_all"):
            pass


Rows = list[tuple[str, int]]  # file id and status in the queue


@pytest.mark.parametrize(
    ("subscriber", "queue", "backlog", "stays"),
    [
        (None, [], [], False),
        (("T", "", ""), [], [], True),  # nobody has thought of the file yet
        (("T", "", ""), [("a.bin", -2)], [], True),
        (("T", "", ""), [("a.bin", -1)], [], True),
        (("T", "", ""), [("a.bin", 3)], [], True),
        (("T", "", ""), [("a.bin", 0)], [], False),
        (("T", "", ""), [("a.bin", 0)], ["a.bin"], True),
        (("T", "", ""), [("b.bin", 0)], [], True),
        (("T", "2090-01-01T00:00:00.000", ""), [], [], False),  # it wants later ones
        (("T", "", "2090-01-01T00:00:00.000"), [], [], False),  # considered, not wanted
        (("T", "", "2090-01-01T00:00:00.000"), [("a.bin", 1)], [], True),
        (("other", "", ""), [], [], False),  # another node's subscriber
    ],
)
async def test_a_file_waits_for_its_subscribers(
    tmp_path: Path,
    session: ClientSession,
    subscriber: tuple[str, str, str] | None,
    queue: Rows,
    backlog: list[str],
    stays: bool,
) -> None:
    async with cache(tmp_path, CheckCanBeDeleted="1", MaxTime="00T00:00:01") as node:
        _, stored = await archive(session, node.url, "a.bin", b"x")
        await node.node.database.run(subscriptions(node, subscriber, queue, backlog))
        await command(session, f"{node.url}/CACHEDEL", **which(stored))
        if subscriber and subscriber[2]:  # too early to tell that nobody will want it
            assert await round_of(node, time.time() + HOUR / 2) == ["a.bin"]
        found = await round_of(node, time.time() + HOUR + 1)
        assert found == (["a.bin"] if stays else [])


def subscriptions(
    node: RunningNode, subscriber: tuple[str, str, str] | None, queue: Rows, backlog: list[str]
) -> Script[None]:
    if subscriber is not None:
        name, start, last = subscriber
        host_id = "other:1" if name == "other" else node.host_id
        yield Many(
            "insert into ngas_subscribers (host_id, srv_port, subscr_prio, subscr_id, subscr_url, "
            "subscr_start_date, last_file_ingestion_date) values ($1, $2, 1, $3, 'u', $4, $5)",
            [(host_id, node.port, name, start, last)],
        )
    yield Many(
        "insert into ngas_subscr_queue (subscr_id, file_id, disk_id, file_name, ingestion_date, "
        "format, status, status_date) values ('T', $1, 'd', 'n', '', 'f', $2, '')",
        queue,
    )
    yield Many(
        "insert into ngas_subscr_back_log (host_id, srv_port, subscr_id, subscr_url, file_id, "
        "file_name, file_version, ingestion_date, format) "
        "values ('h', 1, 'T', 'u', $1, 'n', 1, '', 'f')",
        [(file_id,) for file_id in backlog],
    )


async def test_the_question_for_waiting_subscribers_is_one_on_postgresql_too(
    tmp_path: Path, empty_dsn: str, session: ClientSession
) -> None:
    async with cache(tmp_path, empty_dsn, CheckCanBeDeleted="1", MaxTime="00T00:00:01") as node:
        await archive(session, node.url, "a.bin", b"x")
        await node.node.database.run(subscriptions(node, ("T", "", ""), [("a.bin", 1)], []))
        assert await round_of(node, time.time() + HOUR) == ["a.bin"]


async def test_a_cache_works_by_itself(tmp_path: Path, session: ClientSession) -> None:
    edit = set_attributes("Caching", Enable="1", Period="00T00:00:00.05", MaxFiles="2")
    async with running_node(tmp_path, edit=edit) as node:
        for number in range(6):
            await archive(session, node.url, f"{number}.bin", b"x")

        def left() -> int:
            return len(list((tmp_path / "volumes").rglob("*.bin")))

        await until(lambda: left() <= 2)
        assert await retrieve(session, node.url, "5.bin") == b"x"


async def test_an_eviction_that_was_cut_short_is_finished(
    tmp_path: Path, session: ClientSession
) -> None:
    async with cache(tmp_path) as node:
        await archive(session, node.url, "a.bin", b"x")
        await caching.adopt(node.node)
        disk_ids = [volume.disk_id for volume in node.node.volumes]
        question = cachebook.Question(disk_ids)
        held = await cachebook.page(node.node.database, question, cachebook.FIRST, 10)
    async with opened(Db("sqlite3", str(tmp_path / "ngas.sqlite"))) as db:
        await db.run(cachebook.evict(held, dict.fromkeys(disk_ids, 1)))
    assert held[0].copy.path.exists()
    async with cache(tmp_path) as node:
        assert not held[0].copy.path.exists()
        assert await round_of(node) == []


async def test_a_cache_delivers_before_it_lets_go(tmp_path: Path, session: ClientSession) -> None:
    back = asyncio.Event()

    def edit(document: etree._Element) -> None:
        caching = {"Enable": "1", "Period": "00T00:00:00.05", "MaxTime": "00T00:00:00.01"}
        set_attributes("Caching", CheckCanBeDeleted="1", **caching)(document)
        set_attributes("SubscriptionDef", SuspensionTime="0.05")(document)

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=200 if back.is_set() else 503)

    app = web.Application()
    app.router.add_post("/QARCHIVE", take)
    async with TestServer(app) as subscriber, running_node(tmp_path, edit=edit) as node:
        url = str(subscriber.make_url("/QARCHIVE"))
        status, _ = await command(session, f"{node.url}/SUBSCRIBE", subscr_id="S", url=url)
        assert status == 200
        await archive(session, node.url, "a.bin", b"x")

        def refused_once() -> bool:
            with sqlite3.connect(tmp_path / "ngas.sqlite") as database:
                rows = database.execute("select status from ngas_subscr_queue").fetchall()
            database.close()
            return any(row[0] > 0 for row in rows)

        await until(refused_once)
        assert await retrieve(session, node.url, "a.bin") == b"x"
        back.set()
        await until(lambda: not list((tmp_path / "volumes").rglob("a.bin")))
        status, answer = await command(session, f"{node.url}/RETRIEVE", file_id="a.bin")
        assert (status, answer.status.code) == (400, 4019)
