"""Fixtures for every test: a PostgreSQL server for the session, a database for each test."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

import mount_support
import postgres_support
import pytest

from pyvospace_ngas.db.migrate import migrate

pytest_plugins = ("conformance.report",)  # the option --matrix

TEMPLATE: Final = "template_vospace"
NUMBERS: Final = itertools.count(1)


def pytest_configure() -> None:
    """Let SIGTERM end a run as Ctrl-C does: with every fixture's clean-up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A run in a shell's background ignores Ctrl-C, and so would programs that tests send it to.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A superuser's DSN of the database ``postgres`` on a server of the tests' own."""
    with postgres_support.server() as dsn:
        asyncio.run(postgres_support.make_role(dsn))
        yield dsn


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated database, made once; each test gets a clone of it."""
    postgres_support.run(postgres, f"CREATE DATABASE {TEMPLATE} OWNER {postgres_support.ROLE}")
    asyncio.run(migrate(postgres_support.database_of(postgres, TEMPLATE, postgres_support.ROLE)))
    return TEMPLATE


@pytest.fixture(scope="session")
def site(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[mount_support.Site]:
    """Servers as processes, for all tests of mounts that leave them as they are."""
    with mount_support.site(postgres, template, tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
async def empty_dsn(postgres: str) -> AsyncIterator[str]:
    """The DSN of an ordinary role that owns a new database without any table."""
    name = f"empty_{next(NUMBERS)}"
    role = postgres_support.ROLE
    await postgres_support.administer(postgres, f"CREATE DATABASE {name} OWNER {role}")
    yield postgres_support.database_of(postgres, name, role)
    await postgres_support.administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def dsn(postgres: str, template: str) -> AsyncIterator[str]:
    """The DSN of an ordinary role that owns a migrated database of this test's own."""
    name = f"test_{next(NUMBERS)}"
    role = postgres_support.ROLE
    await postgres_support.administer(
        postgres, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {role}"
    )
    yield postgres_support.database_of(postgres, name, role)
    await postgres_support.administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")
