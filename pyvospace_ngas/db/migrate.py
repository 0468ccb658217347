"""Numbered migrations: they only add, run one at a time, and are never edited once released."""

import logging
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from pyvospace_ngas.db.connect import Connection, connect, transaction

log = logging.getLogger(__name__)

_LOCK: Final = 0x6E676173  # "ngas": the advisory lock that servers starting together wait for
_NAME: Final = re.compile(r"(\d{4})_\w+\.sql\Z")


class SchemaTooNew(Exception):
    """The database was migrated by a release that this one cannot work with."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``migrations/``. ``oldest`` is the lowest schema number a server must know."""

    number: int
    name: str
    sql: str

    @property
    def oldest(self) -> int:
        found = re.search(r"^-- oldest: (\d+)$", self.sql, re.MULTILINE)
        return int(found[1]) if found else max(self.number - 1, 1)


def released() -> list[Migration]:
    """Return all migrations of this release in order."""
    found = []
    for file in files("pyvospace_ngas.db").joinpath("migrations").iterdir():
        if match := _NAME.match(file.name):
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(dsn: str) -> None:
    """Bring the database up to this release; safe when several servers start at once.

    Raises `SchemaTooNew` when a newer release left a schema that asks for a newer server.
    """
    connection = await connect(dsn)
    try:
        await _migrate(connection)
    finally:
        await connection.close()


async def _migrate(connection: Connection) -> None:
    # Waiting for the other servers is expected here, however long their migration takes.
    await connection.execute("set lock_timeout = 0")
    await connection.execute("select pg_advisory_lock($1)", _LOCK)
    await connection.execute("set lock_timeout = '10s'")
    await connection.execute(
        """
        create table if not exists schema_migration (
            number  int primary key,
            name    text        not null,
            oldest  int         not null,
            applied timestamptz not null default now()
        )
        """
    )
    done = {row["number"] for row in await connection.fetch("select number from schema_migration")}
    oldest = await connection.fetchval("select coalesce(max(oldest), 0) from schema_migration")
    migrations = released()
    if oldest > migrations[-1].number:
        raise SchemaTooNew(
            f"the database needs a server that knows schema {oldest}; this one knows"
            f" {migrations[-1].number}: install the newer release"
        )
    for migration in migrations:
        if migration.number not in done:
            async with transaction(connection):
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into schema_migration (number, name, oldest) values ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.oldest,
                )
            log.info("applied migration %s", migration.name)
