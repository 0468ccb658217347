"""The index in SQLite and in PostgreSQL: one behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from pyvospace_ngas.archive import index, registration, transactions
from pyvospace_ngas.archive.database import opened
from pyvospace_ngas.archive.index import Host, Mount, VolumeElsewhere
from pyvospace_ngas.archive.records import File
from pyvospace_ngas.archive.settings.serving import Db
from pyvospace_ngas.archive.steps import Database, DatabaseError, Row, Script, Statement
from pyvospace_ngas.archive.transactions import (
    LATEST,
    Arrival,
    Intent,
    NothingToOverwrite,
    Room,
    VersionTaken,
    Wanted,
)
from pyvospace_ngas.ngas import status

NOW = "2026-11-22T01:02:03.456"
HERE = "here:7777"
THERE = "there:7778"


@pytest.fixture(params=["sqlite3", "asyncpg"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Db:
    """Where the index is."""
    if request.param == "sqlite3":
        return Db(interface="sqlite3", location=str(tmp_path / "ngas.sqlite"))
    return Db(interface="asyncpg", location=request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def db(place: Db) -> AsyncIterator[Database]:
    """The index with two nodes that have a disk each."""
    async with opened(place) as database:
        await join(database, HERE, "d1")
        await join(database, THERE, "d2")
        yield database


def host(host_id: str) -> Host:
    port = int(host_id.rpartition(":")[2])
    return Host(
        host_id=host_id,
        ip_address="127.0.0.1",
        port=port,
        version="v",
        cluster=host_id,
        archive=True,
        retrieve=True,
        remove=False,
        url=f"http://{host_id}",
    )


def volume(disk_id: str) -> Mount:
    return Mount(disk_id, "UNDEFINED", "UNDEFINED", f"slot-{disk_id}", f"/v/{disk_id}", 1000, 2000)


async def join(db: Database, host_id: str, *disk_ids: str) -> None:
    await db.run(index.register_host(host(host_id), NOW))
    mounts = [volume(disk_id) for disk_id in disk_ids]
    await db.run(index.mount(host_id, "A", mounts, NOW, force=False))
    await db.run(index.set_state(host_id, "ONLINE"))


def wanted(token: str, file_id: str = "f", overwrite: int | None = None) -> Wanted:
    return Wanted(token, "d1", file_id, "arch/day", "name.bin", overwrite)


def file_for(intent: Intent, file_id: str = "f", size: int = 10) -> File:
    return File(
        disk_id=intent.disk_id,
        file_name=intent.file_name,
        file_id=file_id,
        version=intent.version,
        format="a/b",
        size=size,
        ingestion_date=NOW,
        ignore=False,
        checksum="123",
        checksum_plugin="crc32c",
        file_status="00000000",
        creation_date=NOW,
        container_id=None,
        ingestion_rate=2**40,
        io_milliseconds=7,
    )


async def reserve(db: Database, *wishes: Wanted) -> list[Intent]:
    answer = await db.run(transactions.reserve(wishes, HERE))
    intents = [answer[wish.token] for wish in wishes]
    assert all(isinstance(intent, Intent) for intent in intents)
    return cast("list[Intent]", intents)


async def archive(db: Database, token: str, file_id: str = "f", size: int = 10) -> Intent:
    [intent] = await reserve(db, wanted(token, file_id))
    arrival = Arrival(token, file_for(intent, file_id, size), overwrites=False)
    done = await db.run(transactions.commit([arrival], {"d1": Room(900)}, NOW))
    assert token in done.files
    return intent


async def test_versions_are_counted_within_a_batch_and_over_batches(db: Database) -> None:
    first = await reserve(db, wanted("a"), wanted("b"), wanted("c", "other"))
    assert [intent.version for intent in first] == [1, 2, 1]
    await db.run(transactions.abandon(["a"]))
    second = await reserve(db, wanted("d"))
    assert second[0].version == 3
    assert second[0].file_name == "arch/day/3/name.bin"
    assert second[0].other_name == "arch/day/3/d/name.bin"


async def test_racing_nodes_never_get_one_version_twice(place: Db) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(opened(place)) for _ in range(2)]

        async def one(number: int) -> int:
            script = transactions.reserve([wanted(f"t{number}"), wanted(f"u{number}")], HERE)
            answer = await nodes[number % 2].run(script)
            intents = cast("list[Intent]", list(answer.values()))
            assert intents[1].version == intents[0].version + 1
            return intents[0].version

        versions = await asyncio.gather(*(one(number) for number in range(16)))
    assert sorted(versions) == list(range(1, 32, 2))


async def test_tables_are_made_once_by_nodes_that_start_together(place: Db) -> None:
    async with AsyncExitStack() as stack:
        nodes = await asyncio.gather(*(stack.enter_async_context(opened(place)) for _ in range(4)))
        await asyncio.gather(*(join(node, f"h{n}:{n}", f"d{n}") for n, node in enumerate(nodes)))
        rows = await nodes[0].fetch("select logical_name from ngas_disks order by 1")
    assert [row[0] for row in rows] == [f"A-M-{number:06d}" for number in range(1, 5)]


async def test_a_commit_writes_file_and_sums_and_ends_the_intent(db: Database) -> None:
    intent = await archive(db, "a", size=2**40)
    [copy] = await index.locate(db, "f")
    assert copy.file.size == 2**40
    assert copy.file.ingestion_rate == 2**31 - 1
    assert copy.file.file_name == intent.file_name
    assert copy.disk.host_id == HERE
    assert (copy.disk.number_of_files, copy.disk.bytes_stored) == (1, 2**40)
    assert copy.disk.available_mb == 900
    assert await db.fetch("select 1 from archive_intent") == []


async def test_an_abandoned_file_can_not_be_committed_any_more(db: Database) -> None:
    [intent] = await reserve(db, wanted("a"))
    assert await db.run(transactions.abandon(["a", "unknown"])) == ["a"]
    arrival = Arrival("a", file_for(intent), overwrites=False)
    done = await db.run(transactions.commit([arrival], {}, NOW))
    assert done.files == {}
    assert await index.locate(db, "f") == []
    await db.run(transactions.forget(["a"]))
    assert await db.fetch("select 1 from archive_intent") == []


async def test_abandoning_after_a_commit_says_that_it_happened(db: Database) -> None:
    await archive(db, "a")
    assert await db.run(transactions.abandon(["a"])) == []


async def test_an_overwrite_replaces_the_row_and_records_the_old_file(db: Database) -> None:
    await archive(db, "a")
    await db.run(container_of_f())
    [intent] = await reserve(db, wanted("b", overwrite=LATEST))
    assert intent.version == 1
    file = replace(file_for(intent, size=25), file_name=intent.other_name)
    done = await db.run(transactions.commit([Arrival("b", file, overwrites=True)], {}, NOW))
    assert done.replaced == (("d1", "arch/day/1/name.bin"),)
    [copy] = await index.locate(db, "f")
    assert copy.file.file_name == intent.other_name
    assert copy.file.container_id == "c1"
    assert (copy.disk.number_of_files, copy.disk.bytes_stored) == (1, 25)
    _, removals = await db.run(transactions.unfinished(["d1"]))
    assert removals == [("d1", "arch/day/1/name.bin")]
    await db.run(transactions.removed(removals))
    assert await db.run(transactions.unfinished(["d1", "d2"])) == ([], [])


def container_of_f() -> Script[None]:
    yield Statement("update ngas_files set container_id = $1 where file_id = $2", ("c1", "f"))


async def test_what_can_not_be_overwritten_says_why(db: Database) -> None:
    await archive(db, "a")
    wishes = [wanted("b", "none", LATEST), wanted("c", "f", 9), wanted("d", "f", 1)]
    answer = await db.run(transactions.reserve(wishes, HERE))
    assert isinstance(answer["b"], NothingToOverwrite)
    assert isinstance(answer["c"], NothingToOverwrite)
    assert isinstance(answer["d"], Intent)
    elsewhere = await db.run(transactions.reserve([wanted("e", "f", LATEST)], THERE))
    assert isinstance(elsewhere["e"], NothingToOverwrite)


async def test_a_discard_leaves_a_record_until_the_file_is_gone(db: Database) -> None:
    await archive(db, "a")
    file = await db.run(transactions.discard("d1", "f", 1, 800))
    assert file is not None
    assert await index.copy_on(db, "d1", "f", 1) is None
    assert await db.run(transactions.discard("d1", "f", 1, 800)) is None
    disk = await index.disk(db, "d1")
    assert disk is not None
    assert (disk.number_of_files, disk.bytes_stored, disk.available_mb) == (0, 0, 800)
    assert (await db.run(transactions.unfinished(["d1"])))[1] == [("d1", file.file_name)]


async def test_a_removal_whose_name_has_another_row_by_now_is_dropped(db: Database) -> None:
    await archive(db, "a")
    await db.run(transactions.discard("d1", "f", 1, 800))
    await archive(db, "b")  # the same name
    assert await db.run(transactions.unfinished(["d1"])) == ([], [])
    assert await db.fetch("select 1 from archive_removal") == []


async def test_a_disk_below_its_limit_is_completed(db: Database) -> None:
    [intent] = await reserve(db, wanted("a"))
    rooms = {"d1": Room(5, full=True)}
    arrival = Arrival("a", file_for(intent), overwrites=False)
    done = await db.run(transactions.commit([arrival], rooms, NOW))
    assert done.disks["d1"].completed
    assert done.disks["d1"].completion_date == NOW


async def test_the_history_of_a_disk_tells_when_it_was_completed(db: Database) -> None:
    done = await db.run(transactions.commit([], {"d1": Room(5, full=True, turned=True)}, NOW))
    assert done.disks["d1"].completed
    rows = await db.fetch(
        "select disk_id, hist_date, hist_origin, hist_synopsis, hist_descr from ngas_disks_hist"
    )
    assert [tuple(row[:4]) for row in rows] == [("d1", NOW, HERE, "Disk Completed")]
    assert status.parse(rows[0][4].encode()).disks[0].completed


def twins(file_id: str = "f", overwrite: int | None = None) -> list[Wanted]:
    first = wanted("a", file_id, overwrite)
    return [first, replace(first, token="b", disk_id="d3", twin_of="a")]


def arrivals(intents: list[Intent], *, overwrites: bool = False) -> list[Arrival]:
    first, second = (file_for(intent) for intent in intents)
    return [
        Arrival("a", first, overwrites=overwrites),
        Arrival("b", second, overwrites=False, twin_of="a"),
    ]


async def test_a_replica_has_the_version_and_the_fate_of_its_file(db: Database) -> None:
    await join(db, HERE, "d1", "d3")
    await archive(db, "earlier")
    intents = await reserve(db, *twins(), wanted("c"))
    assert [(each.disk_id, each.version) for each in intents] == [("d1", 2), ("d3", 2), ("d1", 3)]
    await db.run(transactions.abandon(["b"]))
    done = await db.run(transactions.commit(arrivals(intents[:2]), {}, NOW))
    assert done.files == {}
    assert await db.run(transactions.abandon(["a"])) == ["a"]  # its intent is still there
    await db.run(transactions.forget(["a", "b"]))
    intents = await reserve(db, *twins())
    done = await db.run(transactions.commit(arrivals(intents), {}, NOW))
    assert sorted(done.files) == ["a", "b"]
    assert {copy.disk.disk_id for copy in await index.locate(db, "f", 4)} == {"d1", "d3"}


async def test_a_replica_of_an_overwritten_file_is_in_its_container(db: Database) -> None:
    await join(db, HERE, "d1", "d3")
    await archive(db, "earlier")
    await db.run(container_of_f())
    intents = await reserve(db, *twins(overwrite=LATEST))
    await db.run(transactions.commit(arrivals(intents, overwrites=True), {}, NOW))
    copies = await index.locate(db, "f")
    assert [(copy.disk.disk_id, copy.file.container_id) for copy in copies] == [
        ("d1", "c1"),
        ("d3", "c1"),
    ]


async def test_a_version_is_given_back_once(db: Database) -> None:
    again = [replace(wanted(token), exact=7) for token in ("a", "b")]
    answer = await db.run(transactions.reserve([*again, wanted("c")], HERE))
    assert isinstance(first := answer["a"], Intent)
    assert first.version == 7
    assert isinstance(answer["b"], VersionTaken)
    assert isinstance(next_one := answer["c"], Intent)
    assert next_one.version == 8
    answer = await db.run(transactions.reserve([replace(wanted("d"), exact=8)], HERE))
    assert isinstance(answer["d"], VersionTaken)


async def test_only_what_nobody_knows_is_registered(db: Database) -> None:
    known = await archive(db, "a")
    [coming] = await reserve(db, wanted("b"))
    files = [
        replace(file_for(known), file_name=name)
        for name in (known.file_name, coming.file_name, coming.other_name, "new.bin")
    ]
    copies = await db.run(registration.register("d1", files, Room(5), NOW))
    assert [(copy.file.file_name, copy.file.version) for copy in copies] == [("new.bin", 3)]
    assert copies[0].disk.number_of_files == 2
    await db.run(registration.forget(copies, Room(5)))
    disk = await index.disk(db, "d1")
    assert disk is not None
    assert disk.number_of_files == 1


async def test_a_disk_is_renamed_to_what_no_other_is_called(db: Database) -> None:
    assert await db.run(index.relabel("d1", "new", NOW))
    assert not await db.run(index.relabel("d2", "new", NOW))
    disk = await index.disk_in(db, HERE, "slot-d1")
    assert disk is not None
    assert disk.logical_name == "new"


async def test_only_mounted_disks_have_files(db: Database) -> None:
    await archive(db, "a")
    await db.run(index.unmount(HERE))
    assert await index.locate(db, "f") == []
    assert await index.copy_on(db, "d1", "f", 1) is not None


async def test_versions_come_highest_first(db: Database) -> None:
    for token in "abc":
        await archive(db, token)
    assert [copy.file.version for copy in await index.locate(db, "f")] == [3, 2, 1]
    assert [copy.file.version for copy in await index.locate(db, "f", 2)] == [2]


async def test_a_volume_of_another_machine_is_taken_only_by_force(db: Database) -> None:
    mounts = [volume("d2")]
    with pytest.raises(VolumeElsewhere, match=THERE):
        await db.run(index.mount(HERE, "A", mounts, NOW, force=False))
    disk = await index.disk(db, "d1")
    assert disk is not None
    assert disk.mounted  # nothing of a refused mount is left
    await db.run(index.mount(HERE, "A", mounts, NOW, force=True))
    await db.run(index.set_state(HERE, "OFFLINE"))
    await db.run(index.mount(THERE, "A", mounts, NOW, force=False))  # its node is offline


async def test_a_node_is_found_by_its_url_or_else_by_its_address(db: Database) -> None:
    assert await index.address(db, THERE) == f"http://{THERE}"
    await db.run(forget_addresses())
    assert await index.address(db, THERE) == "http://127.0.0.1:7778"
    assert await index.address(db, "nobody:1") is None


def forget_addresses() -> Script[None]:
    yield Statement("delete from archive_address")


async def test_a_failing_transaction_leaves_nothing(db: Database) -> None:
    def half() -> Script[None]:
        yield Statement("delete from ngas_hosts")
        yield Statement("select no_such_column from ngas_hosts")

    with pytest.raises(DatabaseError):
        await db.run(half())
    assert len(await db.fetch("select 1 from ngas_hosts")) == 2


async def test_an_index_that_can_not_be_opened_says_so_without_its_password(
    tmp_path: Path,
) -> None:
    for place in (
        Db("sqlite3", str(tmp_path)),
        Db("asyncpg", "postgresql://u:geheim@127.0.0.1:1/d"),
    ):
        with pytest.raises(DatabaseError) as caught:
            async with opened(place):
                pass
        assert "geheim" not in str(caught.value)


async def test_session_sql_holds_on_every_connection_however_often_it_is_used(place: Db) -> None:
    sqlite = place.interface == "sqlite3"
    statement = "pragma cache_size = 777" if sqlite else "set work_mem = '777kB'"
    ask = "pragma cache_size" if sqlite else "show work_mem"
    expected = {777, "777kB"}
    async with opened(replace(place, session_sql=(statement,))) as database:
        for _ in range(3):
            answers = await asyncio.gather(*(database.fetch(ask) for _ in range(6)))
            assert {rows[0][0] for rows in answers} <= expected
            assert (await database.run(asking(ask)))[0][0] in expected


def asking(sql: str) -> Script[list[Row]]:
    return (yield Statement(sql))


async def test_session_sql_that_is_no_good_is_named(place: Db) -> None:
    with pytest.raises(DatabaseError, match=r"SessionSql.*nonsense"):
        async with opened(replace(place, session_sql=("nonsense",))):
            pass
