"""One world of running servers for the whole matrix; a container of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import postgres_support
import pytest
import pytest_asyncio

from conformance.world import Witness, World, new_container, world

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests run in the loop that the servers run in."""
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def running(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The servers that all rows are asked of."""
    name, role = "conformance", postgres_support.ROLE
    await postgres_support.administer(
        postgres, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {role}"
    )
    dsn = postgres_support.database_of(postgres, name, role)
    async with world(dsn, tmp_path_factory.mktemp("conformance")) as servers:
        yield servers
    await postgres_support.administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def alice(running: World) -> Witness:
    """The person who asks: an ordinary user."""
    return running.person("alice")


@pytest_asyncio.fixture(loop_scope="session")
async def home(alice: Witness) -> str:
    """The path of a container of alice's, private and empty."""
    return await new_container(alice)
