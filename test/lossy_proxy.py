"""A way to PostgreSQL that loses a COMMIT, or the answer to one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass
class LossyProxy:
    """``lose`` is what the next COMMIT loses: nothing, itself, or its answer."""

    dsn: str
    lose: str = ""
    lost: int = 0


@asynccontextmanager
async def lossy(dsn: str, port: int = 0) -> AsyncIterator[LossyProxy]:
    """Stand between a client and the server of ``dsn``, at ``port`` if one is named."""
    target = urlsplit(dsn)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        upstream, server = await asyncio.open_connection(target.hostname, target.port)
        answers = asyncio.create_task(_copy(upstream, writer))
        try:
            while data := await reader.read(65536):
                if proxy.lose and b"commit\0" in data:
                    await _lose(data, server, answers)
                    break
                server.write(data)
                await server.drain()
        finally:
            answers.cancel()
            server.close()
            writer.close()
            tasks.discard(task)

    async def _lose(
        data: bytes, server: asyncio.StreamWriter, answers: "asyncio.Task[None]"
    ) -> None:
        lose, proxy.lose = proxy.lose, ""
        proxy.lost += 1
        answers.cancel()
        with suppress(asyncio.CancelledError):
            await answers
        if lose == "answer":
            server.write(data)
            await server.drain()

    listener = await asyncio.start_server(connected, "127.0.0.1", port)
    port = listener.sockets[0].getsockname()[1]
    place = f"{target.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
    proxy = LossyProxy(urlunsplit(target._replace(netloc=place)))
    try:
        yield proxy
    finally:
        listener.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
