"""Moves, copies and deletes of large trees: whole or not at all, and what an abort leaves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from stack import Caller, relocation
from waiting_support import until_true

from pyvospace_ngas.db.connect import Connection, connect

SIZES = [pytest.param(50, id="5,000"), pytest.param(1000, id="100,000", marks=pytest.mark.scale)]
DATA = b"the same bytes for all of them"
FILES = 100  # in each container


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before one archive node."""
    await stack.add_user(dsn, "alice")
    async with stack.whole_stack(dsn, tmp_path, nodes=1) as running, ClientSession() as http:
        yield Caller(http, running.url, "alice")


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Connection]:
    connection = await connect(dsn)
    yield connection
    await connection.close()


async def grow(alice: Caller, db: Connection, containers: int) -> None:
    """Make ``/home/alice/t`` with so many containers of files that share one file's bytes."""
    await alice.push("/home/alice/seed", DATA)
    await alice.make("/home/alice/t")
    async with db.transaction():
        await db.execute(
            """
            insert into node (parent_id, name, type, owner)
                 select id, 'c' || i, 4, 'alice' from node, generate_series(1, $1::int) i
                  where name = 't'
            """,
            containers,
        )
        await db.execute(
            """
            insert into node (parent_id, name, type, owner, length, md5, blob_id)
                 select c.id, 'f' || i, 1, 'alice', s.length, s.md5, s.blob_id
                   from node s, node t join node c on c.parent_id = t.id,
                        generate_series(1, $1::int) i
                  where s.name = 'seed' and t.name = 't'
            """,
            FILES,
        )
    await db.execute("analyze node")


async def count(db: Connection, name: str) -> int:
    """Return how many nodes hang at and below the child ``name`` of alice's home."""
    number: int = await db.fetchval(
        """
        with recursive tree as (
            select n.id from node n join node home on home.id = n.parent_id
             where home.name = 'alice' and n.name = $1
             union all
            select n.id from tree join node n on n.parent_id = tree.id
        ) select count(*) from tree
        """,
        name,
    )
    return number


@pytest.mark.row("MOV-03", "CPY-02", "DEL-02")
@pytest.mark.parametrize("containers", SIZES)
async def test_a_large_tree_is_moved_copied_and_deleted_whole(
    alice: Caller, db: Connection, containers: int
) -> None:
    await grow(alice, db, containers)
    whole = 1 + containers * (1 + FILES)
    assert await count(db, "t") == whole
    _, moved = await alice.run(relocation("/home/alice/t", "/home/alice/m", keep=False))
    assert "COMPLETED" in moved.text
    assert (await count(db, "t"), await count(db, "m")) == (0, whole)
    copying = asyncio.create_task(
        alice.run(relocation("/home/alice/m", "/home/alice/c", keep=True), wait=60)
    )
    seen = set()
    while not copying.done():
        seen.add(await count(db, "c"))
    assert "COMPLETED" in (await copying)[1].text
    assert seen <= {0, whole}
    assert await count(db, "c") == whole
    assert (await alice.pull(f"/home/alice/c/c{containers}/f{FILES}")).body == DATA
    assert await db.fetchval("select count(*) from blob") == 1
    assert (await alice.delete("/nodes/home/alice/m")).status == 204
    assert (await alice.get("/nodes/home/alice/m")).status == 404
    assert (await alice.pull("/home/alice/c/c1/f1")).body == DATA


@pytest.mark.parametrize("containers", SIZES)
async def test_an_aborted_copy_leaves_nothing(
    alice: Caller, db: Connection, containers: int
) -> None:
    await grow(alice, db, containers)
    made = await alice.request(
        "POST", "/transfers?PHASE=RUN", relocation("/home/alice/t", "/home/alice/c", keep=True)
    )

    async def executing() -> bool:
        return (await alice.get(f"{made.location}/phase")).text != "QUEUED"

    await until_true(executing)
    aborted = await alice.form(f"{made.location}/phase", "PHASE=ABORT")
    phase = (await alice.get(f"{made.location}/phase")).text
    if aborted.status == 303:
        assert phase == "ABORTED"
        assert await count(db, "c") == 0
        assert (await alice.get("/nodes/home/alice/c")).status == 404
    else:  # the copy was faster: then it is there, all of it
        assert (aborted.status, phase) == (403, "COMPLETED")
        assert await count(db, "c") == await count(db, "t")
    assert await db.fetchval("select count(*) from node where parent_id = -2") == 0
