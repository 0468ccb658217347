"""QARCHIVE and ARCHIVE: what is acknowledged is there, what is not has left nothing."""

from __future__ import annotations

import asyncio
import hashlib
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    archive,
    command,
    push,
    retrieve,
    running_node,
    set_attributes,
    until,
)
from crc32c import crc32c

from pyvospace_ngas.archive import volume as volumes
from pyvospace_ngas.archive.registry import COMMANDS, READING
from pyvospace_ngas.ngas.status import parse

MIB = 1024 * 1024


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path, volumes=2) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def files(root: Path) -> list[Path]:
    """Everything in the volumes but what they say of themselves."""
    return [
        path
        for path in (root / "volumes").rglob("*")
        if path.is_file() and not path.name.startswith(".ngas")
    ]


async def everyone_gone(node: RunningNode) -> None:
    """Wait until the node has noticed that its clients left."""
    await until(lambda: node.node.sub_state == "IDLE")


@pytest.mark.parametrize("size", [0, 1, 1000, MIB - 1, MIB, MIB + 1, 5 * MIB + 3])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bytes_come_back_as_they_went_in(
    node: RunningNode, session: ClientSession, size: int, chunked: bool
) -> None:
    data = noise(size)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 200_000):
            yield data[start : start + 200_000]

    status, answer = await archive(session, node.url, "x.bin", pieces() if chunked else data)
    assert status == 200
    assert answer.status.succeeded
    [file] = answer.disks[0].files
    assert (file.file_size, file.checksum) == (size, str(crc32c(data)))
    assert file.checksum_plugin == "crc32c"
    assert await retrieve(session, node.url, "x.bin") == data


async def test_the_answer_names_file_and_disk_as_ngas_does(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    _, answer = await archive(session, node.url, "dir1/dir2/p.bin", b"abc")
    assert answer.status.message.endswith("with URI: dir1/dir2/p.bin")
    assert answer.status.request_id
    assert answer.status.sub_state == "IDLE"
    [disk] = answer.disks
    [file] = disk.files
    assert (file.file_id, file.file_version, file.format) == (
        "p.bin",
        1,
        "application/octet-stream",
    )
    assert disk.host_id == node.host_id
    assert (disk.number_of_files, disk.bytes_stored, disk.mounted) == (1, 3, True)
    assert disk.logical_name.startswith("NGAS-M-00000")
    path = Path(disk.mount_point) / file.file_name
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o444
    assert file.file_name == f"arch/{file.ingestion_date[:10]}/1/p.bin"
    await until(lambda: files(tmp_path) == [path])  # the staged name goes after the answer


async def test_headers_do_what_parameters_do(node: RunningNode, session: ClientSession) -> None:
    headers = {
        "Content-Disposition": 'attachment; filename="c%20d.fits"; file_id=my-id; x="a;b"',
        "Content-Type": "application/octet-stream",
    }
    async with session.put(f"{node.url}/QARCHIVE", data=b"abc", headers=headers) as response:
        [file] = parse(await response.read()).disks[0].files
    assert file.file_id == "my-id"
    assert file.file_name.endswith("/1/c d.fits")


async def test_a_file_id_of_its_own_keeps_the_name_with_its_extension(
    node: RunningNode, session: ClientSession
) -> None:
    _, answer = await archive(session, node.url, "x", b"abc", file_id="my-own-id-42")
    [file] = answer.disks[0].files
    assert file.file_id == "my-own-id-42"
    assert file.file_name.endswith("/1/x.bin")


async def test_one_name_for_two_files_keeps_both(
    node: RunningNode, session: ClientSession
) -> None:
    for number in range(12):
        status, _ = await archive(
            session, node.url, "same.bin", b"%d" % number, file_id=f"id{number}"
        )
        assert status == 200
    for number in range(12):
        assert await retrieve(session, node.url, f"id{number}") == b"%d" % number


@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_eight_at_once_under_one_name_are_eight_versions(
    tmp_path: Path, session: ClientSession, size: int
) -> None:
    database = str(tmp_path / "shared.sqlite")
    contents = [noise(size, seed) for seed in range(8)]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(tmp_path / name, database, volumes=2))
            for name in ("one", "two")
        ]
        answers = await asyncio.gather(
            *(
                archive(session, nodes[number % 2].url, "a.bin", content)
                for number, content in enumerate(contents)
            )
        )
        assert [status for status, _ in answers] == [200] * 8
        versions = [answer.disks[0].files[0].file_version for _, answer in answers]
        assert sorted(versions) == list(range(1, 9))
        for version, content in zip(versions, contents, strict=True):
            found = await retrieve(session, nodes[0].url, "a.bin", file_version=str(version))
            assert found == content


async def test_many_large_files_at_once_are_not_mixed_up(
    node: RunningNode, session: ClientSession
) -> None:
    contents = {f"{seed}.bin": noise(3 * MIB + seed, seed) for seed in range(8)}
    answers = await asyncio.gather(
        *(archive(session, node.url, name, data) for name, data in contents.items())
    )
    for (name, data), (_, answer) in zip(contents.items(), answers, strict=True):
        assert answer.disks[0].files[0].checksum == str(crc32c(data))
        digest = hashlib.sha256(await retrieve(session, node.url, name)).digest()
        assert digest == hashlib.sha256(data).digest()


@pytest.mark.parametrize("size", [1000, 2 * MIB])
@pytest.mark.parametrize("parameter", ["no_versioning=1", "versioning=0"])
async def test_overwriting_replaces_one_version_and_its_file(
    node: RunningNode, session: ClientSession, tmp_path: Path, parameter: str, size: int
) -> None:
    name, value = parameter.split("=")
    for seed in (1, 2):
        await archive(session, node.url, "a.bin", noise(size, seed))
    for seed, version in ((3, None), (4, "1"), (5, None)):
        wish = {"filename": "a.bin", name: value}
        wish |= {"file_version": version} if version else {}
        status, answer = await push(session, node.url, wish, noise(size, seed))
        assert status == 200
        assert answer.disks[0].files[0].file_version == int(version or 2)
    assert await retrieve(session, node.url, "a.bin", file_version="1") == noise(size, 4)
    assert await retrieve(session, node.url, "a.bin") == noise(size, 5)
    await until(lambda: len(files(tmp_path)) == 2)
    sums = {}
    for disk in node.node.volumes:
        _, found = await command(session, f"{node.url}/STATUS", disk_id=disk.disk_id)
        sums[disk.disk_id] = found.disks[0].number_of_files
    assert sum(sums.values()) == 2


@pytest.mark.parametrize(
    "extra", [{"no_versioning": "1"}, {"no_versioning": "1", "file_version": "9"}]
)
async def test_what_is_not_there_can_not_be_overwritten(
    node: RunningNode, session: ClientSession, tmp_path: Path, extra: dict[str, str]
) -> None:
    status, answer = await push(session, node.url, {"filename": "none.bin"} | extra, b"x")
    assert status == 400
    assert not answer.status.succeeded
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("variant", "name", "value"),
    [
        ("crc32", "crc32", zlib.crc32(b"abc")),
        ("0", "crc32", zlib.crc32(b"abc")),
        ("1", "crc32c", crc32c(b"abc")),
        ("crc32z", "crc32z", zlib.crc32(b"abc")),
        ("-1", "none", ""),
    ],
)
async def test_the_request_chooses_the_checksum(
    node: RunningNode, session: ClientSession, variant: str, name: str, value: int | str
) -> None:
    _, answer = await archive(session, node.url, "a.bin", b"abc", crc_variant=variant)
    [file] = answer.disks[0].files
    assert (file.checksum_plugin or "none", file.checksum) in {(name, str(value)), ("none", "")}
    assert file.checksum == str(value)


@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_a_wrong_checksum_leaves_nothing(
    node: RunningNode, session: ClientSession, tmp_path: Path, size: int
) -> None:
    data = noise(size)
    for value in (str(crc32c(data) ^ 1), "nonsense"):
        status, answer = await archive(
            session, node.url, "a.bin", data, headers={"NGAS-File-CRC": value}
        )
        assert status == 400
        assert "Checksum error" in answer.status.message
    good = {"NGAS-File-CRC": str(crc32c(data))}
    assert files(tmp_path) == []
    status, _ = await archive(session, node.url, "a.bin", data, headers=good)
    assert status == 200


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, 4013),
        ({"filename": ""}, 4013),
        ({"filename": "x.unknownext"}, 4014),
        ({"filename": ".."}, 4060),
        ({"filename": "dir/"}, 4060),
        ({"filename": "a\r\nX-Evil: 1.bin"}, 4060),
        ({"filename": "a\x00b.bin"}, 4060),
        ({"filename": "n" * 300 + ".bin"}, 4060),
        ({"filename": "a.bin", "file_id": "i" * 65}, 4060),
        ({"filename": "a.bin", "file_id": "i\n"}, 4060),
        ({"filename": "a.bin", "crc_variant": "md5"}, None),
        ({"filename": "a.bin", "mime_type": "no type"}, None),
    ],
)
async def test_bad_requests_are_refused(
    node: RunningNode,
    session: ClientSession,
    tmp_path: Path,
    parameters: dict[str, str],
    code: int | None,
) -> None:
    async with session.post(
        f"{node.url}/QARCHIVE", params=parameters, data=b"x", skip_auto_headers=["Content-Type"]
    ) as response:
        answer = parse(await response.read())
    assert response.status == 400
    assert not answer.status.succeeded
    assert answer.status.code == code
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["hé llo.bin", "日本.bin", "a b#c%d+e'f&g.bin", 'q"x;y=z.bin'])
async def test_any_name_can_be_kept(node: RunningNode, session: ClientSession, name: str) -> None:
    _, answer = await archive(session, node.url, name, b"abc")
    assert answer.disks[0].files[0].file_id == name
    _, answer = await command(session, f"{node.url}/STATUS", file_id=name)
    assert answer.disks[0].files[0].file_name.endswith(f"/1/{name}")
    async with session.get(f"{node.url}/RETRIEVE", params={"file_id": name}) as response:
        assert await response.read() == b"abc"
        assert response.content_disposition is not None
        assert response.content_disposition.filename == name


async def test_only_what_changes_nothing_is_done_for_a_head(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    params = {"filename": "a.bin", "mime_type": "text/plain"}
    for name in sorted(COMMANDS.keys() - READING):
        async with session.head(f"{node.url}/{name}", params=params) as response:
            assert response.status == 405, name
    for name in ("STATUS", "robots.txt"):
        async with session.head(f"{node.url}/{name}") as response:
            assert response.status == 200, name
    assert files(tmp_path) == []


async def test_nothing_is_pulled(node: RunningNode, session: ClientSession) -> None:
    for name in ("ARCHIVE", "QARCHIVE"):
        status, answer = await command(
            session, f"{node.url}/{name}", filename="file:///etc/passwd", mime_type="text/plain"
        )
        assert (status, answer.status.code) == (403, 4012)


# Clients that leave, lie or are slow


async def start(
    node: RunningNode, head: str, body: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()
    return reader, writer


def head(name: str, *lines: str) -> str:
    first = f"POST /QARCHIVE?filename={name}&mime_type=application/octet-stream HTTP/1.1"
    return "\r\n".join([first, "Host: x", *lines, ""])


async def busy(session: ClientSession, node: RunningNode) -> None:
    await until(lambda: node.node.sub_state == "BUSY")
    _, answer = await command(session, f"{node.url}/STATUS")
    assert answer.status.sub_state == "BUSY"


@pytest.mark.parametrize("sent", [0, 500, 2 * MIB])
@pytest.mark.parametrize("length", ["Content-Length: 4000000", "Transfer-Encoding: chunked"])
async def test_a_client_that_leaves_half_way_leaves_nothing(
    node: RunningNode, session: ClientSession, tmp_path: Path, sent: int, length: str
) -> None:
    body = noise(sent)
    if length.startswith("T") and sent:
        body = b"%x\r\n%s\r\n" % (sent, body)
    _, writer = await start(node, head("a.bin", length), body)
    await busy(session, node)
    writer.transport.abort()
    await everyone_gone(node)
    assert files(tmp_path) == []
    assert [volume.promised for volume in node.node.volumes] == [0, 0]
    status, answer = await command(session, f"{node.url}/STATUS", file_id="a.bin")
    assert (status, answer.status.code) == (400, 4019)


async def test_a_body_that_ends_early_leaves_nothing(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    _, writer = await start(node, head("a.bin", "Content-Length: 4000000"), noise(2 * MIB))
    await busy(session, node)
    writer.write_eof()
    await everyone_gone(node)
    writer.close()
    await writer.wait_closed()
    assert files(tmp_path) == []


async def test_idle_clients_hold_up_nobody_and_are_left_in_time(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes("Server", TimeOut="2")
    async with running_node(tmp_path, edit=edit) as node:
        body = noise(2 * MIB)
        clients = [
            await start(node, head(f"{n}.bin", "Content-Length: 9000000"), body)
            for n in range(40)  # more than there are threads
        ]
        status, _ = await archive(session, node.url, "quick.bin", noise(3 * MIB))
        assert status == 200
        await everyone_gone(node)
        await until(lambda: [path.name for path in files(tmp_path)] == ["quick.bin"])
        async with asyncio.timeout(20):
            for reader, writer in clients:
                with suppress(ConnectionError):  # what was not read yet may turn it into a reset
                    assert b" 408 " in await reader.readline()
                writer.close()


async def test_above_its_limit_a_node_says_so_and_when_to_come_back(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=set_attributes("Server", MaxSimReqs="2")) as node:
        clients = [
            await start(node, head(f"{n}.bin", "Content-Length: 9000000"), b"x") for n in range(2)
        ]
        await until(lambda: node.node.requests == 2)
        async with session.get(f"{node.url}/STATUS") as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
            assert parse(await response.read()).status.code == 4062
        for _, writer in clients:
            writer.transport.abort()
        await until(lambda: node.node.requests == 0)
        status, _ = await archive(session, node.url, "a.bin", b"x")
        assert status == 200


# Room


async def test_without_room_the_refusal_is_plain_and_comes_before_the_body(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield noise(MIB)

    headers = {"Content-Length": str(10**15)}
    async with session.post(
        f"{node.url}/QARCHIVE",
        params={"filename": "a.bin", "mime_type": "a/b"},
        headers=headers,
        data=b"",
        expect100=True,
    ) as response:
        assert response.status == 507
        assert parse(await response.read()).status.code == 3022
    assert files(tmp_path) == []


async def test_volumes_are_chosen_by_their_room_and_never_when_completed(
    node: RunningNode, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = node.node.volumes
    first.completed = True
    for number in range(8):
        _, answer = await archive(session, node.url, f"{number}.bin", b"x")
        assert answer.disks[0].disk_id == second.disk_id
    second.completed = True
    status, answer = await archive(session, node.url, "full.bin", b"x")
    assert (status, answer.status.code) == (507, 3022)
    first.completed = False
    assert volumes.SPARE_BYTES > 0
    first.promised = 2**60
    status, _ = await archive(session, node.url, "full.bin", b"x")
    first.promised = 0
    assert status == 507


async def test_a_disk_that_falls_below_its_limit_takes_no_more(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes("ArchiveHandling", FreeSpaceDiskChangeMb=str(2**40))
    async with running_node(tmp_path, edit=edit) as node:
        _, answer = await archive(session, node.url, "a.bin", b"x")
        assert answer.disks[0].completed
        status, _ = await archive(session, node.url, "b.bin", b"x")
        assert status == 507
    async with running_node(tmp_path, edit=edit) as node:  # the tables remember it
        status, _ = await archive(session, node.url, "b.bin", b"x")
        assert status == 507
