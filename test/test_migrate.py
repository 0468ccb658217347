"""The servers' own tables: made once, brought up to date, and refused when they are too new."""

import asyncio

import asyncpg
import pytest

from pyvospace_ngas.db.connect import Connection, connect
from pyvospace_ngas.db.migrate import Migration, SchemaTooNew, migrate, released

RECORD = "insert into schema_migration (number, name, oldest) values ($1, $2, $3)"


async def numbers(db: Connection) -> list[int]:
    rows = await db.fetch("select number from schema_migration order by number")
    return [row["number"] for row in rows]


async def release(dsn: str, migrations: list[Migration]) -> None:
    """Leave the database as an earlier release of ours left it."""
    db = await connect(dsn)
    await db.execute(
        "create table schema_migration (number int primary key, name text not null,"
        " oldest int not null, applied timestamptz not null default now())"
    )
    for migration in migrations:
        await db.execute(migration.sql)
        await db.execute(RECORD, migration.number, migration.name, migration.oldest)
    await db.close()


async def test_servers_that_start_together_make_the_tables_once(empty_dsn: str) -> None:
    await asyncio.gather(*(migrate(empty_dsn) for _ in range(8)))
    db = await connect(empty_dsn)
    assert await numbers(db) == [migration.number for migration in released()]
    assert await db.fetchval("select count(*) from node where parent_id is null") > 0
    await db.close()


async def test_the_tables_of_the_first_release_are_brought_up_to_date(
    empty_dsn: str, dsn: str
) -> None:
    await release(empty_dsn, released()[:1])
    first = await connect(empty_dsn)
    await first.execute("insert into account (name, password) values ('alice', 'a hash')")
    await first.close()
    await asyncio.gather(migrate(empty_dsn), migrate(empty_dsn))
    old, new = await connect(empty_dsn), await connect(dsn)
    assert await numbers(old) == [migration.number for migration in released()]
    assert await old.fetchval("select count(*) from account where name = 'alice'") == 1
    assert await columns(old) == await columns(new)
    await old.close()
    await new.close()


async def columns(db: Connection) -> list[tuple[str, ...]]:
    rows = await db.fetch(
        "select table_name, column_name, data_type from information_schema.columns"
        " where table_schema = 'public' order by 1, 2"
    )
    return [tuple(row) for row in rows]


async def test_a_newer_schema_that_still_knows_this_release_is_used(dsn: str) -> None:
    newest = released()[-1].number
    db = await connect(dsn)
    await db.execute(RECORD, newest + 1, "of the next release", newest)
    await migrate(dsn)
    assert await numbers(db) == [*(migration.number for migration in released()), newest + 1]
    await db.close()


async def test_a_schema_that_is_too_new_is_refused_and_left_alone(dsn: str) -> None:
    newest = released()[-1].number
    db = await connect(dsn)
    await db.execute(RECORD, newest + 2, "of a release far away", newest + 1)
    with pytest.raises(SchemaTooNew, match=f"knows {newest}: install the newer release"):
        await migrate(dsn)
    await db.close()


async def test_a_migration_that_fails_leaves_nothing_half_made(empty_dsn: str) -> None:
    db = await connect(empty_dsn)
    await db.execute("create table session (in_the_way int)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_dsn)
    assert await numbers(db) == []
    assert await db.fetchval("select to_regclass('node')") is None
    await db.execute("drop table session")
    await migrate(empty_dsn)
    assert await numbers(db) == [migration.number for migration in released()]
    await db.close()
