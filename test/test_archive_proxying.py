"""What a node has another one do: it passes bodies and answers on as they come."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from archive_support import (
    Edit,
    NodeProcess,
    RunningNode,
    archive,
    command,
    prepare,
    running_node,
    set_attributes,
    until,
)
from lxml import etree
from test_archive_memory import MIB, peak, pieces

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.peers import MARK, UnknownNode

PASSING = '''
import asyncio
from aiohttp import web
from pyvospace_ngas.archive import proxying

more = asyncio.Event()

async def handle(call):
    """Send back what was sent, the last of it when told; at the node that "at" names."""
    if call.parameters["at"] != call.node.host_id:
        return await proxying.elsewhere(call, call.parameters["at"])
    body = await call.request.content.read()
    response = web.StreamResponse(headers={"Content-Type": "a/b", "X-Own": "1"})
    await response.prepare(call.request)
    await response.write(body or b"first")
    await more.wait()
    await response.write(call.request.headers.get("Range", "").encode())
    return response
'''


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture
async def nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[RunningNode, RunningNode, RunningNode]]:
    """A proxy, one that redirects, and the one that does the work."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "passing", raising=False)
    folder = tmp_path / "plug-ins"
    folder.mkdir()
    (folder / "passing.py").write_text(PASSING)
    database = str(tmp_path / "shared.sqlite")
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(
                running_node(tmp_path / "one", database, edit=passing(folder, "1"))
            ),
            await stack.enter_async_context(
                running_node(tmp_path / "two", database, edit=passing(folder, "0"))
            ),
            await stack.enter_async_context(
                running_node(tmp_path / "three", database, edit=passing(folder, "0"))
            ),
        )


def passing(folder: Path, proxy: str) -> Edit:
    def edit(document: etree._Element) -> None:
        set_attributes("Server", ProxyMode=proxy, PluginsPath=str(folder))(document)
        commands = etree.SubElement(document, "Commands")
        etree.SubElement(commands, "Command", Name="PASS", Module="passing")

    return edit


Three = tuple[RunningNode, RunningNode, RunningNode]


async def test_an_answer_is_passed_on_as_it_comes(nodes: Three, session: ClientSession) -> None:
    proxy, _, worker = nodes
    async with session.get(
        f"{proxy.url}/PASS", params={"at": worker.host_id}, headers={"Range": "bytes=1-2"}
    ) as response:
        assert response.content_type == "a/b"
        assert "X-Own" not in response.headers
        assert await response.content.readany() == b"first"  # and the rest is not made yet
        sys.modules["passing"].more.set()
        assert await response.content.readany() == b"bytes=1-2"


async def test_a_body_is_passed_on_whoever_is_asked(nodes: Three, session: ClientSession) -> None:
    *asked, worker = nodes
    sys.modules["passing"].more.set()
    for node in asked:
        for data in (b"x" * MIB, pieces(3)):
            async with session.post(
                f"{node.url}/PASS", params={"at": worker.host_id}, data=data
            ) as response:
                assert response.status == 200
                assert len(await response.read()) in {MIB, 3 * MIB}


async def test_a_request_that_was_passed_on_is_not_passed_on_again(
    nodes: Three, session: ClientSession
) -> None:
    for node in nodes[:2]:
        async with session.get(
            f"{node.url}/PASS", params={"at": nodes[2].host_id}, headers={MARK: "1"}
        ) as response:
            assert response.status == 502
    with pytest.raises(UnknownNode):
        await nodes[0].node.peers.answer("nobody:1", "STATUS")
    status, _ = await command(session, f"{nodes[0].url}/PASS", at="nobody:1")
    assert status == 400


async def test_a_credential_in_the_query_is_not_passed_on(
    nodes: Three, session: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    proxy, _, worker = nodes
    seen: list[str] = []
    handle = worker.node.commands["PASS"]

    async def watching(call: Call) -> web.StreamResponse:
        seen.append(call.request.query_string)
        return await handle(call)

    worker.node.commands = {"PASS": watching}
    sys.modules["passing"].more.set()
    params = {"at": worker.host_id, "authorization": "Basic c2VjcmV0"}
    async with session.get(f"{proxy.url}/PASS", params=params) as response:
        assert response.status == 200
    assert len(seen) == 1
    assert "authorization" not in seen[0]
    assert "c2VjcmV0" not in caplog.text


async def test_a_client_that_leaves_leaves_nothing_behind(
    nodes: Three, session: ClientSession
) -> None:
    proxy, _, worker = nodes
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"GET /PASS?at={worker.host_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"first")
    writer.transport.abort()
    sys.modules["passing"].more.set()
    await until(lambda: proxy.node.requests == worker.node.requests == 0)


async def test_a_large_file_passes_a_proxy_flat_in_memory(
    tmp_path: Path, session: ClientSession
) -> None:
    database = str(tmp_path / "shared.sqlite")
    prepare(tmp_path / "two")
    proxy = NodeProcess(tmp_path / "two", database, edit=set_attributes("Server", ProxyMode="1"))
    async with running_node(tmp_path / "one", database) as holder:
        await archive(session, holder.url, "a.bin", pieces(128))
        await archive(session, holder.url, "b.bin", b"x")
        await proxy.start("-v", "0")
        try:
            async with session.get(f"{proxy.url}/RETRIEVE?file_id=b.bin") as response:
                assert await response.read() == b"x"
            before = peak(proxy.pid)
            size = 0
            async with session.get(f"{proxy.url}/RETRIEVE?file_id=a.bin") as response:
                async for chunk in response.content.iter_any():
                    size += len(chunk)
            assert size == 128 * MIB
            assert peak(proxy.pid) - before < 24 * MIB
            assert await proxy.stop() == 0
        finally:
            await proxy.kill()
