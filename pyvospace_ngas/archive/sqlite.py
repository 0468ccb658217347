"""The index in a file: one thread writes, a few read."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import json
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import schema
from pyvospace_ngas.archive.steps import (
    MEMBERS,
    PAGE,
    DatabaseError,
    Lock,
    Many,
    Result,
    Row,
    Script,
    Statement,
    Step,
)

BUSY_SECONDS: Final = 30.0
READERS: Final = 4


class Sqlite:
    """A file. One thread writes, a few read; on the loop only what is found by a key."""

    def __init__(self, path: Path, *, durable: bool, session_sql: Sequence[str] = ()) -> None:
        self._path = path
        self._session_sql = session_sql
        self._durable = durable
        self._writing = ThreadPoolExecutor(1, "index-write")
        self._reading = ThreadPoolExecutor(READERS, "index-read")
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._writer = self._connect()
        self._here = self._connect(busy=0.0)

    @classmethod
    async def open(cls, path: Path, *, durable: bool, session_sql: Sequence[str] = ()) -> Sqlite:
        """Open the file and make the tables, one node at a time."""
        try:
            await asyncio.to_thread(_make_sqlite, path)
            return cls(path, durable=durable, session_sql=session_sql)
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(f"the index {path} cannot be opened: {error}") from error

    async def run(self, script: Script[Result]) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writing, self._run, script)

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, self._fetch, sql, arguments)

    async def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(self._reading, self._connect)
        try:
            cursor = await loop.run_in_executor(
                self._reading, connection.execute, _for_sqlite(sql), _named(arguments)
            )
            while page := await loop.run_in_executor(self._reading, cursor.fetchmany, PAGE):
                yield page
        except sqlite3.Error as error:
            raise DatabaseError(f"the index refused: {error}") from error
        finally:
            self._opened.remove(connection)
            await asyncio.to_thread(connection.close)

    async def look_up(self, sql: str, *arguments: object) -> list[Row]:
        try:
            # A page or two, mostly cached: a thread would cost several times the look-up.
            return _execute(self._here, sql, arguments)
        except sqlite3.OperationalError:  # busy: wait for it, but not here
            return await self.fetch(sql, *arguments)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _connect(self, busy: float = BUSY_SECONDS) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=busy, isolation_level=None, check_same_thread=False
        )
        level = "full" if self._durable else "off"
        connection.execute(f"pragma synchronous = {level}")
        for statement in self._session_sql:
            try:
                connection.execute(statement)
            except sqlite3.Error as error:
                connection.close()
                raise DatabaseError(f"Db/SessionSql: SQLite refused it: {error}") from error
        self._opened.append(connection)
        return connection

    def _run(self, script: Script[Result]) -> Result:
        connection = self._writer
        try:
            connection.execute("begin immediate")
            try:
                result = _drive(script, functools.partial(_take_step, connection))
                connection.execute("commit")
            finally:
                if connection.in_transaction:
                    connection.execute("rollback")
        except sqlite3.Error as error:
            raise DatabaseError(f"the index refused: {error}") from error
        return result

    def _fetch(self, sql: str, arguments: tuple[object, ...]) -> list[Row]:
        if not hasattr(self._readers, "connection"):
            self._readers.connection = self._connect()
        try:
            return _execute(self._readers.connection, sql, arguments)
        except sqlite3.Error as error:
            raise DatabaseError(f"the index refused: {error}") from error

    def _close(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in self._opened:
            connection.close()


def _drive(script: Script[Result], take: Callable[[Step], list[Row]]) -> Result:
    try:
        step = next(script)
        while True:
            step = script.send(take(step))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the generator's own type says it


def _take_step(connection: sqlite3.Connection, step: Step) -> list[Row]:
    match step:
        case Statement(sql, arguments):
            return _execute(connection, sql, arguments)
        case Many(sql, rows):
            connection.executemany(sql, [_named(row) for row in rows])
            return []
        case Lock():
            return []  # "begin immediate" has locked the whole file


def _execute(connection: sqlite3.Connection, sql: str, arguments: tuple[object, ...]) -> list[Row]:
    return connection.execute(_for_sqlite(sql), _named(arguments)).fetchall()


def _named(arguments: tuple[object, ...]) -> dict[str, object]:
    """SQLite takes ``$1`` as the name of a parameter, and a list as a JSON document."""
    return {
        str(number): json.dumps(value) if isinstance(value, list) else value
        for number, value in enumerate(arguments, 1)
    }


@functools.cache
def _for_sqlite(sql: str) -> str:
    return MEMBERS.sub(r"in (select value from json_each($\1))", sql)


def _make_sqlite(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path), sqlite3.connect(path, timeout=BUSY_SECONDS) as connection:
        # Changing the journal's mode does not wait for others, hence the lock file.
        connection.execute("pragma journal_mode = wal")
        for statement in schema.statements():
            connection.execute(statement)
    connection.close()


@contextmanager
def _alone(path: Path) -> Generator[None]:
    with Path(f"{path}.lock").open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
