"""What a database is asked to do, as values; and the small interface of the two there are.

A transaction is written once, as a generator that yields steps and is sent their rows; each
database runs it in its own way: SQLite in a thread, PostgreSQL on the loop.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

Row = Sequence[Any]  # what a driver gives; `index` makes values of it
Result = TypeVar("Result")

PAGE: Final = 500  # rows that are in memory of what may be long
MEMBERS: Final = re.compile(r"in @(\d)")


class DatabaseError(Exception):
    """The database did not do what was asked; nothing is known about a commit under way."""


class NotThereYet(DatabaseError):
    """The database does not answer, but may soon: it is starting, or about to be made."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Parameters are ``$1``, ``$2``...; ``in @1`` takes a list."""

    sql: str
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Many:
    """One statement for each of many rows."""

    sql: str
    rows: Sequence[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Lock:
    """Be alone with these names until the end of the transaction.

    It is a step of its own so that the statements after it see what the last holder wrote.
    """

    names: Sequence[str]


Step = Statement | Many | Lock
Script = Generator[Step, list[Row], Result]


class Database(Protocol):
    """What the index needs of a database."""

    async def run(self, script: Script[Result]) -> Result:
        """Run a script in one transaction that is durable when this returns."""

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        """Read; what may take long."""

    def pages(self, sql: str, *arguments: object) -> AsyncGenerator[list[Row]]:
        """Read as of one moment, ``PAGE`` rows at a time, the last of them fewer (or none)."""

    async def look_up(self, sql: str, *arguments: object) -> list[Row]:
        """Read a few rows by a key."""

    async def close(self) -> None:
        """Let go of everything."""
