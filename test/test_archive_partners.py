"""Partner sites: what this archive does not have may come from another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientSession, web
from archive_support import (
    Edit,
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
)
from lxml import etree

from pyvospace_ngas.archive import configuration
from pyvospace_ngas.archive.configuration import ConfigurationError

LARGE = bytes(range(256)) * 20_000
GONE = "127.0.0.1:1"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def asking(addresses: Sequence[str], mode: str = "1") -> Edit:
    def edit(document: etree._Element) -> None:
        set_attributes("PartnerSites", ProxyMode=mode)(document)
        sites = document.find("PartnerSites")
        assert sites is not None
        for address in addresses:
            etree.SubElement(sites, "PartnerSite", Address=address)

    return edit


def node(root: Path, *addresses: str, mode: str = "1") -> AbstractAsyncContextManager[RunningNode]:
    return running_node(root, edit=asking(addresses, mode))


async def test_a_file_comes_from_the_partner_that_has_it(
    tmp_path: Path, session: ClientSession
) -> None:
    async with (
        running_node(tmp_path / "empty") as empty,
        running_node(tmp_path / "there") as there,
        node(tmp_path / "here", GONE, empty.url, f"127.0.0.1:{there.port}") as here,
    ):
        await archive(session, there.url, "a.bin", b"old")
        await archive(session, there.url, "a.bin", LARGE)
        assert await retrieve(session, here.url, "a.bin") == LARGE
        assert await retrieve(session, here.url, "a.bin", file_version="1") == b"old"
        url = f"{here.url}/RETRIEVE?file_id=a.bin"
        async with session.get(url, headers={"Range": "bytes=7-99"}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes 7-99/{len(LARGE)}"
            assert await response.read() == LARGE[7:100]
        async with session.head(url) as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(len(LARGE))
            assert 'filename="a.bin"' in response.headers["Content-Disposition"]
        for wrong in (
            {"file_id": "nope"},
            {"file_id": "a.bin", "file_version": "3"},
            {"file_id": "a.bin", "host_id": here.host_id},
        ):
            status, answer = await command(session, f"{here.url}/RETRIEVE", **wrong)
            assert (status, answer.status.code) == (400, 4019)
        status, answer = await command(session, f"{here.url}/STATUS", file_id="a.bin")
        assert (status, answer.status.code) == (400, 4019)  # it is not in this archive


async def test_without_proxying_no_partner_is_asked(
    tmp_path: Path, session: ClientSession
) -> None:
    async with (
        running_node(tmp_path / "there") as there,
        node(tmp_path / "here", there.url, mode="0") as here,
    ):
        await archive(session, there.url, "a.bin", b"x")
        status, answer = await command(session, f"{here.url}/RETRIEVE", file_id="a.bin")
    assert (status, answer.status.code) == (400, 4019)


async def test_partners_of_each_other_do_not_loop(tmp_path: Path, session: ClientSession) -> None:
    async with running_node(tmp_path / "there") as first:
        port = first.port
    async with (
        node(tmp_path / "here", f"127.0.0.1:{port}") as here,
        running_node(tmp_path / "there", port=port, edit=asking([here.url])) as there,
    ):
        for each in (here, there):
            status, answer = await command(session, f"{each.url}/RETRIEVE", file_id="nope")
            assert (status, answer.status.code) == (400, 4019)
        await archive(session, there.url, "a.bin", b"x")
        for mark in ("X-NGAS-Partner", "X-NGAS-Proxied"):
            async with session.get(
                f"{here.url}/RETRIEVE?file_id=a.bin", headers={mark: "1"}
            ) as response:
                assert response.status == 400


STATUS = (
    '<NgamsStatus><Status Date="" Version="" HostId="p" Message="" Status="SUCCESS" '
    'State="ONLINE" SubState="IDLE"/><DiskStatus DiskId="d" HostId="p">'
    '<FileStatus FileName="a" FileId="a.bin" FileVersion="1" FileSize="10"/>'
    "</DiskStatus></NgamsStatus>"
)


@asynccontextmanager
async def partner(answer: str, target: str = "") -> AsyncIterator[str]:
    """A partner with manners of its own: a real NGAS's, and worse ones."""

    async def status(_request: web.Request) -> web.Response:
        if answer == "silent":
            await asyncio.Event().wait()
        return web.Response(text="<x/>" if answer == "odd" else STATUS, content_type="text/xml")

    async def file(request: web.Request) -> web.StreamResponse:
        if answer == "elsewhere":
            return web.Response(status=303, headers={"Location": target})
        wanted = request.headers.get("Range", "")
        if wanted and not wanted.endswith("-"):
            return web.Response(status=400)
        if wanted:
            return web.Response(body=b"56789", headers={"Content-Range": "bytes 5-9/10"})
        if answer == "broken":
            response = web.StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            await response.write(b"01234")
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(body=b"0123456789")

    app = web.Application()
    app.router.add_get("/STATUS", status, allow_head=False)
    app.router.add_get("/RETRIEVE", file, allow_head=False)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_real_ngas_as_the_partner_is_asked_in_its_own_way(
    tmp_path: Path, session: ClientSession
) -> None:
    async with partner("plain") as site, node(tmp_path, site) as here:
        url = f"{here.url}/RETRIEVE?file_id=a.bin"
        async with session.head(url) as response:
            assert (response.status, response.headers["Content-Length"]) == (200, "10")
        async with session.get(url, headers={"Range": "bytes=5-"}) as response:
            assert (response.status, await response.read()) == (206, b"56789")
        async with session.get(url, headers={"Range": "bytes=1-2"}) as response:
            assert (response.status, await response.read()) == (200, b"0123456789")


async def test_redirects_lead_only_to_partners(tmp_path: Path, session: ClientSession) -> None:
    async with partner("plain") as holder, partner("elsewhere", f"{holder}/RETRIEVE") as site:
        async with node(tmp_path / "both", site, holder) as here:
            assert await retrieve(session, here.url, "a.bin") == b"0123456789"
        async with node(tmp_path / "one", site) as here:
            status, answer = await command(session, f"{here.url}/RETRIEVE", file_id="a.bin")
            assert (status, answer.status.code) == (400, 4019)


@pytest.mark.parametrize("manner", ["silent", "odd"])
async def test_a_partner_that_does_not_answer_is_passed_over(
    tmp_path: Path, session: ClientSession, manner: str
) -> None:
    async with (
        partner(manner) as bad,
        partner("plain") as good,
        node(tmp_path, bad, good) as here,
    ):
        data = await retrieve(session, here.url, "a.bin", timeout="0.2")
        assert data == b"0123456789"
        for wrong in ("soon", "0", "-1", "nan"):
            status, _ = await command(
                session, f"{here.url}/RETRIEVE", file_id="a.bin", timeout=wrong
            )
            assert status == 400


async def test_a_partner_that_breaks_off_is_no_whole_file(
    tmp_path: Path, session: ClientSession
) -> None:
    async with partner("broken") as site, node(tmp_path, site) as here:
        with pytest.raises(ClientPayloadError):
            await retrieve(session, here.url, "a.bin")


@pytest.mark.parametrize("address", ["", "host:port", "ftp://host:1", "http://user:pw@host:1"])
def test_an_address_that_is_none_is_told(tmp_path: Path, address: str) -> None:
    text = configuration.default_xml(tmp_path, 7777, str(tmp_path / "x"))
    document = etree.fromstring(text.encode())
    asking([address])(document)
    with pytest.raises(ConfigurationError, match="PartnerSite"):
        configuration.parse(etree.tostring(document))
