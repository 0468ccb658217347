"""The index on a PostgreSQL server, for a cluster of nodes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

import asyncpg

from pyvospace_ngas.archive import schema
from pyvospace_ngas.archive.steps import (
    MEMBERS,
    PAGE,
    DatabaseError,
    Lock,
    Many,
    NotThereYet,
    Result,
    Row,
    Script,
    Statement,
    Step,
)

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

Session: TypeAlias = "Connection | asyncpg.Connection[asyncpg.Record]"

LATE: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
)
ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
LOST: Final = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the goodbye was there, the end of the connection was not
)
FIRST_LOCK: Final = 0x4E474153  # "NGAS": guards the making of the tables


class Postgres:
    """A server; for a cluster of nodes on several machines."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, dsn: str, *, connections: int, durable: bool, session_sql: Sequence[str] = ()
    ) -> Postgres:
        """Connect and make the tables, one node at a time."""
        settings = {"application_name": "ngas_node", "lock_timeout": "30s"}
        if not durable:
            settings["synchronous_commit"] = "off"
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=connections,
                timeout=10,
                server_settings=settings,
                init=functools.partial(_begin_session, session_sql),
                reset=functools.partial(_reset_session, session_sql),
            )
        except LATE as error:
            raise NotThereYet(f"the index cannot be reached yet: {_kind(error)}") from error
        except (*ERRORS, ValueError) as error:
            raise DatabaseError(f"the index cannot be reached: {_kind(error)}") from error
        database = cls(pool)
        try:
            await database.run(_make_postgres())
        except DatabaseError:
            await database.close()
            raise
        return database

    async def run(self, script: Script[Result]) -> Result:
        try:
            async with AsyncExitStack() as stack:
                connection = await self._begin(stack)
                return await _drive_postgres(script, connection)
        except ERRORS as error:
            raise DatabaseError(f"the index refused: {_kind(error)}") from error

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        text = _for_postgres(sql)
        try:
            try:
                found = await self._pool.fetch(text, *arguments)
            except LOST:
                await self._pool.expire_connections()
                found = await self._pool.fetch(text, *arguments)
        except ERRORS as error:
            raise DatabaseError(f"the index refused: {_kind(error)}") from error
        return [tuple(row) for row in found]

    async def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        try:
            async with AsyncExitStack() as stack:
                connection = await self._begin(stack)
                cursor = await connection.cursor(_for_postgres(sql), *arguments)
                while page := await cursor.fetch(PAGE):
                    yield [tuple(row) for row in page]
        except ERRORS as error:
            raise DatabaseError(f"the index refused: {_kind(error)}") from error

    async def _begin(self, stack: AsyncExitStack) -> Connection:
        """Begin a transaction; a connection that was lost while it lay idle is replaced.

        That is safe only here: nothing was done yet.
        """
        for last in (False, True):
            async with AsyncExitStack() as own:
                connection = await own.enter_async_context(self._pool.acquire())
                try:
                    await own.enter_async_context(connection.transaction())
                except LOST:
                    if last:
                        raise
                    await self._pool.expire_connections()
                    continue
                await stack.enter_async_context(own.pop_all())
                return connection
        raise AssertionError("the loop returns or raises")

    look_up = fetch

    async def close(self) -> None:
        await self._pool.close()


async def _begin_session(session_sql: Sequence[str], connection: Session) -> None:
    try:
        for statement in session_sql:
            await connection.execute(statement)
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"Db/SessionSql: PostgreSQL refused it: {error}") from error


async def _reset_session(session_sql: Sequence[str], connection: Session) -> None:
    """Do what a pool does with a connection that comes back, then what that has undone."""
    await connection.execute(connection.get_reset_query())
    await _begin_session(session_sql, connection)


def _kind(error: Exception) -> str:
    """Name the error without its text, which may quote the DSN."""
    return type(error).__name__


async def _drive_postgres(script: Script[Result], connection: Connection) -> Result:
    rows: list[Row] | None = None
    try:
        while True:
            step = next(script) if rows is None else script.send(rows)
            rows = await _step_postgres(connection, step)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the generator's own type says it


async def _step_postgres(connection: Connection, step: Step) -> list[Row]:
    match step:
        case Statement(sql, arguments):
            return [tuple(row) for row in await connection.fetch(_for_postgres(sql), *arguments)]
        case Many(sql, rows):
            await connection.executemany(sql, rows)
            return []
        case Lock(names):
            keys = sorted({_key(name) for name in names})  # one order, or two would deadlock
            await connection.execute(
                "select pg_advisory_xact_lock(key) from unnest($1::bigint[]) as key", keys
            )
            return []


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@functools.cache
def _for_postgres(sql: str) -> str:
    return MEMBERS.sub(r"= any($\1)", sql)


def _make_postgres() -> Script[None]:
    yield Statement("select pg_advisory_xact_lock($1)", (FIRST_LOCK,))
    for statement in schema.statements():
        yield Statement(statement)
