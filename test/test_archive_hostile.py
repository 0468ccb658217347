"""Who means harm, or knows no better: refused with a status document, and nothing else suffers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from archive_support import RunningNode, archive, retrieve, running_node, set_attributes, until
from lxml import etree
from yarl import URL

from pyvospace_ngas.ngas.status import parse

DATA = bytes(range(256)) * 40
HALF_OPEN = 1000
SECONDS = 30
NAMES = {
    "quotes": "a\"b'c`d.bin",
    "line breaks": "a\r\nX-Evil: 1\r\n\r\n<b>.bin",
    "nul": "a\0b.bin",
    "controls": "a\x1b[2J\x7f\x85.bin",
    "latin": "hé llo ÿ.bin",
    "japanese": "日本語.bin",
    "arabic": "\u202eملف.bin",
    "emoji": "🔭\u200d✨.bin",
    "markup": "<script>&amp;]]>.bin",
    "sql": "'; drop table ngas_files; --.bin",
    "percent": "%00%2e%2e%2f%.bin",
    "format": "{0}%s%n${HOME}.bin",
    "surrogate": "%ED%A0%80",
    "long": "x" * 5000,
    "long and wide": "星" * 5000,
    "dots": "..",
    "upwards": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "backslashes": "..\\..\\x.bin",
    "blank": " ",
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    edit = set_attributes("ArchiveHandling", PullRoots=str(tmp_path / "allowed"))
    async with running_node(tmp_path / "node", edit=edit) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


def lines_of(root: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def exchange(node: RunningNode, *pieces: bytes, close: bool = False) -> bytes:
    """Send bytes as they are; return the head of the answer, with ``close`` all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if close:
                writer.write_eof()
            async with asyncio.timeout(SECONDS):
                return await (reader.read() if close else reader.readuntil(b"\r\n\r\n"))
        return b""
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.close()


async def is_well(node: RunningNode, session: ClientSession) -> None:
    """Make sure that others are served and nothing is counted busy."""
    assert (await archive(session, node.url, "well.bin", DATA))[0] == 200
    assert await retrieve(session, node.url, "well.bin") == DATA
    assert node.node.sub_state == "IDLE"


async def test_any_name_is_kept_or_refused_whole(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    before = lines_of(tmp_path)
    for kind, name in NAMES.items():
        await keep_or_refuse(node, session, kind, name)
    staging = tmp_path / "node/volumes/volume1/staging"  # its names go after the answer
    await until(lambda: not any(staging.iterdir()))
    new = lines_of(tmp_path) - before
    assert {each for each in new if not each.startswith("node/volumes/volume1/arch/")} <= {
        *("node/volumes/volume1/arch", "node/ngas.sqlite-wal", "node/ngas.sqlite-shm")
    }
    await is_well(node, session)


async def keep_or_refuse(node: RunningNode, session: ClientSession, kind: str, name: str) -> None:
    url = URL(f"{node.url}/QARCHIVE?mime_type=text/plain&filename={escaped(name)}", encoded=True)
    async with session.post(url, data=DATA) as response:
        status, body = response.status, await response.read()
    answer = parse(body)
    assert body.isascii(), kind
    assert answer.status.succeeded == (status == 200), kind
    if status != 200:
        assert status == 400, kind
        return
    [file] = answer.disks[0].files
    async with session.get(f"{node.url}/RETRIEVE", params={"file_id": file.file_id}) as got:
        assert got.status == 200, kind
        assert "X-Evil" not in got.headers
        assert await got.read() == DATA


def escaped(name: str) -> str:
    return name if name.startswith("%ED") else quote(name, safe="")


REQUESTS = (
    *("RETRIEVE?file_id=", "STATUS?file_id=", "STATUS?disk_id=", "STATUS?request_id="),
    *("STATUS?host_id=", "CHECKFILE?file_id=", "CLONE?file_id=", "CLIST?container_name="),
    *("CCREATE?container_name=", "CRETRIEVE?container_id=", "CDESTROY?container_id="),
    *("CREMOVE?file_id=x&container_id=", "CAPPEND?container_name=x&file_id="),
    *("QUERY?query=", "QUERY?query=files_like&like=", "QUERY?query=files_list&format="),
    *("UNSUBSCRIBE?subscr_id=", "SUBSCRIBE?subscr_id=x&url=", "HELP?command="),
    *("DISCARD?disk_id=x&file_version=1&file_id=", "DISCARD?execute=1&path="),
    *("RETRIEVE?internal=", "RETRIEVE?file_id=x&file_version=", "CONFIG?log_local_log_level="),
    *("ARCHIVE?mime_type=text/plain&filename=", "ARCHIVE?probe=1&mime_type="),
    *("REMFILE?disk_id=x&file_id=", "REMDISK?disk_id=", "CACHEDEL?disk_id=x&file_id="),
    *("REGISTER?mime_type=text/plain&path=", "LARCHIVE?fileUri=", "LABEL?host_id=x&slot_id="),
    "",
)


async def test_any_parameter_is_answered_as_a_client_can_read(
    node: RunningNode, session: ClientSession
) -> None:
    for request in REQUESTS:
        for kind, name in NAMES.items():
            url = URL(f"{node.url}/{request}{escaped(name)}", encoded=True)
            async with session.get(url, allow_redirects=False) as response:
                body = await response.read()
            assert response.status < 500, (request, kind, body[:500])
            assert "X-Evil" not in response.headers
            assert b"Traceback" not in body
            if response.content_type == "text/xml":
                assert body.isascii(), (request, kind)
                etree.fromstring(body)
    await is_well(node, session)


RANGES = (
    *("bytes=0-0", "bytes=-1", "bytes=0-", "bytes=10239-", "bytes=10240-", "bytes=99999-"),
    *("bytes=5-4", "bytes=--5", "bytes=-", "bytes=", "bytes", "=", "items=0-5", "bytes=a-b"),
    *("bytes=0-5,7-9", "bytes=0-0," * 500 + "1-1", "bytes=+1-2", "bytes=1-+2", "bytes= 1 - 2 "),
    *(f"bytes={'9' * 400}-", f"bytes=0-{'9' * 400}", f"bytes=-{'9' * 400}", "bytes=0x1-0x2"),
    *("bytes=\u0661-\u0662", "BYTES=1-2", "bytes=1-2;x", "bytes=1_0-2_0", "bytes=-0"),
)


async def test_every_form_of_a_range_is_a_part_the_whole_or_416(
    node: RunningNode, session: ClientSession
) -> None:
    await archive(session, node.url, "x.bin", DATA)
    for text in RANGES:
        async with session.get(
            f"{node.url}/RETRIEVE?file_id=x.bin", headers={"Range": text}
        ) as response:
            body = await response.read()
        assert response.status in {200, 206, 416}, text
        if response.status == 206:
            first, _, rest = (
                response.headers["Content-Range"].removeprefix("bytes ").partition("-")
            )
            last, _, whole = rest.partition("/")
            assert whole == str(len(DATA)), text
            assert body == DATA[int(first) : int(last) + 1], text
        elif response.status == 200:
            assert body == DATA, text
    await is_well(node, session)


def head(length: str, *more: str) -> bytes:
    target = "/QARCHIVE?filename=b.bin&mime_type=text/plain"
    lines = [f"POST {target} HTTP/1.1", "Host: x", *more]
    return "\r\n".join(
        [*lines, *([f"Content-Length: {length}"] if length else []), "", ""]
    ).encode()


BODIES = {
    "short": (head("1000"), b"x" * 10),
    "no number": (head("ten"), b"x" * 10),
    "negative": (head("-5"), b"x" * 10),
    "two lengths": (head("5", "Content-Length: 10"), b"x" * 10),
    "both kinds": (head("5", "Transfer-Encoding: chunked"), b"5\r\nxxxxx\r\n0\r\n\r\n"),
    "broken chunks": (head("", "Transfer-Encoding: chunked"), b"zz\r\nxxxxx\r\n0\r\n\r\n"),
    "cut chunks": (head("", "Transfer-Encoding: chunked"), b"ff\r\nxxxxx"),
    "more than fits": (head(str(10**18)), b"x" * 10),
    "absurd": (head("9" * 300), b"x" * 10),
}


CUT = {"short", "cut chunks"}  # only the end of the connection tells


async def test_a_body_that_is_not_what_it_says_leaves_nothing(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    before = lines_of(tmp_path / "node" / "volumes")
    for kind, pieces in BODIES.items():
        answer = await exchange(node, *pieces, close=kind in CUT)
        assert kind in CUT or answer.split()[1].startswith((b"4", b"5")), kind
    await until(lambda: lines_of(tmp_path / "node" / "volumes") == before)
    await is_well(node, session)


@pytest.mark.parametrize("more", [("Connection: close",), ()], ids=["close", "keep"])
async def test_what_follows_a_body_is_no_part_of_it(
    node: RunningNode, session: ClientSession, more: tuple[str, ...]
) -> None:
    answer = await exchange(node, head("5", *more), b"first and more that nobody asked for")
    if answer.startswith(b"HTTP/1.1 200 "):
        assert await retrieve(session, node.url, "b.bin") == b"first"
    else:
        assert b" 400 " in answer.partition(b"\r\n")[0]
        async with session.get(f"{node.url}/RETRIEVE?file_id=b.bin") as response:
            assert response.status == 400
    await is_well(node, session)


NOT_REQUESTS = {
    "noise": b"\0\1\2\3" * 5000 + b"\r\n\r\n",
    "version": b"GET /STATUS HTTP/9.9\r\n\r\n",
    "header": b"GET /STATUS HTTP/1.1\r\nBad Header\r\n\r\n",
    "long header": b"GET /STATUS HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    "long target": b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


async def test_what_is_no_request_is_refused(node: RunningNode, session: ClientSession) -> None:
    for kind, data in NOT_REQUESTS.items():
        answer = await exchange(node, data, close=kind == "tls")
        assert not answer.startswith(b"HTTP/1.1 2"), kind
        assert b"Traceback" not in answer
    await is_well(node, session)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have both ends of all these connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * HALF_OPEN + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} open files are more than this machine allows")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_half_open_connections_hold_up_nobody(
    node: RunningNode, session: ClientSession
) -> None:
    beginnings = (b"", b"GET /STATUS HTTP/1.1\r\nHost: x\r\n", b"POST /QARC")
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        for number in range(HALF_OPEN):
            sock = opened.enter_context(socket.socket())
            sock.setblocking(False)
            async with asyncio.timeout(SECONDS):
                await loop.sock_connect(sock, ("127.0.0.1", node.port))
                await loop.sock_sendall(sock, beginnings[number % len(beginnings)])
        async with asyncio.timeout(SECONDS):
            await is_well(node, session)
    await is_well(node, session)


OUTSIDE = (
    *("file:///etc/passwd", "file://{root}/../secret", "file://{root}/link", "/etc/passwd"),
    *("file://{root}/folder-link/secret", "file://elsewhere/etc/passwd", "file://{root}"),
    *("file://{root}/%2e%2e/secret", "file:/dev/zero", "file://{root}/pipe"),
    *("http://127.0.0.1:{port}/STATUS", "http://[::1]:{port}/STATUS", "http://0/STATUS"),
    *("http://127.0.0.1:{port}@elsewhere/", "gopher://127.0.0.1:{port}/x", "http:///x"),
    *("ftp://127.0.0.1/x", "user@host:/etc/passwd", "http://127.0.0.1:99999/x"),
)
PULLING = (("ARCHIVE", "filename"), ("QARCHIVE", "filename"), ("LARCHIVE", "fileUri"))


async def test_nothing_outside_of_what_is_configured_is_read(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    root, secret = tmp_path / "allowed", tmp_path / "secret"
    await asyncio.to_thread(_lay_out, root, secret)
    before = lines_of(tmp_path / "node" / "volumes")
    for uri in OUTSIDE:
        for name, parameter in PULLING:
            query = {parameter: uri.format(root=root, port=node.port), "mime_type": "text/plain"}
            async with (
                asyncio.timeout(SECONDS),
                session.get(f"{node.url}/{name}", params=query) as response,
            ):
                answer = parse(await response.read())
            assert 400 <= response.status < 500, (name, uri, answer.status.message)
            assert not answer.status.succeeded
    assert secret.read_bytes() == b"secret"
    assert lines_of(tmp_path / "node" / "volumes") == before
    await is_well(node, session)


def _lay_out(root: Path, secret: Path) -> None:
    root.mkdir()
    secret.write_bytes(b"secret")
    (root / "link").symlink_to(secret)
    (root / "folder-link").symlink_to(secret.parent)
    os.mkfifo(root / "pipe")


async def test_nothing_outside_of_the_volumes_is_removed_or_registered(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("still there")
    places = [str(victim), f"{tmp_path}/node/volumes/volume1/../../../victim.txt", "/etc/passwd"]
    for place in places:
        for request_ in (
            {"command": "DISCARD", "path": place, "execute": "1"},
            {"command": "REGISTER", "path": place, "mime_type": "text/plain"},
            {"command": "STATUS", "dump_object_info": place},
        ):
            query = dict(request_)
            async with session.get(f"{node.url}/{query.pop('command')}", params=query) as response:
                answer = parse(await response.read())
            assert 400 <= response.status < 500
            assert not answer.status.succeeded
    assert victim.read_text() == "still there"
    await is_well(node, session)
