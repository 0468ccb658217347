"""Servers that a module's clients use; the tests run in the loop that they run in."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import postgres_support
import pytest
import pytest_asyncio
import stack
from aiohttp import ClientSession, TCPConnector
from authority_support import certified
from stack import Caller, properties

HERE: Final = Path(__file__).parent
NUMBERS: Final = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests run in the loop that the servers run in."""
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@asynccontextmanager
async def database(postgres: str, template: str) -> AsyncIterator[str]:
    """A database of a module's own."""
    name, role = f"clients_{next(NUMBERS)}", postgres_support.ROLE
    await postgres_support.administer(
        postgres, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {role}"
    )
    yield postgres_support.database_of(postgres, name, role)
    await postgres_support.administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True, slots=True)
class Service:
    """Running servers, with alice and bob of the group team."""

    dsn: str
    alice: Caller

    @property
    def url(self) -> str:
        return self.alice.base


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """Servers without TLS, which CADC's authority is another name of."""
    folder = tmp_path_factory.mktemp("servers")
    async with database(postgres, template) as dsn:
        await stack.add_user(dsn, "alice", "team")
        await stack.add_user(dsn, "bob", "team")
        space = {"aliases": "cadc.nrc.ca~ngas"}
        async with (
            stack.whole_stack(dsn, folder, 1, space=space) as running,
            ClientSession() as http,
        ):
            alice = Caller(http, running.url, "alice")
            # Whoever may read something below it has to get there.
            await alice.set("/home/alice", properties(publicread="true"))
            yield Service(dsn, alice)


@dataclass(frozen=True, slots=True)
class Secure:
    """Servers with TLS, and what a client of them has: a token, and who signed the certificate."""

    alice: Caller
    token: str
    authority: Path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def secure(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Secure]:
    """Servers with TLS."""
    folder = tmp_path_factory.mktemp("secure")
    files = certified(folder / "tls")
    async with database(postgres, template) as dsn:
        await stack.add_user(dsn, "alice")
        await stack.add_user(dsn, "bob")
        async with (
            stack.whole_stack(
                dsn, folder / "servers", 1, space=files.keys, storage=files.keys
            ) as running,
            ClientSession(connector=TCPConnector(ssl=files.trusting())) as http,
        ):
            alice = Caller(http, running.url, "alice")
            token = json.loads((await alice.form("/tokens", "expires=1h")).text)["token"]
            yield Secure(alice, token, files.authority)
