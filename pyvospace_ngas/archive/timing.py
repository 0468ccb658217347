"""How long the index takes, for STATUS?db_time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from pyvospace_ngas.archive.steps import Database, Result, Row, Script


class Timed:
    """A database that counts the seconds which were spent waiting for it."""

    def __init__(self, database: Database) -> None:
        self.seconds = 0.0
        self._database = database

    async def run(self, script: Script[Result]) -> Result:
        with self._measured():
            return await self._database.run(script)

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        with self._measured():
            return await self._database.fetch(sql, *arguments)

    async def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        async with aclosing(self._database.pages(sql, *arguments)) as pages:
            async for page in pages:  # what its reader does in between is not the index's time
                yield page

    async def look_up(self, sql: str, *arguments: object) -> list[Row]:
        with self._measured():
            return await self._database.look_up(sql, *arguments)

    async def close(self) -> None:
        await self._database.close()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
