"""Rows MET-08, VOS-07 and UWS-42: without a database, and after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import stack
from aiohttp import ClientSession
from ports import free_port
from stack import relocation, transfer
from waiting_support import until_true

from conformance.world import Witness, details, ended, endpoints, job_of, phase

row = pytest.mark.row


@dataclass(slots=True)
class Gate:
    """A way to PostgreSQL that can be shut."""

    dsn: str
    shut: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def close(self) -> None:
        """Cut every connection, and refuse new ones."""
        self.shut = True
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def gate(dsn: str) -> AsyncIterator[Gate]:
    """Stand between clients and the server of ``dsn``."""
    target = urlsplit(dsn)
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        if way.shut:
            writer.transport.abort()
            return
        upstream, server = await asyncio.open_connection(target.hostname, target.port)
        way.writers |= {writer, server}
        await asyncio.gather(copy(reader, server), copy(upstream, writer))
        way.writers -= {writer, server}

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    place = f"{target.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
    way = Gate(urlunsplit(target._replace(netloc=place)))
    try:
        yield way
    finally:
        way.close()
        listener.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


@row("MET-08", "VOS-07")
async def test_without_its_database_the_service_says_so(dsn: str, tmp_path: Path) -> None:
    await stack.add_user(dsn, "alice")
    async with gate(dsn) as way:
        config = stack.parsed(stack.settings(way.dsn, tmp_path / "staging"))
        async with stack.space_server(config) as url, ClientSession() as http:
            alice = Witness(http, url, "alice")
            assert (await alice.get("/properties")).status == 200
            up = await alice.get("/availability")
            assert (up.status, "<vosi:available>true<" in up.text) == (200, True)
            way.close()
            for path in ("/properties", "/nodes", "/transfers"):
                down = await alice(None).get(path)
                assert (down.status, down.fault) == (503, "ServiceUnavailable")
                assert "Retry-After" in down.headers
            down = await alice(None).get("/availability")
            assert (down.status, "<vosi:available>false<" in down.text) == (503, True)
            assert (await alice(None).get("/capabilities")).status == 200
            way.shut = False

            async def back() -> bool:
                return (await alice.get("/properties")).status == 200

            await until_true(back)
            assert "<vosi:available>true<" in (await alice.get("/availability")).text


@row("UWS-42")
async def test_jobs_outlive_a_restart(dsn: str, tmp_path: Path) -> None:
    await stack.add_user(dsn, "alice")
    async with stack.whole_stack(dsn, tmp_path) as running, ClientSession() as http:
        port = free_port()
        sections = stack.settings(dsn, tmp_path / "staging", [n.port for n in running.nodes])
        sections["Space"]["port"] = str(port)
        config = stack.parsed(sections)
        async with stack.space_server(config) as url:
            alice = Witness(http, url, "alice")
            await alice.make("/home/alice/a")
            push = await alice.sync(transfer("/home/alice/f", "pushToVoSpace", "httpput"))
            document = relocation("/home/alice/a", "/home/alice/b", keep=False)
            move = (await alice.request("POST", "/transfers", document)).location
            failed = job_of(
                await alice.sync(transfer("/home/alice/no", "pullFromVoSpace", "httpget"))
            )
        async with stack.space_server(config) as url:
            alice = Witness(http, url, "alice")
            assert (await alice.get(f"{failed}/phase")).text == "ERROR"
            assert (await alice.get(f"{move}/phase")).text == "PENDING"
            assert (await alice.get(f"{job_of(push)}/phase")).text == "EXECUTING"
            await alice.form(f"{move}/phase", "PHASE=RUN")
            place = endpoints(await details(alice, job_of(push)))[0]
            assert (await alice.request("PUT", place, b"1")).status == 201
            assert (await alice.get(f"{job_of(push)}/phase")).text == "COMPLETED"
            assert phase(await ended(alice, move)) == "COMPLETED"
            assert (await alice.get("/nodes/home/alice/b")).status == 200
