"""What answers at an address already: nothing, the server that should be there, or another."""

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from typing import Final

import aiohttp
import asyncpg

from pyvospace_ngas.cli import postgres
from pyvospace_ngas.cli.binaries import PostgresError
from pyvospace_ngas.cli.postgres import Target
from pyvospace_ngas.config import Listener
from pyvospace_ngas.ngas import status

SECONDS: Final = 5.0
LARGEST_ANSWER: Final = 2**20
VOSPACE: Final = b"ivo://ivoa.net/std/VOSpace"
HEALTH: Final = b'{"database":'


class Found(StrEnum):
    """What a look at an address found."""

    NOTHING = "nothing"
    OURS = "ours"
    ANOTHER = "another"


def address(host: str) -> str:
    """Return where to reach a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - that is the point


def url(host: str, port: int, use_ssl: bool = False) -> str:
    """Return the URL under which this machine reaches a server."""
    host = address(host)
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if use_ssl else 'http'}://{shown}:{port}"


def listener_url(listener: Listener) -> str:
    """Return the URL under which this machine reaches a server of ours."""
    return url(listener.host, listener.port, listener.use_ssl)


async def look(host: str, port: int, ours: Awaitable[bool]) -> Found:
    """Tell what listens at ``host`` and ``port``; ``ours`` tells whether it is what we expect."""
    expected = asyncio.ensure_future(ours)
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(address(host), port)
    except (OSError, TimeoutError):
        expected.cancel()
        return Found.NOTHING
    writer.close()
    return Found.OURS if await expected else Found.ANOTHER


async def fetch(where: str) -> tuple[int, bytes]:
    """GET a URL of this machine; status 0 when it does not answer in HTTP.

    Certificates are not checked: this asks whether a server runs, and tells it nothing.
    """
    limit = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(where, ssl=False, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.content.read(LARGEST_ANSWER)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return 0, b""


async def is_node(host: str, port: int) -> bool:
    """Tell whether an NGAS node answers."""
    return await node_state(host, port) is not None


async def node_is_online(host: str, port: int) -> bool:
    """Tell whether an NGAS node answers that it is ONLINE."""
    return await node_state(host, port) == "ONLINE"


async def node_state(host: str, port: int) -> str | None:
    """Return the state of an NGAS node, None when nothing answers as one."""
    _, body = await fetch(f"{url(host, port)}/STATUS")
    try:
        return status.parse(body).status.state
    except status.MalformedAnswer:
        return None


async def is_space(listener: Listener) -> bool:
    """Tell whether a VOSpace server answers."""
    code, body = await fetch(f"{listener_url(listener)}/vospace/capabilities")
    return code == 200 and VOSPACE in body


async def space_is_ready(listener: Listener) -> bool:
    """Tell whether our space server serves."""
    code, _ = await fetch(f"{listener_url(listener)}/vospace/availability")
    return code == 200


async def is_storage(listener: Listener) -> bool:
    """Tell whether a storage server of ours answers, with or without its database."""
    _, body = await fetch(f"{listener_url(listener)}/health")
    return body.startswith(HEALTH)


async def storage_is_ready(listener: Listener) -> bool:
    """Tell whether our storage server serves."""
    code, body = await fetch(f"{listener_url(listener)}/health")
    return code == 200 and body.startswith(HEALTH)


async def accepts(dsn: str, target: Target) -> bool:
    """Tell whether the server at the dsn lets us in; raise `PostgresError` when it will not."""
    try:
        await postgres.log_in(dsn)
    except postgres.REFUSED as error:
        raise PostgresError(
            f"a PostgreSQL answers at {target.host}:{target.port}, but not to the dsn: {error}"
        ) from error
    except (*postgres.NOT_YET, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
