"""Moves, copies, deletes and purges that meet at one node: races, held open at their worst moment.

A transaction of the test holds the row at which the operation has to wait.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import Cluster, cluster, query
from stack import Caller, relocation
from test_crashes import archive_of
from waiting_support import PATIENCE, until_true

from pyvospace_ngas.db import branches
from pyvospace_ngas.db.connect import Connection, Database, connect
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.transfer import Transfer
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.ops import discards, jobs, nodes, purge
from pyvospace_ngas.ops import relocation as moving

ROOT = Identity("root", admin=True)
FILE = "f" * 32


def path(text: str) -> NodePath:
    return NodePath(tuple(text.strip("/").split("/")))


async def make(dsn: str, parent: int, name: str, kind: int = 4, blob: int | None = None) -> int:
    """Make a node; return its id."""
    rows = await query(
        dsn,
        "insert into node (parent_id, name, type, owner, blob_id, length, md5)"
        " values ($1, $2, $3::smallint, 'root', $4::bigint,"
        " case when $4 is null then 0 else 9 end, case when $3::smallint = 2 then $5 end)"
        " returning id",
        parent,
        name,
        kind,
        blob,
        "0" * 32,
    )
    return int(rows[0][0])


async def make_blob(dsn: str) -> int:
    rows = await query(dsn, "insert into blob (length, md5) values (9, $1) returning id", "0" * 32)
    await query(dsn, "insert into part (blob_id, seq, length) values ($1, 0, 9)", rows[0][0])
    await query(
        dsn,
        "insert into copy (blob_id, seq, file_id, entry, host_id, disk_id, version)"
        " values ($1, 0, $2, 'h:1', 'h', 'd', 1)",
        rows[0][0],
        FILE,
    )
    return int(rows[0][0])


@asynccontextmanager
async def held(dsn: str, table: str, row: int) -> AsyncIterator[Connection]:
    """Hold a row as whoever is about to change it does."""
    db = await connect(dsn)
    try:
        async with db.transaction():
            await db.execute(f"select id from {table} where id = $1 for update", row)
            yield db
    finally:
        await db.close()


async def waiting(dsn: str) -> int:
    """Return how many wait for a lock in this database."""
    waits = "datname = current_database() and wait_event_type = 'Lock'"
    return len(await query(dsn, f"select 1 from pg_stat_activity where {waits}"))


async def is_waiting(dsn: str) -> bool:
    return await waiting(dsn) > 0


async def is_over_or_waits(dsn: str, work: "asyncio.Task[str]") -> bool:
    """Tell whether ``work`` has ended, or is one of two that wait."""
    return work.done() or await waiting(dsn) > 1


async def outcome(work: Awaitable[object]) -> str:
    """Return the name of the fault that ``work`` ends in, or an empty text."""
    try:
        await work
    except VOSpaceError as error:
        return error.fault()
    return ""


async def move(dsn: str, source: str, destination: str) -> None:
    async with Database(dsn) as database, database.transaction(branches.ALONE) as db:
        await moving.move(db, ROOT, path(source), moving.Aim(path(destination)), 100)


async def copy(dsn: str, source: str, destination: str) -> None:
    async with Database(dsn) as database, database.transaction() as db:
        await moving.copy(db, ROOT, path(source), moving.Aim(path(destination)))


async def delete(dsn: str, source: str) -> None:
    async with Database(dsn) as database, database.acquire() as db:
        await nodes.delete_node(db, ROOT, path(source), 100)


async def exists(dsn: str, where: str) -> bool:
    async with Database(dsn) as database, database.acquire() as db:
        return not await outcome(nodes.get_node(db, ROOT, path(where)))


async def purge_all(dsn: str) -> None:
    async with Database(dsn) as database:
        while await purge.purge_oldest(database, 0, 0):
            pass


async def test_of_a_move_and_a_delete_of_one_file_one_is_done(dsn: str) -> None:
    """Else it is moved out of the trash, whose purge takes it with all written to it since."""
    goal = await make(dsn, 0, "goal")
    await make(dsn, 0, "f", 2)
    async with held(dsn, "node", goal):
        work = asyncio.create_task(outcome(move(dsn, "/f", "/goal/f")))
        await until_true(lambda: is_waiting(dsn))
        deleting = asyncio.create_task(outcome(delete(dsn, "/f")))
        await until_true(lambda: is_over_or_waits(dsn, deleting))
    moved, deleted = await asyncio.gather(work, deleting)
    await purge_all(dsn)

    assert sorted((moved, deleted)) == ["", "NodeNotFound"]
    assert await exists(dsn, "/goal/f") == (moved == "")


async def move_at_once(dsn: str, source: str, destination: str) -> bool:
    """Tell whether a move was done that waits for nothing but other moves."""
    uris = Space("example.org!vospace")
    document = Transfer(uris.uri(path(source)), uris.uri(path(destination)), keep_bytes=False)
    job = jobs.new(ROOT, document, "<transfer/>", None, uris)
    async with Database(dsn) as database, database.acquire() as db:
        aim = moving.Aim(path(destination))
        return await moving.move_at_once(db, ROOT, path(source), aim, job, uris) is not None


@pytest.mark.parametrize(
    ("changed", "change"),
    [
        ("origin", "parent_id = -1, name = id::text"),
        ("origin", "name = 'elsewhere'"),
        ("goal", "parent_id = -1, name = id::text"),
        ("goal", "name = 'elsewhere'"),
        ("goal", "owner = 'somebody'"),
        ("around", "group_read = 'ivo://example.org/some'"),
        ("f", "name = 'g'"),
        ("beside", "name = 'f'"),
        ("beside", "name = 'another'"),
    ],
)
async def test_a_move_at_once_is_done_to_what_it_has_seen_or_not_at_all(
    dsn: str, changed: str, change: str
) -> None:
    around = await make(dsn, 0, "around")
    origin, goal = await make(dsn, around, "origin"), await make(dsn, around, "goal")
    file = await make(dsn, origin, "f", 2)
    await make(dsn, goal, "beside", 2)
    db = await connect(dsn)
    async with db.transaction():
        await db.execute(branches.ALONE)
        work = asyncio.create_task(
            outcome(move_at_once(dsn, "/around/origin/f", "/around/goal/f"))
        )
        await until_true(lambda: is_waiting(dsn))
        await db.execute(
            f"update node set {change}, version = version + 1 where name = $1", changed
        )
    await db.close()
    fault = await work

    (parent,) = (await query(dsn, "select parent_id from node where id = $1", file))[0]
    stored = await query(dsn, "select phase from job")
    if change == "name = 'another'":  # what is beside is nobody's concern
        assert (fault, parent, [tuple(row) for row in stored]) == ("", goal, [("COMPLETED",)])
    else:
        assert (parent, stored) == (origin, [])
        assert fault == ("DuplicateNode" if change == "name = 'f'" else "")


async def test_a_job_that_empties_a_container_does_not_meet_a_move_out_of_it(dsn: str) -> None:
    """The same for what detaches a file without waiting for moves."""
    goal = await make(dsn, 0, "goal")
    file = await make(dsn, 0, "f", 2)
    async with held(dsn, "node", goal):
        work = asyncio.create_task(outcome(move(dsn, "/f", "/goal/f")))
        await until_true(lambda: is_waiting(dsn))
        await query(dsn, "update node set parent_id = -1, name = id::text where id = $1", file)
        await query(
            dsn,
            "insert into trash (node_id, parent_id, path, name) values ($1, 0, '/f', 'f')",
            file,
        )
    moved = await work

    assert moved == "NodeNotFound"
    assert not await exists(dsn, "/goal/f")


@pytest.mark.parametrize("kind", [2, 4])
async def test_a_copy_of_what_was_purged_meanwhile_is_refused(dsn: str, kind: int) -> None:
    """Neither an empty success nor the half of a tree that the purge had left."""
    blob = await make_blob(dsn)
    source = await make(dsn, 0, "source", kind, blob if kind == 2 else None)
    if kind == 4:
        await make(dsn, source, "f", 2, blob)
        await make(dsn, source, "g", 2)
    async with held(dsn, "blob", blob) as releasing:
        copying = asyncio.create_task(outcome(copy(dsn, "/source", "/copy")))
        await until_true(lambda: is_waiting(dsn))
        await delete(dsn, "/source")
        await releasing.execute("delete from node where blob_id = $1", blob)  # as a purge does
        await releasing.execute("delete from blob where id = $1", blob)
    copied = await copying

    assert copied == "NodeNotFound"
    assert not await exists(dsn, "/copy")
    assert await query(dsn, "select id from node where parent_id = -2") == []


async def test_a_copy_of_bytes_that_are_replaced_meanwhile_has_the_new_ones(dsn: str) -> None:
    old, new = await make_blob(dsn), None
    source = await make(dsn, 0, "source")
    node = await make(dsn, source, "f", 2, old)
    async with held(dsn, "blob", old) as releasing:
        copying = asyncio.create_task(outcome(copy(dsn, "/source", "/copy")))
        await until_true(lambda: is_waiting(dsn))
        new = await releasing.fetchval(
            "insert into blob (length, md5) values (9, $1) returning id", "1" * 32
        )
        await releasing.execute("update node set blob_id = $2 where id = $1", node, new)
        await releasing.execute("delete from blob where id = $1", old)
    copied = await copying

    assert copied == ""
    rows = await query(dsn, "select blob_id from node where name = 'f'")
    assert [row[0] for row in rows] == [new, new]


@dataclass(slots=True)
class Jugglers:
    """Clients that overwrite a file, and copy it, and delete copies, all the time."""

    site: Cluster
    made: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def caller(self) -> Caller:
        return self.site.caller("alice")

    async def overwrite(self) -> None:
        version = 0
        while not self.over.is_set():
            version += 1
            answer = await self.caller.push("/home/alice/d/f", b"version %d" % version)
            assert answer.status == 201, self.site.storages[0].said

    async def discard(self) -> None:
        async with archive_of(self.site) as (database, federation):
            while not self.over.is_set():
                await discards.work(database, federation, absent_apart=0)

    async def copy_and_delete(self, number: int) -> None:
        round_, mine = 0, 0
        while mine < 8:
            round_ += 1
            goal = f"/home/alice/c{number}-{round_}"
            if not await self.copied("/home/alice/d" if round_ % 3 else "/home/alice/d/f", goal):
                continue
            mine += 1
            self.made.append(f"{goal}/f" if round_ % 3 else goal)
            if mine % 4 == 3:
                gone = self.made.pop(0)
                assert (await self.caller.delete(f"/nodes{gone}")).status == 204

    async def copied(self, source: str, goal: str) -> bool:
        """Tell whether a copy was made: a file that is written just now cannot be copied."""
        answer = await self.caller.sync(relocation(source, goal, keep=True))
        if answer.status == 503:  # it was replaced again and again while it was copied
            return False
        job = await self.caller.get(answer.location.partition("/results")[0])
        assert "COMPLETED" in job.text or "Node Busy" in job.text, job.text
        return "COMPLETED" in job.text


async def test_copies_of_what_is_overwritten_and_deleted_all_the_time_keep_their_bytes(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    """With a janitor that discards at once whatever it may: one lost race is one lost file."""
    async with cluster(dsn, empty_dsn, tmp_path, storage={"discard_delay": "0"}) as site:
        jugglers = Jugglers(site)
        await jugglers.caller.make("/home/alice/d")
        await jugglers.caller.push("/home/alice/d/f", b"version 0")
        work = [asyncio.create_task(jugglers.overwrite()), asyncio.create_task(jugglers.discard())]
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*[jugglers.copy_and_delete(number) for number in range(4)])
        finally:
            jugglers.over.set()
            await asyncio.wait(work)
        await asyncio.gather(*work)

        assert len(jugglers.made) == 4 * (8 - 2)
        for copy_ in jugglers.made:
            assert (await jugglers.caller.pull(copy_)).text.startswith("version "), copy_
        for process in (*site.spaces, *site.storages, *site.nodes):
            assert "Traceback" not in process.said, process.said


async def test_who_loses_a_deadlock_is_told_to_come_again(dsn: str) -> None:
    """Locks are taken in one order, but for those that foreign keys and unique names take."""
    one, other = await make(dsn, 0, "one"), await make(dsn, 0, "other")
    async with Database(dsn) as database:

        async def cross(first: int, second: int, met: asyncio.Barrier) -> None:
            async with database.transaction() as db:
                await db.execute("select 1 from node where id = $1 for update", first)
                await met.wait()
                await db.execute("select 1 from node where id = $1 for update", second)

        met = asyncio.Barrier(2)
        outcomes = await asyncio.gather(
            outcome(cross(one, other, met)), outcome(cross(other, one, met))
        )
        again = await outcome(cross(one, other, asyncio.Barrier(1)))

    assert sorted(outcomes) == ["", "ServiceUnavailable"]
    assert again == ""
