"""Idle hosts sleep, and are woken when they are needed or when their time has come."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    Edit,
    RunningNode,
    archive,
    edits,
    running_node,
    set_attributes,
    until,
)

from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.examples.wake_on_lan import wake_on_lan
from pyvospace_ngas.archive.index import Host, register_host
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.steps import Script, Statement

EXAMPLES = "pyvospace_ngas.archive.examples"
CARD = "02:00:00:00:00:01"


def suspension(**values: str) -> Edit:
    return set_attributes("HostSuspension", **values)


def sleeping(flag: Path, **more: str) -> Edit:
    return suspension(
        IdleSuspension="1",
        IdleSuspensionTime="0.1",
        SuspensionPlugIn=f"{EXAMPLES}.command_line",
        SuspensionPlugInPars=f"touch {flag}",
        **more,
    )


def waking(flag: Path) -> Edit:
    return suspension(WakeUpPlugIn=f"{EXAMPLES}.command_line", WakeUpPlugInPars=f"touch {flag}")


def sleeps(host_id: str, server: str) -> Script[None]:
    """Let a host say that it sleeps, until a time that has come."""
    yield Statement(
        "update ngas_hosts set srv_suspended = 1, srv_req_wake_up_srv = $2, "
        "srv_req_wake_up_time = '2020-01-01T00:00:00.000' where host_id = $1",
        (host_id, server),
    )
    yield Statement("update ngas_disks set mounted = 1 where host_id = $1", (host_id,))


async def host_row(running: RunningNode, host_id: str) -> tuple[object, ...]:
    rows = await running.node.database.fetch(
        "select srv_suspended, srv_req_wake_up_srv, srv_req_wake_up_time from ngas_hosts "
        "where host_id = $1",
        host_id,
    )
    return tuple(rows[0])


async def until_suspended(running: RunningNode, host_id: str, suspended: int) -> None:
    async with asyncio.timeout(30):
        while (await host_row(running, host_id))[0] != suspended:  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.02)


async def test_an_idle_host_is_suspended_and_awake_when_a_request_comes(tmp_path: Path) -> None:
    flag = tmp_path / "asleep"
    async with running_node(tmp_path, edit=sleeping(flag)) as running, ClientSession() as session:
        await until(flag.exists)
        assert await host_row(running, running.host_id) == (1, "", None)
        flag.unlink()
        await session.get(f"{running.url}/STATUS")
        await until(flag.exists)  # it was awake, and sleeps again


async def test_a_suspension_that_fails_leaves_the_host_awake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_node(tmp_path, edit=sleeping(tmp_path / "no" / "folder")) as running:
        await until(lambda: "SuspensionPlugIn failed" in caplog.text)
        await until_suspended(running, running.host_id, 0)


async def test_a_request_wakes_the_host_that_it_needs(tmp_path: Path) -> None:
    database, flag, woken = str(tmp_path / "shared.sqlite"), tmp_path / "a", tmp_path / "woken"
    proxy = set_attributes("Server", ProxyMode="1")
    async with (
        running_node(tmp_path / "one", database, edit=sleeping(flag)) as one,
        running_node(tmp_path / "two", database, edit=edits(waking(woken), proxy)) as two,
        ClientSession() as session,
    ):
        await archive(session, one.url, "a.bin", b"content")
        await until(flag.exists)
        assert not woken.exists()
        async with session.get(f"{two.url}/RETRIEVE", params={"file_id": "a.bin"}) as answer:
            assert await answer.read() == b"content"
        assert woken.exists()


async def test_the_wake_up_server_wakes_hosts_for_who_cannot_and_when_their_time_has_come(
    tmp_path: Path,
) -> None:
    database, woken = str(tmp_path / "shared.sqlite"), tmp_path / "woken"
    async with (
        running_node(tmp_path / "server", database, edit=waking(woken)) as server,
        running_node(tmp_path / "one", database) as one,
    ):
        await one.node.database.run(sleeps(one.host_id, server.host_id))
        await until(woken.exists)
        await until_suspended(server, one.host_id, 0)


async def test_who_cannot_wake_a_host_asks_the_wake_up_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database, woken = str(tmp_path / "shared.sqlite"), tmp_path / "woken"
    ghost = Host("ghost:1", "127.0.0.1", 1, "", "", True, True, True, "http://127.0.0.1:1")
    edit = edits(waking(woken), suspension(WakeUpCallTimeOut="0.05"))
    async with running_node(tmp_path / "server", database, edit=edit) as server:

        def asks(config: NodeConfig) -> NodeConfig:
            asked = replace(config.suspension, wake_up_server=server.host_id)
            return replace(config, suspension=asked)

        await server.node.database.run(register_host(ghost, stamp()))
        await server.node.database.run(sleeps(ghost.host_id, ""))
        async with running_node(tmp_path / "two", database, change=asks) as two:
            waiting = asyncio.create_task(two.node.waker.need(ghost.host_id))
            await until(woken.exists)
            await until(lambda: "ghost:1 does not wake up" in caplog.text)
            assert not waiting.done()
            waiting.cancel()
        assert (await host_row(server, ghost.host_id))[:2] == (1, server.host_id)


async def test_a_host_that_does_not_wake_up_is_told_after_the_time_out(tmp_path: Path) -> None:
    database, flag = str(tmp_path / "shared.sqlite"), tmp_path / "a"
    hurry = edits(suspension(WakeUpCallTimeOut="0.2"), set_attributes("Server", ProxyMode="1"))
    async with running_node(tmp_path / "two", database, edit=hurry) as two:
        async with (
            running_node(tmp_path / "one", database, edit=sleeping(flag)) as one,
            ClientSession() as session,
        ):
            await archive(session, one.url, "a.bin", b"content")
        await two.node.database.run(sleeps(one.host_id, ""))
        async with (
            ClientSession() as session,
            session.get(f"{two.url}/RETRIEVE", params={"file_id": "a.bin"}) as answer,
        ):
            assert answer.status == 504
            assert "did not wake up" in await answer.text()


def test_the_magic_packet_has_the_card_sixteen_times() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as card:
        card.bind(("127.0.0.1", 0))
        card.settimeout(10)
        port = card.getsockname()[1]
        wake_on_lan("here:7777", f"here:7777={CARD},address=127.0.0.1,port={port}")
        assert card.recv(200) == b"\xff" * 6 + bytes.fromhex(CARD.replace(":", "")) * 16
