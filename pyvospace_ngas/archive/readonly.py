"""The index for who only looks: nothing is made, locked or changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

import asyncpg

from pyvospace_ngas.archive.settings.serving import Db
from pyvospace_ngas.archive.steps import DatabaseError, Row

Fetch: TypeAlias = Callable[..., Awaitable[list[Row]]]  # of a statement and its arguments

CONNECT_SECONDS: Final = 10.0


@asynccontextmanager
async def opened(settings: Db) -> AsyncIterator[Fetch]:
    """Open an index that is there; everything that fails is a `DatabaseError`."""
    opener = _sqlite if settings.interface == "sqlite3" else _postgres
    try:
        async with opener(settings) as fetch:
            yield fetch
    except sqlite3.Error as error:
        raise DatabaseError(f"the index {settings.location} cannot be read: {error}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        # The text of the error may quote the DSN with its password.
        raise DatabaseError(f"the index cannot be read: {type(error).__name__}") from error


@asynccontextmanager
async def _sqlite(settings: Db) -> AsyncIterator[Fetch]:
    address = await asyncio.to_thread(_address, settings.location)
    with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:

        def fetch(sql: str, arguments: tuple[object, ...]) -> list[Row]:
            values = {str(number): value for number, value in enumerate(arguments, 1)}
            return connection.execute(sql, values).fetchall()

        yield lambda sql, *arguments: asyncio.to_thread(fetch, sql, arguments)


def _address(path: str) -> str:
    # Without a log of writes nobody has the file open, and reading it needs no files beside it.
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    return f"file:{quote(path)}?{mode}"


@asynccontextmanager
async def _postgres(settings: Db) -> AsyncIterator[Fetch]:
    only_read = {"default_transaction_read_only": "on", "application_name": "ngas_node check"}
    connection = await asyncpg.connect(
        settings.location, timeout=CONNECT_SECONDS, server_settings=only_read
    )
    try:
        for statement in settings.session_sql:
            await connection.execute(statement)

        async def fetch(sql: str, *arguments: object) -> list[Row]:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]

        yield fetch
    finally:
        await connection.close()
