"""Several nodes on one index: each answers for the others' files and sends clients to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import postgres_support
import pytest
from aiohttp import ClientSession
from archive_support import (
    NodeProcess,
    RunningNode,
    archive,
    command,
    prepare,
    retrieve,
    running_node,
    set_attributes,
)

from pyvospace_ngas.archive import index, volume

LARGE = bytes(range(256)) * 8000


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def nodes(tmp_path: Path, database: str) -> AsyncIterator[tuple[RunningNode, RunningNode]]:
    """One node that redirects, one that is a proxy."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_node(tmp_path / "one", database))
        edit = set_attributes("Server", ProxyMode="1")
        second = await stack.enter_async_context(
            running_node(tmp_path / "two", database, edit=edit)
        )
        yield first, second


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


Pair = tuple[RunningNode, RunningNode]


async def test_a_node_redirects_to_the_holder(nodes: Pair, session: ClientSession) -> None:
    here, there = nodes
    _, stored = await archive(session, there.url, "on two.bin", LARGE)
    status, answer = await command(session, f"{here.url}/STATUS", file_id="on two.bin")
    assert (status, answer.status.host_id) == (200, here.host_id)
    assert answer.disks[0].host_id == there.host_id
    assert answer.disks[0].disk_id == stored.disks[0].disk_id
    for method in ("GET", "HEAD"):
        async with session.request(
            method, f"{here.url}/RETRIEVE?file_id=on%20two.bin", allow_redirects=False
        ) as response:
            assert response.status == 303
            place = f"{there.url}/RETRIEVE?file_id=on%20two.bin"
            assert response.headers["Location"] == place
    assert await retrieve(session, here.url, "on two.bin") == LARGE
    status, answer = await command(session, f"{here.url}/STATUS", file_access="on two.bin")
    assert there.host_id in answer.status.message


async def test_a_proxy_passes_the_bytes_on(nodes: Pair, session: ClientSession) -> None:
    there, proxy = nodes
    await archive(session, there.url, "a.bin", LARGE)
    url, params = f"{proxy.url}/RETRIEVE", {"file_id": "a.bin"}
    async with session.get(url, params=params, allow_redirects=False) as response:
        assert response.status == 200
        assert await response.read() == LARGE
    async with session.get(url, params=params, headers={"Range": "bytes=7-99"}) as response:
        assert response.status == 206
        assert await response.read() == LARGE[7:100]
    async with session.head(url, params=params) as response:
        assert response.headers["Content-Length"] == str(len(LARGE))


async def test_a_status_of_the_other_node_is_found(nodes: Pair, session: ClientSession) -> None:
    redirecting, proxy = nodes
    async with session.get(
        f"{redirecting.url}/STATUS",
        params={"host_id": proxy.host_id},
        allow_redirects=False,
    ) as response:
        assert response.status == 303
        assert response.headers["Location"].startswith(f"{proxy.url}/STATUS?host_id=")
    _, answer = await command(session, f"{proxy.url}/STATUS", host_id=redirecting.host_id)
    assert answer.status.host_id == redirecting.host_id


async def test_only_the_holder_discards(nodes: Pair, session: ClientSession) -> None:
    here, there = nodes
    _, answer = await archive(session, there.url, "a.bin", b"abc")
    which = {"disk_id": answer.disks[0].disk_id, "file_id": "a.bin", "file_version": "1"}
    for more in ({}, {"execute": "1"}):
        status, answer = await command(session, f"{here.url}/DISCARD", **which, **more)
        assert status == 400
        assert not answer.status.succeeded
    assert await retrieve(session, here.url, "a.bin") == b"abc"
    status, answer = await command(session, f"{there.url}/DISCARD", **which, execute="1")
    assert answer.status.code == 4066
    status, answer = await command(session, f"{here.url}/STATUS", file_id="a.bin")
    assert (status, answer.status.code) == (400, 4019)


async def test_versions_are_of_the_whole_cluster(nodes: Pair, session: ClientSession) -> None:
    answers = await asyncio.gather(
        *(archive(session, nodes[n % 2].url, "a.bin", b"%d" % n) for n in range(8))
    )
    versions = {answer.disks[0].files[0].file_version: n for n, (_, answer) in enumerate(answers)}
    assert sorted(versions) == list(range(1, 9))
    for version, number in versions.items():
        found = await retrieve(session, nodes[0].url, "a.bin", file_version=str(version))
        assert found == b"%d" % number
    await archive(session, nodes[0].url, "b.bin", b"x")
    status, _ = await archive(session, nodes[1].url, "b.bin", b"y", no_versioning="1")
    assert status == 400  # one version with two contents is what that would be
    assert await retrieve(session, nodes[1].url, "b.bin") == b"x"


async def test_every_node_sees_all_disks_and_hosts(nodes: Pair, session: ClientSession) -> None:
    for node in nodes:
        for query, column in (("disks_list", "host_id"), ("hosts_list", "host_id")):
            async with session.get(
                f"{node.url}/QUERY", params={"query": query, "format": "json"}
            ) as response:
                rows = await response.json()
            assert sorted(row[column] for row in rows) == sorted(n.host_id for n in nodes)


async def test_files_of_a_node_that_went_offline_are_not_available(
    nodes: Pair, session: ClientSession
) -> None:
    here, there = nodes
    await archive(session, there.url, "a.bin", b"abc")
    await command(session, f"{there.url}/OFFLINE")
    status, answer = await command(session, f"{here.url}/RETRIEVE", file_id="a.bin")
    assert (status, answer.status.code) == (400, 4019)


async def test_a_proxy_whose_partner_is_gone_says_so(nodes: Pair, session: ClientSession) -> None:
    gone, proxy = nodes
    await archive(session, gone.url, "a.bin", b"abc")
    host = index.Host(
        host_id=gone.host_id,
        ip_address="127.0.0.1",
        port=1,
        version="",
        cluster="",
        archive=True,
        retrieve=True,
        remove=True,
        url="http://127.0.0.1:1",
    )
    await proxy.node.database.run(index.register_host(host, ""))
    status, answer = await command(session, f"{proxy.url}/RETRIEVE", file_id="a.bin")
    assert (status, answer.status.status) == (502, "FAILURE")


async def test_nodes_that_point_at_each_other_do_not_loop(
    nodes: Pair, session: ClientSession
) -> None:
    here, proxy = nodes
    await archive(session, here.url, "a.bin", b"abc")
    async with session.get(
        f"{proxy.url}/RETRIEVE?file_id=a.bin", headers={"X-NGAS-Proxied": "1"}
    ) as response:
        assert response.status == 502


async def test_a_volume_moves_with_its_files(
    tmp_path: Path, database: str, session: ClientSession
) -> None:
    async with running_node(tmp_path / "one", database) as first:
        await archive(session, first.url, "a.bin", b"abc")
        old = first.host_id
    (tmp_path / "two" / "volumes").mkdir(parents=True)
    (tmp_path / "one" / "volumes" / "volume1").rename(tmp_path / "two" / "volumes" / "moved")
    async with running_node(tmp_path / "two", database, volumes=0) as second:
        assert await retrieve(session, second.url, "a.bin") == b"abc"
        _, answer = await command(session, f"{second.url}/STATUS", file_id="a.bin")
        assert answer.disks[0].host_id == second.host_id != old
        assert answer.disks[0].slot_id == "moved"


async def test_connections_that_the_server_dropped_are_made_again(
    tmp_path: Path, empty_dsn: str, postgres: str, session: ClientSession
) -> None:
    async with running_node(tmp_path, empty_dsn) as node:
        await archive(session, node.url, "a.bin", b"abc")
        for name in ("b.bin", "c.bin"):
            await postgres_support.administer(
                postgres,
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'ngas_node'",
            )
            assert await retrieve(session, node.url, "a.bin") == b"abc"
            assert (await archive(session, node.url, name, b"x"))[0] == 200


async def test_a_node_waits_for_a_database_that_is_made_late(
    tmp_path: Path, postgres: str, session: ClientSession
) -> None:
    prepare(tmp_path)
    dsn = postgres_support.database_of(postgres, "late_index", postgres_support.ROLE)
    node = NodeProcess(tmp_path, dsn)
    starting = asyncio.create_task(node.start())
    await node.spawned.wait()
    await postgres_support.administer(
        postgres, f"CREATE DATABASE late_index OWNER {postgres_support.ROLE}"
    )
    try:
        await starting
        assert (await archive(session, node.url, "a.bin", b"x"))[0] == 200
        assert await node.stop() == 0
    finally:
        await node.kill()
        await postgres_support.administer(postgres, "DROP DATABASE late_index WITH (FORCE)")


# Volumes by themselves


def test_a_volume_says_who_it_is(tmp_path: Path) -> None:
    identity = volume.prepare(tmp_path / "v")
    assert volume.read_identity(tmp_path / "v") == identity
    assert len(identity.disk_id) == 32
    with pytest.raises(volume.VolumeError, match="already"):
        volume.prepare(tmp_path / "v")


@pytest.mark.parametrize("text", [b"", b"%%%", b"AAAA", b"\xff"])
def test_a_volume_that_does_not_say_who_it_is_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / volume.INFO).write_bytes(text)
    with pytest.raises(volume.VolumeError, match="ngas_volume_info"):
        volume.read_identity(tmp_path / "v")


def test_a_copied_volume_is_refused_and_nothing_stays_locked(tmp_path: Path) -> None:
    volume.prepare(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / volume.INFO).write_bytes((tmp_path / "a" / volume.INFO).read_bytes())
    with pytest.raises(volume.VolumeError, match="is a copy"):
        volume.open_all(tmp_path)
    (tmp_path / "b" / volume.INFO).unlink()
    [taken] = volume.open_all(tmp_path)
    with pytest.raises(volume.VolumeError, match="in use"):
        volume.open_all(tmp_path)
    taken.release()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(volume.VolumeError, match="nowhere"):
        volume.open_all(tmp_path / "nowhere")
