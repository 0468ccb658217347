"""Opening the index that a configuration names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pyvospace_ngas.archive.postgres import Postgres
from pyvospace_ngas.archive.settings.serving import Db
from pyvospace_ngas.archive.sqlite import Sqlite
from pyvospace_ngas.archive.steps import Database


@asynccontextmanager
async def opened(settings: Db) -> AsyncIterator[Database]:
    """Open the index, with its tables made where they are missing."""
    database: Database
    if settings.interface == "sqlite3":
        database = await Sqlite.open(
            Path(settings.location), durable=settings.durable, session_sql=settings.session_sql
        )
    else:
        database = await Postgres.open(
            settings.location,
            connections=settings.connections,
            durable=settings.durable,
            session_sql=settings.session_sql,
        )
    try:
        yield database
    finally:
        await database.close()
