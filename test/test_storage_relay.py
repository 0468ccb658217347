"""Large files on their way from NGAS to a client: past us by the kernel, or piece by piece."""

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest
import storage_support
from rude_ngas import RudeNgas
from storage_support import Site
from waiting_support import until

from pyvospace_ngas.ngas import splicing

DATA = random.Random(5).randbytes(24_000_000)  # more than all buffers on the way hold
HALF = len(DATA) // 2


@pytest.fixture
async def nodes() -> AsyncIterator[list[RudeNgas]]:
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(RudeNgas()) for _ in range(2)]


@pytest.fixture
async def site(dsn: str, tmp_path: Path, nodes: list[RudeNgas]) -> AsyncIterator[Site]:
    ports = [node.port for node in nodes]
    async with storage_support.site(dsn, tmp_path, ports) as running:
        yield running


@pytest.fixture
async def endpoint(site: Site, nodes: list[RudeNgas]) -> str:
    """Return where ``DATA`` is to be had, of which both nodes have a copy."""
    node = await site.node("large.bin")
    assert (await site.push(node, DATA)).status == 201
    ((name, file),) = [item for each in nodes for item in each.files.items()]
    for each in nodes:
        each.files[name] = file
    return await site.endpoint("GET", node)


@pytest.fixture(params=["by splice", "piece by piece", "too many files"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the bytes go either way."""
    if request.param == "piece by piece":
        monkeypatch.setattr(splicing, "works", lambda: False)
    elif request.param == "too many files":
        monkeypatch.setattr(os, "pipe2", refuse)
    elif not splicing.works():
        pytest.skip("this system does not splice")
    return str(request.param)


def refuse(_flags: int) -> NoReturn:
    """Be a system where no more files can be opened."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class Client:
    """Reads as much as it is told to, over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, endpoint: str) -> int:
        """Send a request; return the length of what is answered."""
        path = endpoint.partition("//")[2].partition("/")[2]
        self.writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200 "), head
        return int(head.partition("Content-Length: ")[2].partition("\r\n")[0])


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    host, _, port = site.url.partition("//")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Client(reader, writer)
    writer.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("way")
async def test_one_file_after_another_comes_over_one_connection(
    client: Client, endpoint: str
) -> None:
    for _ in range(3):
        assert await client.ask(endpoint) == len(DATA)
        assert await client.reader.readexactly(len(DATA)) == DATA


@pytest.mark.usefixtures("way")
async def test_many_at_once_do_not_mix(site: Site, endpoint: str) -> None:
    asked = [(number * 1_000_003, HALF + number * 700_001) for number in range(8)]
    headers = [{"Range": f"bytes={start}-{end - 1}"} for start, end in asked]
    answers = await asyncio.gather(*[site.send("GET", endpoint, headers=each) for each in headers])
    assert [each.body for each in answers] == [DATA[start:end] for start, end in asked]


@pytest.mark.usefixtures("way")
async def test_a_client_that_has_all_is_told_that_its_job_is_complete(
    site: Site, client: Client, endpoint: str
) -> None:
    await client.ask(endpoint)
    await client.reader.readexactly(HALF)
    await asyncio.sleep(0.1)
    assert await site.phase(endpoint) == "EXECUTING"
    await client.reader.readexactly(len(DATA) - HALF)
    assert await site.phase(endpoint) == "COMPLETED"


@pytest.mark.usefixtures("way")
async def test_where_a_node_breaks_off_the_other_goes_on(
    site: Site, endpoint: str, nodes: list[RudeNgas]
) -> None:
    for node in nodes:
        node.faults.cut_download = HALF
    nodes[0].faults.once.add("cut_download")
    nodes[1].faults.once.add("cut_download")
    assert (await site.send("GET", endpoint)).body == DATA


@pytest.mark.usefixtures("way")
async def test_where_none_goes_on_the_connection_is_cut(
    site: Site, client: Client, endpoint: str, nodes: list[RudeNgas]
) -> None:
    for node in nodes:
        node.faults.cut_download = HALF // 2
    await client.ask(endpoint)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.reader.readexactly(len(DATA))
    assert await site.phase(endpoint) == "EXECUTING"
    for node in nodes:
        node.faults.cut_download = None
    assert (await site.send("GET", endpoint)).body == DATA


@pytest.mark.usefixtures("way")
async def test_of_a_client_that_went_away_nothing_is_left(
    site: Site, client: Client, endpoint: str
) -> None:
    before = descriptors()
    for _ in range(10):
        async with aiohttp.ClientSession() as http, http.get(endpoint) as answer:
            await answer.content.readexactly(HALF // 8)
            answer.close()
    await until(lambda: descriptors() < before + 10)  # the database's may be more
    assert await client.ask(endpoint) == len(DATA)
    assert await client.reader.readexactly(len(DATA)) == DATA
