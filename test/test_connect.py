"""The list of connections: bounded, fair, and none of them lost or lent twice."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from lossy_proxy import lossy
from ports import free_port
from postgres_support import administer
from waiting_support import until

from pyvospace_ngas.db.connect import Database, transaction
from pyvospace_ngas.errors import InternalFault, ServiceUnavailable


async def test_no_more_connections_are_open_than_allowed(dsn: str) -> None:
    most = now = 0
    all_open = asyncio.Event()

    async def use() -> int:
        nonlocal most, now
        async with database.acquire() as db:
            now += 1
            most = max(most, now)
            if now == 3:
                all_open.set()
            await all_open.wait()
            found: int = await db.fetchval("select 1")
            now -= 1
        return found

    async with Database(dsn, 3) as database:
        assert await asyncio.gather(*(use() for _ in range(50))) == [1] * 50
    assert most == 3


async def test_a_caller_that_gives_up_waiting_costs_nobody_a_turn(dsn: str) -> None:
    async with Database(dsn, 1) as database:
        async with database.acquire():
            waiting = [asyncio.create_task(_use(database)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [1, 1]


async def test_a_cancelled_query_does_not_spoil_the_next(dsn: str) -> None:
    async with Database(dsn, 1) as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.acquire() as db:
                await db.execute("select pg_sleep(20)")
        assert await _use(database) == 1


async def test_a_connection_that_dies_inside_a_transaction_is_said_plainly(dsn: str) -> None:
    async def lose(database: Database, other: asyncpg.Connection, turns: int) -> None:
        async with database.transaction() as db:
            await other.execute("select pg_terminate_backend($1)", db.get_server_pid())
            for _ in range(turns):  # what is told of it comes in parts
                await asyncio.sleep(0)
            await db.execute("select 1")

    other = await asyncpg.connect(dsn)
    async with Database(dsn, 1) as database:
        for turns in [*range(8)] * 8:
            with pytest.raises(ServiceUnavailable):
                await lose(database, other, turns)
            assert await _use(database) == 1
    await other.close()


async def test_a_part_of_a_transaction_is_undone_by_itself(dsn: str) -> None:
    async with Database(dsn, 1) as database:
        async with database.transaction("create table kept (word text)") as db:
            async with transaction(db):
                await db.execute("insert into kept values ('first')")
            with suppress(asyncpg.DivisionByZeroError):
                async with transaction(db, "insert into kept values ('second')"):
                    async with transaction(db):
                        await db.execute("insert into kept values ('third')")
                    await db.execute("select 1 / 0")
            async with transaction(db):
                await db.execute("insert into kept values ('last')")
        async with database.acquire() as db:
            assert [row[0] for row in await db.fetch("select word from kept")] == ["first", "last"]
            assert not db.is_in_transaction()


async def test_a_transaction_that_cannot_begin_leaves_its_connection_good(dsn: str) -> None:
    async with Database(dsn, 1) as database:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.transaction("select 1 / 0"):
                pytest.fail("it had not begun")
        async with database.transaction() as db:
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with transaction(db, "select 1 / 0"):
                    pytest.fail("it had not begun")
            await db.execute("create table kept ()")
        async with database.acquire() as db:
            assert await db.fetchval("select count(*) from kept") == 0


async def test_an_overlooked_error_is_not_taken_for_a_commit(dsn: str) -> None:
    async def overlook(database: Database) -> None:
        async with database.transaction() as db:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await db.execute("select 1 / 0")

    async with Database(dsn, 1) as database:
        with pytest.raises(InternalFault, match="overlooked"):
            await overlook(database)
        assert await _use(database) == 1


async def test_a_database_that_is_not_there_is_said_plainly(dsn: str) -> None:
    async with Database(dsn.rpartition("/")[0] + "/nowhere", 1) as database:
        with pytest.raises((ServiceUnavailable, asyncpg.InvalidCatalogNameError)):
            await _use(database)
    async with Database("postgres://nobody:secret@127.0.0.1:9/x", 1) as database:
        with pytest.raises(ServiceUnavailable) as caught:
            await _use(database)
    assert "secret" not in str(caught.value)


async def test_a_server_that_comes_up_late_is_waited_for_with_a_message(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    through = f"{dsn.rpartition('@')[0]}@127.0.0.1:{port}/{dsn.rpartition('/')[2]}"
    async with Database(through, 1) as database:
        waiting = asyncio.create_task(database.wait_until_ready(patience=0))
        await until(lambda: "waiting for the database: ConnectionRefused" in caplog.text)
        async with lossy(dsn, port):
            await waiting
            assert await _use(database) == 1


async def test_a_role_and_a_database_that_are_made_late_are_waited_for(
    postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    dsn = f"postgres://latecomer:pw@{postgres.rpartition('@')[2].rpartition('/')[0]}/late"
    async with Database(dsn, 1) as database:
        waiting = asyncio.create_task(database.wait_until_ready())
        try:
            await until(lambda: "authentication failed" in caplog.text)
            await administer(postgres, "CREATE ROLE latecomer LOGIN PASSWORD 'pw'")
            await until(lambda: '"late" does not exist' in caplog.text)
            await administer(postgres, "CREATE DATABASE late OWNER latecomer")
            await waiting
            assert await _use(database) == 1
        finally:
            waiting.cancel()
            await administer(
                postgres,
                "DROP DATABASE IF EXISTS late WITH (FORCE)",
                "DROP ROLE IF EXISTS latecomer",
            )
    assert "pw@" not in caplog.text


async def test_a_log_in_that_stays_refused_is_an_error_in_the_end(dsn: str) -> None:
    wrong = f"postgres://nobody:secret@{dsn.rpartition('@')[2]}"
    async with Database(wrong, 1) as database:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await database.wait_until_ready(patience=0.1)


async def _use(database: Database) -> int:
    async with database.acquire() as db:
        found: int = await db.fetchval("select 1")
        return found
