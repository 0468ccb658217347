"""What NGAS is let forget, when, and what it never is."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import postgres_support
import pytest
import storage_support
from rude_ngas import RudeFile, RudeNgas
from storage_support import Site

from pyvospace_ngas.db import branches
from pyvospace_ngas.db.connect import Connection, Database, connect
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ops import discards, sweep

OLD, NEW = random.Random(1).randbytes(50_000), random.Random(2).randbytes(60_000)
FOREIGN = RudeFile(b"an observatory's", 1, "0", "crc32c")


class Archive:
    """A site with two nodes, and the janitor's own means."""

    def __init__(self, site: Site, rudes: list[RudeNgas], database: Database) -> None:
        self.site = site
        self.rudes = rudes
        self.database = database
        entries = [Entry("127.0.0.1", rude.port) for rude in rudes]
        self.federation = Federation(entries, patience=storage_support.SHORT)

    @property
    def files(self) -> dict[str, bytes]:
        return {name: file.data for rude in self.rudes for name, file in rude.files.items()}

    async def work(self, absent_apart: float = 3600.0) -> int:
        """Do what the janitor does, as if the time for all that waits had come."""
        await self.site.query("update discard set not_before = now()")
        return await discards.work(self.database, self.federation, absent_apart=absent_apart)

    async def sweep(self, grace: float = 0.0) -> int:
        return await sweep.work(self.database, self.federation, 0, grace=grace)

    async def queue(self) -> list[asyncpg.Record]:
        return await self.site.query("select * from discard order by id")


@asynccontextmanager
async def archive_at(
    dsn: str, folder: Path, rudes: list[RudeNgas], delay: int = 0, *, user: bool = True
) -> AsyncIterator[Archive]:
    ports = [rude.port for rude in rudes]
    storage = {"discard_delay": str(delay)}
    async with (
        storage_support.site(dsn, folder, ports, storage, user=user) as site,
        Database(dsn, 8) as database,
    ):
        archive = Archive(site, rudes, database)
        async with archive.federation:
            yield archive


@pytest.fixture
async def rudes() -> AsyncIterator[list[RudeNgas]]:
    async with RudeNgas() as one, RudeNgas() as other:
        yield [one, other]


@pytest.fixture
async def archive(dsn: str, tmp_path: Path, rudes: list[RudeNgas]) -> AsyncIterator[Archive]:
    async with archive_at(dsn, tmp_path, rudes) as ready:
        yield ready


async def replaced(archive: Archive) -> int:
    """Return a node whose bytes `OLD` were replaced by `NEW`."""
    node = await archive.site.node()
    for data in (OLD, NEW):
        assert (await archive.site.push(node, data)).status == 201
    return node


async def test_what_was_replaced_goes_once_the_new_was_read_back(archive: Archive) -> None:
    node = await replaced(archive)
    (row,) = await archive.queue()
    assert (row["reason"], row["tries"]) == ("replaced", 0)
    assert row["after_blob"] == await archive.site.value(
        "select blob_id from node where id=$1", node
    )
    assert await archive.site.value("select verified from copy") is None
    assert await archive.work() == 1
    assert await archive.site.value("select verified from copy") is not None
    assert list(archive.files.values()) == [NEW]
    assert await archive.queue() == []
    assert (await archive.site.pull(node)).body == NEW


async def test_nothing_goes_before_its_time(
    dsn: str, tmp_path: Path, rudes: list[RudeNgas]
) -> None:
    async with archive_at(dsn, tmp_path, rudes, delay=3600) as archive:
        await replaced(archive)
        assert await discards.work(archive.database, archive.federation) == 0
        assert len(archive.files) == 2
        assert not any(rude.commands("DISCARD") for rude in rudes)


async def test_what_was_replaced_stays_while_the_new_cannot_be_read(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    await replaced(archive)
    good = [dict(rude.files) for rude in rudes]
    for rude in rudes:
        for name, file in rude.files.items():
            if file.data == NEW:
                rude.files[name] = RudeFile(NEW[:-1] + b"?", 1, file.checksum, file.plugin)
    assert await archive.work() == 0
    (row,) = await archive.queue()
    assert "could not be read back" in row["last_error"]
    for rude, files in zip(rudes, good, strict=True):
        rude.files = files
    assert await archive.work() == 1


async def test_of_two_replacements_the_last_is_read_back(archive: Archive) -> None:
    node = await replaced(archive)
    await archive.site.push(node, b"third")
    blob = await archive.site.value("select blob_id from node where id = $1", node)
    assert [row["after_blob"] for row in await archive.queue()] == [blob, blob]
    assert await archive.work() == 2
    assert list(archive.files.values()) == [b"third"]


async def test_a_node_that_removes_nothing_is_asked_again(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    for rude in rudes:
        rude.faults.removal = False
    await replaced(archive)
    assert await archive.work() == 0
    (row,) = await archive.queue()
    assert "AllowRemoveReq" in row["last_error"]
    assert row["tries"] == 1
    assert row["not_before"] > row["queued"]
    refusing = await discards.refusing(archive.federation)
    assert refusing == {f"127.0.0.1:{rude.port}" for rude in rudes}
    for rude in rudes:
        rude.faults.removal = True
    assert await archive.work() == 1


async def test_a_node_that_is_away_is_waited_for(archive: Archive, rudes: list[RudeNgas]) -> None:
    await replaced(archive)
    for rude in rudes:
        rude.faults.silent = True
    assert await archive.work() == 0
    assert (await archive.queue())[0]["last_error"]
    for rude in rudes:
        rude.faults.silent = False
    assert await archive.work() == 1


async def test_what_no_node_has_is_believed_the_second_time(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    await replaced(archive)
    for rude in rudes:
        rude.files = {name: file for name, file in rude.files.items() if file.data == NEW}
    assert await archive.work() == 0
    assert (await archive.queue())[0]["absent"] is not None
    assert await archive.work() == 0
    assert await archive.work(absent_apart=0) == 1
    assert await archive.queue() == []


async def test_one_word_of_absence_does_not_count_while_another_node_is_away(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    await replaced(archive)
    (row,) = await archive.queue()
    away = next(rude for rude in rudes if f"127.0.0.1:{rude.port}" != row["entry"])
    holder = next(rude for rude in rudes if rude is not away)
    del holder.files[row["file_id"]]
    for _ in range(2):  # the new bytes may lie where nobody answers
        await archive.site.query("update copy set verified = now()")
        away.faults.silent = True
        assert await archive.work(absent_apart=0) == 0
    assert (await archive.queue())[0]["absent"] is None


async def share(db: Connection, node: int, name: str) -> None:
    """Make a node with the same bytes, as a copy of a tree does."""
    await db.execute(
        "insert into node (parent_id, name, type, owner, length, md5, blob_id)"
        " select 0, $2, type, owner, length, md5, blob_id from node where id = $1",
        node,
        name,
    )


async def test_a_blob_that_a_node_uses_is_kept(archive: Archive) -> None:
    node = await archive.site.node()
    await archive.site.push(node, OLD)
    async with archive.database.transaction() as db:
        await share(db, node, "copy")
    await archive.site.push(node, NEW)
    assert await archive.queue() == []
    copied = await archive.site.value("select id from node where name = 'copy'")
    assert (await archive.site.pull(copied)).body == OLD
    blob = await archive.site.value("select blob_id from node where id = $1", copied)
    async with archive.database.acquire() as db:
        assert await discards.release(db, [blob], "deleted", 0) == 0
        await db.execute("delete from node where id = $1", copied)
        assert await discards.release(db, [blob, blob], "deleted", 0) == 1
        assert await discards.release(db, [blob], "deleted", 0) == 0
        assert await discards.release(db, [], "deleted", 0) == 0
    (row,) = await archive.queue()
    assert (row["reason"], row["after_blob"]) == ("deleted", None)


async def test_a_copy_and_a_release_that_race_leave_no_node_without_bytes(
    archive: Archive,
) -> None:
    async def copy(node: int, name: str) -> bool:
        try:
            async with archive.database.transaction() as db:
                await share(db, node, name)
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def delete(node: int, blob: int) -> None:
        async with archive.database.transaction() as db:
            await db.execute("delete from node where id = $1", node)
            await discards.release(db, [blob], "deleted", 0)

    outcomes = set()
    for number in range(40):
        node = await archive.site.node()
        blob = await archive.site.value(
            "with b as (insert into blob (length, md5) values (1, repeat('0', 32)) returning id)"
            " update node set blob_id = (select id from b) where id = $1 returning blob_id",
            node,
        )
        await asyncio.gather(*[copy(node, f"c{number}-{i}") for i in range(3)], delete(node, blob))
        left = await archive.site.value("select count(*) from node where blob_id = $1", blob)
        kept = await archive.site.value("select count(*) from blob where id = $1", blob)
        assert bool(left) == bool(kept)
        outcomes.add(bool(left))
    assert outcomes


async def test_several_servers_share_the_queue(archive: Archive, rudes: list[RudeNgas]) -> None:
    for _ in range(6):
        await replaced(archive)
    await archive.site.query("update discard set not_before = now()")
    gone = await asyncio.gather(
        *[discards.work(archive.database, archive.federation) for _ in range(3)]
    )
    assert sum(gone) == 6
    executed = [
        request.parameters["file_id"]
        for rude in rudes
        for request in rude.commands("DISCARD")
        if request.parameters.get("execute") == "1"
    ]
    assert len(executed) == len(set(executed)) == 6


async def test_a_file_that_the_database_knows_is_never_discarded(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    await archive.site.push(await archive.site.node(), NEW)
    await archive.site.query(
        "insert into discard (file_id, entry, host_id, disk_id, version, reason, not_before)"
        " select file_id, entry, host_id, disk_id, version, 'mistake', now() from copy"
    )
    assert await archive.work() == 0
    assert not any(rude.commands("DISCARD") for rude in rudes)


async def orphan(archive: Archive) -> str:
    """Leave a file in NGAS whose upload did not come to its end; return its id."""
    for rude in archive.rudes:
        rude.faults.wrong_checksum = True
    assert (await archive.site.push(await archive.site.node(), OLD)).status == 503
    for rude in archive.rudes:
        rude.faults.wrong_checksum = False
    (file_id,) = archive.files
    return file_id


async def test_what_an_upload_left_behind_is_swept_away(
    archive: Archive, rudes: list[RudeNgas]
) -> None:
    file_id = await orphan(archive)
    prefix = file_id.partition("-")[0]
    foreign = ["ngas-observation-1", f"{prefix}-0123456789abcdef", f"{prefix}x-1"]
    rudes[0].files |= dict.fromkeys(foreign, FOREIGN)
    assert await archive.sweep(grace=3600) == 0
    assert await archive.sweep() == 1
    (row,) = await archive.queue()
    assert (row["reason"], row["file_id"]) == ("orphan", file_id)
    assert await archive.sweep() == 0
    assert await archive.work() == 1
    assert sorted(archive.files) == sorted(foreign)


async def test_the_sweep_waits_for_every_node(archive: Archive, rudes: list[RudeNgas]) -> None:
    await orphan(archive)
    holder = next(rude for rude in rudes if rude.files)
    holder.faults.silent = True
    assert await archive.sweep() == 0
    assert await archive.site.value("select count(*) from attempt where swept is null") == 1
    holder.faults.silent = False
    await archive.site.query("update attempt set sweep_at = now()")
    assert await archive.sweep() == 1


async def test_the_sweep_leaves_alone_what_is_not_ours_or_in_use(archive: Archive) -> None:
    await orphan(archive)
    await archive.site.push(await archive.site.node(), NEW)
    await archive.site.query("update attempt set outcome = 'failed'")  # as no code of ours does
    orphaned = await archive.site.value("select file_id from attempt order by id limit 1")
    await archive.site.query(
        "update attempt set file_id = 'foreign' || id where file_id = $1", orphaned
    )
    assert await archive.sweep() == 0
    assert await archive.queue() == []


async def test_attempts_of_dead_servers_are_ended_and_swept_after(archive: Archive) -> None:
    node = await archive.site.node()
    job = archive.site.jobs[await archive.site.endpoint("PUT", node)]
    await archive.site.query(
        "insert into attempt (job_id, node_id, node_version, number, file_id, executor, lease)"
        " select $1, $2, 1, 1, value || '-dead', 'gone', now() - interval '1 s' from setting"
        " where name = 'space_id'",
        job,
        node,
    )
    assert await archive.sweep() == 0
    row = (await archive.site.query("select outcome, swept from attempt"))[0]
    assert row["outcome"] == "expired"
    assert row["swept"] is not None


async def test_after_a_restore_nothing_that_the_dump_knows_is_discarded(
    postgres: str, dsn: str, tmp_path: Path, rudes: list[RudeNgas]
) -> None:
    name = dsn.rpartition("/")[2]
    role = postgres_support.ROLE
    dump = f"dump_{name}"
    async with archive_at(dsn, tmp_path, rudes, delay=86_400) as archive:
        node, other = await archive.site.node(), await archive.site.node()
        await archive.site.push(node, OLD)
        await archive.site.push(other, OLD[:-1])
        assert await discards.work(archive.database, archive.federation) == 0
        orphaned = await archive.site.endpoint("PUT", await archive.site.node())
        await archive.site.query(
            "insert into attempt (job_id, node_id, node_version, number, file_id, executor, lease)"
            " select $1, $2, 1, 1, value || '-later', 'gone', now() from setting"
            " where name = 'space_id'",
            archive.site.jobs[orphaned],
            node,
        )
        prefix = await archive.site.value("select value from setting where name = 'space_id'")
    await postgres_support.administer(postgres, f"CREATE DATABASE {dump} TEMPLATE {name}")
    try:
        async with archive_at(dsn, tmp_path, rudes, delay=86_400, user=False) as archive:
            await archive.site.push(node, NEW)
            async with archive.database.transaction() as db:
                blobs = await branches.delete_one(db, other)
                await discards.release(db, blobs, "deleted", 86_400)
            # What was under way when the dump was made was committed after it.
            rudes[0].files[f"{prefix}-later"] = RudeFile(b"later", 1, "0", "crc32c")
            assert await discards.work(archive.database, archive.federation) == 0
        await postgres_support.administer(
            postgres,
            f"DROP DATABASE {name} WITH (FORCE)",
            f"CREATE DATABASE {name} TEMPLATE {dump} OWNER {role}",
        )
    finally:
        await postgres_support.administer(postgres, f"DROP DATABASE {dump} WITH (FORCE)")
    async with archive_at(dsn, tmp_path, rudes, user=False) as archive:
        assert (await archive.site.pull(node)).body == OLD
        assert (await archive.site.pull(other)).body == OLD[:-1]
        await archive.sweep()
        assert await archive.work() == 0
        assert not any(rude.commands("DISCARD") for rude in rudes)
        assert f"{prefix}-later" in archive.files
        async with archive.database.acquire() as db:
            assert (await discards.status(db)).halted
            await discards.accept(db)
            assert not (await discards.status(db)).halted
        await archive.sweep()
        await archive.work()
        assert (await archive.site.pull(node)).body == OLD
        assert (await archive.site.pull(other)).body == OLD[:-1]


async def test_the_queue_can_be_seen(archive: Archive) -> None:
    await replaced(archive)
    db = await connect(archive.site.dsn)
    try:
        status = await discards.status(db)
        assert (status.halted, status.counts.waiting, status.counts.failing) == (False, 1, 0)
        (row,) = await discards.listing(db, 10)
        assert (row.reason, row.last_error) == ("replaced", None)
    finally:
        await db.close()
