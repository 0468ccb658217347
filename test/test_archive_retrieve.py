"""RETRIEVE: whole files and parts, by the kernel and by hand, to fast and to slow clients."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
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

from pyvospace_ngas.archive import sending
from pyvospace_ngas.archive.downloads import disposition
from pyvospace_ngas.ngas.status import parse

MIB = 1024 * 1024
LARGE = random.Random(1).randbytes(3 * MIB + 5)
SMALL = random.Random(2).randbytes(1000)
FILES = {"small.bin": SMALL, "large.bin": LARGE, "empty.bin": b""}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path) as running, ClientSession() as session:
        for name, data in FILES.items():
            assert (await archive(session, running.url, name, data))[0] == 200
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture(params=["kernel", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How large parts are sent: the plain way says what is right."""
    if request.param == "plain":

        async def plainly(
            _request: object, response: object, fd: int, span: range, idle: float
        ) -> None:
            await sending.send_plainly(response, fd, span, idle)  # type: ignore[arg-type]

        monkeypatch.setattr(sending, "send", plainly)
    return str(request.param)


async def test_large_parts_go_by_the_kernel(
    node: RunningNode, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[range] = []
    burst = sending._burst

    def recorded(socket: int, fd: int, span: range, stop: threading.Event) -> int:
        sent.append(span)
        return burst(socket, fd, span, stop)

    monkeypatch.setattr(sending, "_burst", recorded)
    assert await retrieve(session, node.url, "large.bin") == LARGE
    assert sent[0] == range(len(LARGE))


RANGES = [
    ("bytes=0-", 0, None),
    ("bytes=500-", 500, None),
    ("bytes=5-9", 5, 10),
    ("bytes=0-0", 0, 1),
    ("bytes=-100", -100, None),
    ("bytes=-99999999999", 0, None),
    ("bytes=10-99999999999", 10, None),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["small.bin", "large.bin"])
@pytest.mark.parametrize(("wanted", "start", "stop"), RANGES)
async def test_parts_are_what_they_say(
    node: RunningNode,
    session: ClientSession,
    name: str,
    wanted: str,
    start: int,
    stop: int | None,
) -> None:
    data = FILES[name]
    part = data[start:stop]
    first = data.index(part) if len(part) > 50 else start
    async with session.get(
        f"{node.url}/RETRIEVE", params={"file_id": name}, headers={"Range": wanted}
    ) as response:
        assert response.status == 206
        assert await response.read() == part
        assert response.headers["Content-Length"] == str(len(part))
        last = first + len(part) - 1
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"


@pytest.mark.parametrize("name", ["small.bin", "large.bin"])
@pytest.mark.parametrize(
    "wanted", ["bytes=5-4", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", ""]
)
async def test_what_is_no_range_gives_the_whole(
    node: RunningNode, session: ClientSession, name: str, wanted: str
) -> None:
    async with session.get(
        f"{node.url}/RETRIEVE", params={"file_id": name}, headers={"Range": wanted}
    ) as response:
        assert response.status == 200
        assert "Content-Range" not in response.headers
        assert await response.read() == FILES[name]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("small.bin", "bytes=1000-"),
        ("large.bin", "bytes=99999999-999999999"),
        ("small.bin", "bytes=-0"),
        ("empty.bin", "bytes=0-"),
    ],
)
async def test_a_range_beyond_the_end_is_416(
    node: RunningNode, session: ClientSession, name: str, wanted: str
) -> None:
    async with session.get(
        f"{node.url}/RETRIEVE", params={"file_id": name}, headers={"Range": wanted}
    ) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{len(FILES[name])}"
        assert await response.read() == b""


@pytest.mark.parametrize("name", FILES)
async def test_head_says_what_get_says_and_the_connection_stays(
    node: RunningNode, session: ClientSession, name: str
) -> None:
    params = {"file_id": name}
    async with session.head(f"{node.url}/RETRIEVE", params=params) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(len(FILES[name]))
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Last-Modified"].endswith(" GMT")
        told = {key: response.headers[key] for key in ("ETag", "Content-Type", "Last-Modified")}
    async with session.get(f"{node.url}/RETRIEVE", params=params) as response:
        assert {key: response.headers[key] for key in told} == told
        assert await response.read() == FILES[name]


async def test_if_range_guards_against_another_content(
    node: RunningNode, session: ClientSession
) -> None:
    url, params = f"{node.url}/RETRIEVE", {"file_id": "small.bin"}
    async with session.head(url, params=params) as response:
        etag = response.headers["ETag"]
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=5-9", "If-Range": condition}
        async with session.get(url, params=params, headers=headers) as response:
            assert response.status == status


@pytest.mark.usefixtures("way")
async def test_one_connection_serves_many_requests(node: RunningNode) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    for name in ("large.bin", "small.bin", "large.bin", "empty.bin", "large.bin"):
        writer.write(f"GET /RETRIEVE?file_id={name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(FILES[name])) == FILES[name]
    writer.close()
    await writer.wait_closed()


@pytest.mark.usefixtures("way")
async def test_many_downloads_at_once_are_not_mixed_up(
    node: RunningNode, session: ClientSession
) -> None:
    contents = {f"{n}.bin": random.Random(n).randbytes(2 * MIB + n) for n in range(8)}
    for name, data in contents.items():
        await archive(session, node.url, name, data)
    found = await asyncio.gather(*(retrieve(session, node.url, name) for name in contents))
    assert found == list(contents.values())


@pytest.mark.usefixtures("way")
async def test_slow_clients_hold_up_nobody_and_get_everything_in_the_end(
    node: RunningNode, session: ClientSession
) -> None:
    size = 24 * MIB  # more than the sockets' buffers take
    data = random.Random(5).randbytes(size)
    await archive(session, node.url, "huge.bin", data)
    slow = []
    for _ in range(20):  # more than there are threads
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=2**16)
        writer.write(b"GET /RETRIEVE?file_id=huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        slow.append((reader, writer))
    assert await retrieve(session, node.url, "large.bin") == LARGE
    reader, writer = slow[0]
    assert await reader.readexactly(size) == data
    for _, writer in slow:
        writer.transport.abort()
    await until(lambda: node.node.sub_state == "IDLE")


@pytest.mark.usefixtures("way")
async def test_a_client_that_takes_nothing_is_cut_off(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=set_attributes("Server", TimeOut="1")) as node:
        await archive(session, node.url, "huge.bin", bytes(24 * MIB))
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=2**16)
        writer.write(b"GET /RETRIEVE?file_id=huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: node.node.sub_state == "IDLE")
        writer.transport.abort()


@pytest.mark.usefixtures("way")
async def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(
    node: RunningNode, session: ClientSession
) -> None:
    size = 24 * MIB
    _, answer = await archive(session, node.url, "huge.bin", bytes(size))
    disk = answer.disks[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=2**16)
    writer.write(b"GET /RETRIEVE?file_id=huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    path = Path(disk.mount_point) / disk.files[0].file_name
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(20 * MIB)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(size)
    writer.transport.abort()


@pytest.mark.parametrize("damage", ["gone", "short"])
async def test_a_file_that_is_gone_from_the_disk_is_an_error_with_an_answer(
    node: RunningNode, session: ClientSession, damage: str
) -> None:
    _, answer = await archive(session, node.url, "a.bin", b"abc")
    disk = answer.disks[0]
    path = Path(disk.mount_point) / disk.files[0].file_name
    path.unlink()
    if damage == "short":
        path.write_bytes(b"ab")
    status, answer = await command(session, f"{node.url}/RETRIEVE", file_id="a.bin")
    assert (status, answer.status.status, answer.status.code) == (500, "FAILURE", 3004)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, 4018),
        ({"file_id": "nope"}, 4019),
        ({"file_id": "small.bin", "file_version": "99"}, 4019),
        ({"file_id": "small.bin", "disk_id": "other"}, 4019),
        ({"file_id": "small.bin", "host_id": "other:1"}, 4019),
        ({"file_id": "small.bin", "file_version": "x"}, 4035),
        ({"file_id": "small.bin", "file_version": "0"}, 4035),
        ({"file_id": "small.bin", "file_version": "9" * 30}, 4035),
        ({"file_id": "small.bin", "processing": "x"}, 4034),
        ({"internal": "ngams.cfg"}, 4018),
    ],
)
async def test_what_can_not_be_retrieved_is_a_400_with_its_code(
    node: RunningNode, session: ClientSession, parameters: dict[str, str], code: int
) -> None:
    status, answer = await command(session, f"{node.url}/RETRIEVE", **parameters)
    assert (status, answer.status.status, answer.status.code) == (400, "FAILURE", code)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.bin", 'attachment; filename="a.bin"'),
        ('q".bin', "attachment; filename=\"q_.bin\"; filename*=UTF-8''q%22.bin"),
        ("é.bin", "attachment; filename=\"_.bin\"; filename*=UTF-8''%C3%A9.bin"),
        (
            "x\r\nX-Evil: 1",
            "attachment; filename=\"x__X-Evil: 1\"; filename*=UTF-8''x%0D%0AX-Evil%3A%201",
        ),
        ("b\\s", "attachment; filename=\"b_s\"; filename*=UTF-8''b%5Cs"),
    ],
)
def test_no_name_ends_its_header(name: str, header: str) -> None:
    assert disposition(name) == header


async def test_what_is_stored_is_not_shown_as_something_else(
    node: RunningNode, session: ClientSession
) -> None:
    status, _ = await push(
        session, node.url, {"filename": "a.html", "mime_type": "text/html"}, b"<b>x"
    )
    assert status == 200
    async with session.get(f"{node.url}/RETRIEVE", params={"file_id": "a.html"}) as response:
        assert response.headers["Content-Type"] == "text/html"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"].startswith("attachment")


async def test_a_refusal_is_a_status_document(node: RunningNode, session: ClientSession) -> None:
    async with session.get(f"{node.url}/RETRIEVE?file_id=nope") as response:
        body = await response.read()
        assert response.headers["Content-Type"] == "text/xml"
    host = f"127.0.0.1:{node.port}"
    assert body.startswith(b'<?xml version="1.0" ?>\n<!DOCTYPE NgamsStatus SYSTEM "http://')
    assert f'"http://{host}/RETRIEVE?internal=ngamsStatus.dtd"'.encode() in body
    assert parse(body).status.host_id == node.host_id
