"""What cannot be archived now is kept, answered as such, and archived later: once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    archive,
    command,
    edits,
    elements,
    retrieve,
    running_node,
    until,
)
from archive_support import set_attributes as attributes
from crc32c import crc32c
from test_archive_crash import Fickle

from pyvospace_ngas.ngas.status import Answer, parse

LARGE = bytes(range(256)) * 8000
BUFFERED = edits(
    attributes("ArchiveHandling", BackLogBuffering="1", BackLogBufferDirectory="waiting"),
    attributes("JanitorThread", SuspensionTime="0.02"),
)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def send(
    session: ClientSession, url: str, name: str, data: bytes, **headers: str
) -> tuple[int, Answer]:
    query = {"filename": name, "mime_type": "application/octet-stream"}
    async with session.post(
        f"{url}/ARCHIVE", params=query, data=BytesIO(data), headers=headers
    ) as response:
        return response.status, parse(await response.read())


def waiting(root: Path) -> list[Path]:
    return sorted((root / "waiting" / "back-log").glob("*"))


async def versions(node: RunningNode) -> list[tuple[str, int]]:
    rows = await node.node.database.fetch(
        "select file_id, file_version from ngas_files order by file_id, file_version"
    )
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_without_room_a_file_waits_over_a_restart(
    tmp_path: Path, session: ClientSession, data: bytes
) -> None:
    async with running_node(tmp_path, edit=BUFFERED) as node:
        node.node.volumes[0].completed = True
        status, answer = await send(session, node.url, "a.bin", data)
        assert (status, answer.status.status, answer.status.code) == (400, "FAILURE", 4022)
        status, answer = await send(session, node.url, "b.bin", data, **{"NGAS-File-CRC": "1"})
        assert "Checksum error" in answer.status.message
        [kept, record] = sorted(waiting(tmp_path), key=lambda path: path.suffix)
        assert kept.read_bytes() == data
        assert json.loads(record.read_text())["wish"]["file_id"] == "a.bin"
        status, answer = await archive(session, node.url, "c.bin", data)
        assert (status, answer.status.code) == (507, 3022)  # only ARCHIVE keeps
    stray = tmp_path / "waiting" / "back-log" / "stray"
    stray.write_bytes(b"x")
    os.utime(stray, (0, 0))
    async with running_node(tmp_path, edit=BUFFERED) as node:
        await until(lambda: waiting(tmp_path) == [])
        assert await versions(node) == [("a.bin", 1)]
        assert await retrieve(session, node.url, "a.bin") == data
        _, answer = await command(session, f"{node.url}/STATUS", file_id="a.bin")
        assert answer.disks[0].files[0].checksum == str(crc32c(data))


@pytest.mark.parametrize("data", [b"small", LARGE])
@pytest.mark.parametrize("plan", [["before"], ["well", "before"], ["well", "after", "before"]])
async def test_a_lost_index_makes_a_file_wait_and_archives_it_once(
    tmp_path: Path, session: ClientSession, data: bytes, plan: list[str]
) -> None:
    async with running_node(tmp_path, edit=BUFFERED) as node:
        fickle = Fickle(node.node.database)
        node.node.committer._database = fickle
        fickle.plan = list(plan)
        status, answer = await send(session, node.url, "a.bin", data)
        assert (status, answer.status.code) == (400, 4022)
        await until(lambda: waiting(tmp_path) == [])
        assert await versions(node) == [("a.bin", 1)]
        assert await retrieve(session, node.url, "a.bin") == data
        await until(lambda: not list(node.node.volumes[0].staging.iterdir()))


async def test_what_a_plug_in_has_seen_it_does_not_see_again(
    tmp_path: Path, session: ClientSession
) -> None:
    stream = elements(
        '<StorageSets><StorageSet StorageSetId="s" MainDiskSlotId="volume1"/></StorageSets>'
        '<Streams><Stream MimeType="application/octet-stream" '
        'PlugIn="pyvospace_ngas.archive.examples.gzipped">'
        '<StorageSetRef StorageSetId="s"/></Stream></Streams>'
    )
    async with running_node(tmp_path, edit=edits(BUFFERED, stream)) as node:
        fickle = Fickle(node.node.database)
        node.node.committer._database = fickle
        fickle.plan = ["before"]
        await send(session, node.url, "a.bin", LARGE)
        await until(lambda: waiting(tmp_path) == [])
        _, answer = await command(session, f"{node.url}/STATUS", file_id="a.bin")
        found = answer.disks[0].files[0]
        assert (found.compression, found.uncompressed_file_size) == ("gzip", len(LARGE))
        assert found.file_name.endswith("/a.bin.gz")


async def test_a_file_that_was_archived_before_a_crash_is_not_archived_again(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=BUFFERED) as node:
        node.node.volumes[0].completed = True
        await send(session, node.url, "a.bin", b"data")
        copies = {path.name: path.read_bytes() for path in waiting(tmp_path)}
        node.node.volumes[0].completed = False
        await until(lambda: waiting(tmp_path) == [])
    for name, content in copies.items():  # as if the node had died before they were removed
        (tmp_path / "waiting" / "back-log" / name).write_bytes(content)
    async with running_node(tmp_path, edit=BUFFERED) as node:
        await until(lambda: waiting(tmp_path) == [])
        assert await versions(node) == [("a.bin", 1)]


async def test_what_can_never_be_archived_is_set_aside(
    tmp_path: Path, session: ClientSession
) -> None:
    folder = tmp_path / "waiting" / "back-log"
    async with running_node(tmp_path, edit=BUFFERED) as node:
        node.node.volumes[0].completed = True
        await send(session, node.url, "a.bin", b"data")
        [kept, record] = sorted(waiting(tmp_path), key=lambda path: path.suffix)
        kept.chmod(0o644)
        kept.write_bytes(b"rots")
        (folder / "broken.json").write_text("{}")
        node.node.volumes[0].completed = False
        names = [kept.name, "broken.refused", f"{kept.name}.refused"]
        await until(lambda: [path.name for path in waiting(tmp_path)] == sorted(names))
        assert await versions(node) == []
        assert record.stem == kept.name
    async with running_node(tmp_path, edit=BUFFERED):
        assert len(waiting(tmp_path)) == 3  # they stay


async def test_a_client_that_leaves_leaves_nothing_in_the_backlog(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=BUFFERED) as node:
        node.node.volumes[0].completed = True
        _, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(
            b"POST /ARCHIVE?filename=a.bin&mime_type=a/b HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 1000000\r\n\r\nsome"
        )
        await until(lambda: len(waiting(tmp_path)) == 1)
        writer.transport.abort()
        await until(lambda: waiting(tmp_path) == [])
