"""A data mover beside the node whose volumes it reads: it serves, and changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
)

from pyvospace_ngas.archive.data_mover import as_data_mover
from pyvospace_ngas.archive.states import COMMANDS

LARGE = bytes(range(256)) * 8000


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[RunningNode, RunningNode]]:
    """A node and a data mover with the very same volumes."""
    database = str(tmp_path / "shared.sqlite")
    async with AsyncExitStack() as stack:
        main = await stack.enter_async_context(running_node(tmp_path / "site", database))
        mover = await stack.enter_async_context(
            running_node(tmp_path / "site", database, change=as_data_mover)
        )
        yield main, mover


Pair = tuple[RunningNode, RunningNode]


async def test_a_data_mover_serves_what_the_main_node_archives(
    pair: Pair, session: ClientSession
) -> None:
    main, mover = pair
    for data in (b"abc", LARGE):
        await archive(session, main.url, "a.bin", data)
        url = f"{mover.url}/RETRIEVE?file_id=a.bin"
        async with session.get(url, allow_redirects=False) as response:
            assert (response.status, await response.read()) == (200, data)
    _, answer = await command(session, f"{mover.url}/STATUS", file_id="a.bin")
    assert answer.disks[0].host_id == main.host_id
    assert answer.disks[0].mounted


async def test_a_data_mover_refuses_whatever_archives_or_removes(
    pair: Pair, session: ClientSession
) -> None:
    main, mover = pair
    _, answer = await archive(session, main.url, "a.bin", b"abc")
    which = {"disk_id": answer.disks[0].disk_id, "file_id": "a.bin", "file_version": "1"}
    status, answer = await archive(session, mover.url, "b.bin", b"abc")
    assert (status, answer.status.code) == (400, 4017)
    assert "data mover" in answer.status.message
    status, answer = await command(session, f"{mover.url}/DISCARD", **which, execute="1")
    assert (status, answer.status.code) == (400, 4017)
    assert await retrieve(session, main.url, "a.bin") == b"abc"
    removing = {"DISCARD", "REMFILE", "REMDISK", "CACHEDEL", "CDESTROY"}
    assert removing <= {name for name, needs in COMMANDS.items() if needs.changes}
    assert not any(
        needs.changes for name, needs in COMMANDS.items() if name in {"RETRIEVE", "SUBSCRIBE"}
    )


async def test_a_data_mover_takes_no_volume(
    pair: Pair, session: ClientSession, tmp_path: Path
) -> None:
    main, mover = pair
    for name in ("OFFLINE", "ONLINE", "OFFLINE"):
        assert (await command(session, f"{mover.url}/{name}"))[0] == 200
    assert (await archive(session, main.url, "a.bin", b"abc"))[0] == 200  # still mounted
    for name in ("OFFLINE", "ONLINE"):
        assert (await command(session, f"{main.url}/{name}"))[0] == 200
    assert (await command(session, f"{mover.url}/ONLINE"))[0] == 200
    assert await retrieve(session, mover.url, "a.bin") == b"abc"
    async with session.get(f"{main.url}/QUERY?query=hosts_list&format=json") as response:
        hosts = {each["host_id"]: each for each in await response.json()}
    assert (hosts[mover.host_id]["srv_archive"], hosts[main.host_id]["srv_archive"]) == (0, 1)
    assert (hosts[mover.host_id]["n_slots"], hosts[main.host_id]["n_slots"]) == (0, 1)


async def test_a_data_mover_serves_only_the_hosts_that_it_is_for(
    tmp_path: Path, session: ClientSession
) -> None:
    database = str(tmp_path / "shared.sqlite")
    async with AsyncExitStack() as stack:
        wanted, other = [
            await stack.enter_async_context(running_node(tmp_path / name, database))
            for name in ("one", "two")
        ]
        edit = set_attributes("DataMoverOnly", FromHostIds=f" {wanted.host_id}, elsewhere:1")
        mover = await stack.enter_async_context(
            running_node(tmp_path / "three", database, edit=edit, change=as_data_mover)
        )
        for node, name, expected in ((wanted, "a.bin", 200), (other, "b.bin", 303)):
            await archive(session, node.url, name, b"abc")
            url = f"{mover.url}/RETRIEVE?file_id={name}"
            async with session.get(url, allow_redirects=False) as response:
                assert response.status == expected
            assert await retrieve(session, mover.url, name) == b"abc"


async def test_a_data_mover_that_cannot_see_a_volume_sends_to_its_node(
    tmp_path: Path, session: ClientSession
) -> None:
    database = str(tmp_path / "shared.sqlite")
    async with AsyncExitStack() as stack:
        main = await stack.enter_async_context(running_node(tmp_path / "one", database))
        mover = await stack.enter_async_context(
            running_node(tmp_path / "two", database, change=as_data_mover)
        )
        await archive(session, main.url, "a.bin", b"abc")
        seen = tmp_path / "one" / "volumes"
        seen.rename(tmp_path / "hidden")
        async with session.get(
            f"{mover.url}/RETRIEVE?file_id=a.bin", allow_redirects=False
        ) as response:
            assert response.status == 303
            assert response.headers["Location"].startswith(main.url)
        (tmp_path / "hidden").rename(seen)
        assert await retrieve(session, mover.url, "a.bin") == b"abc"
