"""Files that the node fetches itself: only from where the configuration allows, and whole."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from archive_support import (
    RunningNode,
    archive,
    command,
    edits,
    elements,
    push,
    retrieve,
    running_node,
)
from archive_support import set_attributes as attributes
from crc32c import crc32c

from pyvospace_ngas.ngas.status import Answer, parse

LARGE = bytes(range(256)) * 8000
BIN = "application/octet-stream"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """The folder that files may be archived from."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
async def node(tmp_path: Path, incoming: Path) -> AsyncIterator[RunningNode]:
    edit = attributes("ArchiveHandling", PullRoots=f"{tmp_path / 'none'}:{incoming}")
    async with running_node(tmp_path / "node", edit=edit) as running:
        yield running


async def pull(
    session: ClientSession, node: RunningNode, uri: str, name: str = "ARCHIVE", **more: str
) -> tuple[int, Answer]:
    query = {"filename": uri, "mime_type": BIN} | more
    return await command(session, f"{node.url}/{name}", **query)


def nothing_kept(node: RunningNode) -> bool:
    volume = node.node.volumes[0].path
    return not [path for path in volume.rglob("*") if path.is_file() and path.suffix != ""]


# Files of this machine


@pytest.mark.parametrize("name", ["ARCHIVE", "QARCHIVE"])
@pytest.mark.parametrize("data", [b"", b"small", LARGE])
async def test_a_file_below_the_roots_is_archived(
    node: RunningNode, session: ClientSession, incoming: Path, name: str, data: bytes
) -> None:
    (incoming / "deep").mkdir()
    path = incoming / "deep" / "a b.bin"
    path.write_bytes(data)
    status, answer = await pull(session, node, path.as_uri(), name)
    found = answer.disks[0].files[0]
    assert (status, found.file_id, found.file_size) == (200, "a b.bin", len(data))
    assert found.checksum == str(crc32c(data))
    assert "Archive Pull Request" in answer.status.message
    assert await retrieve(session, node.url, "a b.bin") == data
    assert path.read_bytes() == data


async def test_a_link_counts_as_what_it_leads_to(
    node: RunningNode, session: ClientSession, incoming: Path, tmp_path: Path
) -> None:
    (incoming / "a.bin").write_bytes(b"inside")
    (incoming / "good.bin").symlink_to(incoming / "a.bin")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"outside")
    (incoming / "bad.bin").symlink_to(secret)
    (incoming / "out").symlink_to(tmp_path)
    status, _ = await pull(session, node, f"file://{incoming}/good.bin")
    assert status == 200
    for name in ("bad.bin", "out/secret.bin", "../secret.bin", "%2e%2e/secret.bin"):
        status, answer = await pull(session, node, f"file://{incoming}/{name}")
        assert (status, answer.status.code) == (403, 4012)


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("file:///etc/passwd", 403),
        ("file:///no/such/file", 403),  # what is outside is not told
        ("file:///proc/self/environ", 403),
        ("file://{root}", 403),
        ("file://{root}/none.bin", 404),
        ("file://{root}/a.bin/b.bin", 404),
        ("file://{root}/folder", 400),
        ("file://{root}/pipe", 400),
        ("file://{root}/" + "x" * 140 + "/" + "y" * 300 + "/z.bin", 404),
        ("file://elsewhere/a.bin", 400),
        ("file://{root}/a%00.bin", 400),
        ("{root}/a.bin", 400),
        ("ftp://127.0.0.1/a.bin", 400),
        ("gopher://127.0.0.1/a.bin", 400),
        ("http://[/a.bin", 400),
        ("http://a/%41?file_id=a.bin&x=\r\nX-Evil: 1", 400),
        ("http://127.0.0.1/a.bin", 403),
        ("http://localhost:1/a.bin", 403),
    ],
)
async def test_everything_else_is_refused_with_an_answer(
    node: RunningNode, session: ClientSession, incoming: Path, uri: str, status: int
) -> None:
    (incoming / "folder").mkdir()
    os.mkfifo(incoming / "pipe")
    (incoming / "a.bin").write_bytes(b"x")
    found, answer = await pull(session, node, uri.format(root=incoming))
    assert (found, answer.status.status) == (status, "FAILURE")
    assert node.node.sub_state == "IDLE"
    assert nothing_kept(node)


# Other hosts


@asynccontextmanager
async def source(**routes: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """A server of files: each route is a name and what answers it."""
    app = web.Application()
    for name, handler in routes.items():
        app.router.add_get(f"/{name}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def whole(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=LARGE)


async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(LARGE)
    return response


async def broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(LARGE))})
    await response.prepare(request)
    await response.write(LARGE[:1000])
    assert request.transport is not None
    request.transport.close()
    return response


async def silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "9"})
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.Event().wait()
    return response


def hosts(root: Path, *names: str, **server: str) -> AbstractAsyncContextManager[RunningNode]:
    """A node that may fetch from these."""
    allowed = attributes("ArchiveHandling", PullHosts=",".join(names))
    return running_node(root, edit=edits(allowed, attributes("Server", **server)))


async def test_files_are_fetched_whole_or_not_at_all(
    tmp_path: Path, session: ClientSession
) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query.get("to", "whole"))

    async def endless(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("endless")

    async def unsized(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.0 200 OK\r\n\r\nabc")
        request.transport.close()
        return web.Response()

    names = {
        "whole.bin": whole, "chunked.bin": chunked, "broken.bin": broken, "silent.bin": silent,
        "moved.bin": moved, "endless": endless, "unsized.bin": unsized,
    }  # fmt: skip
    async with (
        source(whole=whole, **names) as host,
        source(**names) as other,
        hosts(tmp_path, host, "sky.example", TimeOut="1") as node,
    ):
        for name in ("whole.bin", "chunked.bin", "moved.bin"):
            status, answer = await pull(session, node, f"http://{host}/{name}")
            assert status == 200
            assert answer.disks[0].files[0].file_id == name
            assert await retrieve(session, node.url, name) == LARGE
        for uri, code in {
            f"http://{host}/none.bin": 404,
            f"http://{host}/broken.bin": 502,
            f"http://{host}/silent.bin": 504,
            f"http://{host}/unsized.bin": 502,
            f"http://{host}/endless": 502,
            f"http://{other}/whole.bin": 403,
            f"http://{host}/moved.bin?to=http://{other}/whole.bin": 403,
            f"http://{host}/moved.bin?to=file:///etc/passwd": 502,
            f"http://user:secret@{host}/whole.bin": 400,
            f"https://{host}/whole.bin": 502,
            "http://sky.example:8080/a.bin": 403,
        }.items():
            status, answer = await pull(session, node, uri)
            assert (status, answer.status.code) == (code, 4012), uri
            assert "secret" not in answer.status.message
        wrong = {"filename": f"http://{host}/whole.bin", "mime_type": BIN}
        async with session.get(
            f"{node.url}/QARCHIVE", params=wrong, headers={"NGAS-File-CRC": "1"}
        ) as response:
            assert response.status == 400
        assert node.node.sub_state == "IDLE"
        assert not list((tmp_path / "volumes/volume1/staging").iterdir())


async def test_a_node_pulls_from_another_one_under_the_same_id(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path / "one") as one:
        await archive(session, one.url, "a.bin", LARGE)
        async with hosts(tmp_path / "two", f"127.0.0.1:{one.port}") as two:
            uri = f"{one.url}/RETRIEVE?file_id=a.bin"
            status, answer = await pull(session, two, uri, "QARCHIVE")
            assert (status, answer.disks[0].files[0].file_id) == (200, "a.bin")
            assert await retrieve(session, two.url, "a.bin") == LARGE


async def test_a_fetched_file_needs_room(tmp_path: Path, session: ClientSession) -> None:
    async with source(**{"a.bin": chunked}) as host, hosts(tmp_path, host) as node:
        volume = node.node.volumes[0]
        free = volume.free()
        volume.promised = free - 1000
        status, answer = await pull(session, node, f"http://{host}/a.bin")
        assert (status, answer.status.code) == (507, 3022)
        assert not list(volume.staging.iterdir())


# LARCHIVE


async def test_larchive_takes_the_file_away(
    node: RunningNode, session: ClientSession, incoming: Path
) -> None:
    path = incoming / "a.bin"
    path.write_bytes(LARGE)
    url = f"{node.url}/LARCHIVE"
    asked = {"fileUri": str(path), "mime_type": BIN}
    async with session.head(url, params=asked) as response:
        assert response.status == 405
    assert path.exists()
    status, answer = await command(session, url, fileUri=str(path), mime_type=BIN)
    assert (status, answer.disks[0].files[0].file_id) == (200, "a.bin")
    assert not path.exists()
    assert await retrieve(session, node.url, "a.bin") == LARGE
    for parameters, code in (
        ({"filename": str(path)}, 4013),
        ({"fileUri": "/etc/passwd"}, 4012),
        ({"fileUri": "a.bin"}, 4012),
    ):
        status, answer = await command(session, url, mime_type=BIN, **parameters)
        assert (answer.status.status, answer.status.code) == ("FAILURE", code)
    assert Path("/etc/passwd").exists()


async def test_what_larchive_does_not_archive_stays(
    node: RunningNode, session: ClientSession, incoming: Path
) -> None:
    path = incoming / "a.bin"
    path.write_bytes(b"x")
    node.node.volumes[0].completed = True
    status, _ = await command(
        session, f"{node.url}/LARCHIVE", fileUri=path.as_uri(), mime_type=BIN
    )
    assert status == 507
    assert path.exists()


async def test_larchive_does_not_touch_what_lies_in_a_volume(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, edit=attributes("ArchiveHandling", PullRoots="/")) as node:
        _, answer = await archive(session, node.url, "a.bin", b"x")
        path = Path(answer.disks[0].mount_point) / answer.disks[0].files[0].file_name
        url = f"{node.url}/LARCHIVE"
        status, answer = await command(session, url, fileUri=str(path), mime_type=BIN)
        assert (status, answer.status.code) == (400, 4012)
        assert path.exists()


# REARCHIVE


def info(**changes: str) -> dict[str, str]:
    known = {
        "FileName": "arch/2026-01-01/3/re.bin",
        "FileId": "re",
        "FileVersion": "3",
        "Format": BIN,
        "FileSize": "5",
        "UncompressedFileSize": "50",
        "Compression": "gzip",
        "IngestionDate": "2026-01-01T00:00:00.000",
        "Checksum": str(crc32c(b"again")),
        "ChecksumPlugIn": "crc32c",
        "FileStatus": "01000000",
        "CreationDate": "2025-12-31T00:00:00.000",
    } | changes
    values = " ".join(f'{name}="{value}"' for name, value in known.items())
    text = f'<?xml version="1.0"?><FileStatus {values}/>'
    return {"NGAS-File-Info": base64.b64encode(text.encode()).decode()}


async def rearchive(
    session: ClientSession, node: RunningNode, data: bytes, headers: dict[str, str], **more: str
) -> tuple[int, Answer]:
    url = f"{node.url}/REARCHIVE"
    async with session.post(url, params=more, data=data, headers=headers) as response:
        return response.status, parse(await response.read())


async def test_a_file_is_rearchived_as_what_it_was(
    node: RunningNode, session: ClientSession, incoming: Path
) -> None:
    status, answer = await rearchive(session, node, b"again", info(), filename="x.bin")
    assert status == 200
    _, answer = await command(session, f"{node.url}/STATUS", file_id="re")
    found = answer.disks[0].files[0]
    assert (found.file_version, found.file_name.rpartition("/")[2]) == (3, "re.bin")
    assert (found.ingestion_date, found.creation_date) == (
        "2026-01-01T00:00:00.000",
        "2025-12-31T00:00:00.000",
    )
    assert (found.compression, found.uncompressed_file_size) == ("gzip", 50)
    assert found.file_status == "01000000"
    status, answer = await rearchive(session, node, b"again", info())
    assert status == 400
    assert "version 3 already" in answer.status.message
    status, _ = await rearchive(session, node, b"again", info(), no_versioning="1")
    assert status == 200
    status, _ = await rearchive(session, node, b"again", info(FileVersion="1"))
    assert status == 200
    _, answer = await push(session, node.url, {"filename": "n.bin", "file_id": "re"}, b"new")
    assert answer.disks[0].files[0].file_version == 4
    (incoming / "re.bin").write_bytes(b"again")
    async with session.get(
        f"{node.url}/REARCHIVE",
        params={"file_uri": (incoming / "re.bin").as_uri()},
        headers=info(FileVersion="2"),
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"again", {}),
        (b"again", {"NGAS-File-Info": "no base64!"}),
        (b"again", {"NGAS-File-Info": base64.b64encode(b"<x/>").decode()}),
        (b"again", info(FileId="")),
        (b"again", info(FileVersion="0")),
        (b"again", info(FileVersion="99999999999")),
        (b"again", info(FileId="x" * 65)),
        (b"again", info(ChecksumPlugIn="md5")),
        (b"other", info()),
        (b"again!", info(Checksum="")),
    ],
)
async def test_what_does_not_fit_is_not_rearchived(
    node: RunningNode, session: ClientSession, data: bytes, headers: dict[str, str]
) -> None:
    status, answer = await rearchive(session, node, data, headers)
    assert (status, answer.status.status) == (400, "FAILURE")
    assert nothing_kept(node)


# REGISTER


async def register(
    session: ClientSession, node: RunningNode, path: object, **more: str
) -> tuple[int, Answer]:
    return await command(session, f"{node.url}/REGISTER", path=str(path), **more)


async def test_a_file_in_a_volume_gets_its_row_and_stays_where_it_is(
    node: RunningNode, session: ClientSession
) -> None:
    path = node.node.volumes[0].path / "old" / "reg.bin"
    path.parent.mkdir()
    path.write_bytes(LARGE)
    status, answer = await register(session, node, path, mime_type=BIN)
    assert (status, answer.status.actual_count) == (200, "1")
    _, answer = await command(session, f"{node.url}/STATUS", file_id="reg.bin")
    found = answer.disks[0].files[0]
    assert (found.file_name, found.file_version) == ("old/reg.bin", 1)
    assert (found.file_size, found.checksum) == (len(LARGE), str(crc32c(LARGE)))
    assert (answer.disks[0].number_of_files, answer.disks[0].bytes_stored) == (1, len(LARGE))
    assert path.stat().st_mode & 0o777 == 0o444
    assert await retrieve(session, node.url, "reg.bin") == LARGE
    _, answer = await register(session, node, path, mime_type=BIN)
    assert answer.status.actual_count == "0"  # it is known


async def test_a_folder_is_registered_but_for_what_is_known_or_not_wanted(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    await archive(session, node.url, "known.bin", b"x")
    root = node.node.volumes[0].path
    (root / "more").mkdir()
    for name in ("a.bin", "b.txt", "c.unknown", "a b'\".bin"):
        (root / "more" / name).write_bytes(name.encode())
    (tmp_path / "secret.bin").write_bytes(b"x")
    (root / "more" / "link.bin").symlink_to(tmp_path / "secret.bin")
    (root / "more" / "out").symlink_to(tmp_path)
    _, answer = await register(session, node, root, mime_type=f"{BIN},text/xml")
    assert (answer.status.expected_count, answer.status.actual_count) == ("3", "2")
    _, answer = await register(session, node, root)
    assert answer.status.actual_count == "1"
    found = await node.node.database.fetch("select file_id from ngas_files order by file_id")
    assert [row[0] for row in found] == ["a b'\".bin", "a.bin", "b.txt", "known.bin"]


@pytest.mark.parametrize(
    "path",
    [
        *("/nope", "/etc/passwd", "relative", "{root}/none", "{root}/out/secret.bin"),
        *("{root}/.ngas_volume_info", "{root}/../../node.xml", "{root}/" + "x" * 5000),
    ],
)
async def test_what_lies_in_no_volume_is_not_registered(
    node: RunningNode, session: ClientSession, tmp_path: Path, path: str
) -> None:
    root = node.node.volumes[0].path
    (tmp_path / "secret.bin").write_bytes(b"x")
    (root / "out").symlink_to(tmp_path)
    status, answer = await register(session, node, path.format(root=root), mime_type=BIN)
    assert (status, answer.status.code) == (400, 4055)


async def test_a_registration_plug_in_names_the_file(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "naming.py").write_text(
        "from pyvospace_ngas.archive.interfaces import Accepted\n"
        "def naming(file):\n"
        "    if file.size == 1:\n        raise ValueError('too small')\n"
        "    return Accepted(file_id=file.parameters + file.name)\n"
    )

    edit = elements(
        '<Register><PlugIn Name="naming" PlugInPars="sky-">'
        f'<MimeType Name="{BIN}"/></PlugIn></Register>'
    )
    async with running_node(tmp_path / "node", edit=edit) as node:
        root = node.node.volumes[0].path
        (root / "a.bin").write_bytes(b"xx")
        (root / "b.bin").write_bytes(b"x")
        _, answer = await register(session, node, root)
        assert (answer.status.expected_count, answer.status.actual_count) == ("2", "1")
        assert await retrieve(session, node.url, "sky-a.bin") == b"xx"
        status, answer = await register(session, node, root / "b.bin")
        assert (status, answer.status.code) == (400, 4055)
        assert "too small" in answer.status.message


@pytest.mark.parametrize("name", ["LARCHIVE", "REARCHIVE", "REGISTER"])
async def test_permission_and_state_come_first(
    tmp_path: Path, session: ClientSession, name: str
) -> None:
    edit = attributes("Permissions", AllowArchiveReq="0")
    async with running_node(tmp_path / "not", edit=edit) as node:
        _, answer = await command(session, f"{node.url}/{name}")
        assert answer.status.code == 4017
    async with running_node(tmp_path / "offline", online=False) as node:
        _, answer = await command(session, f"{node.url}/{name}")
        assert answer.status.code == 4015


# LABEL


async def test_a_disk_is_labelled_and_its_label_printed(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "printing.py").write_text(
        "from pathlib import Path\n"
        "def printing(label, parameters):\n    Path(parameters).write_text(label)\n"
    )
    printed = tmp_path / "printed"
    edit = attributes(
        "SystemPlugIns", LabelPrinterPlugIn="printing", LabelPrinterPlugInPars=str(printed)
    )
    async with running_node(tmp_path / "node", volumes=2, edit=edit) as node:
        url = f"{node.url}/LABEL"
        where = {"slot_id": "volume1", "host_id": node.host_id}
        status, _ = await command(session, url, **where)
        assert (status, printed.read_text()) == (200, "NGAS-M-000001")
        status, _ = await command(session, url, **where, relabel="1", new_label="Ö-7")
        assert (status, printed.read_text()) == (200, "Ö-7")
        _, answer = await command(
            session, f"{node.url}/STATUS", disk_id=node.node.volumes[0].disk_id
        )
        assert answer.disks[0].logical_name == "Ö-7"
        for parameters, code in (
            ({"slot_id": "volume1"}, 4010),
            (where | {"slot_id": "none"}, 4020),
            (where | {"relabel": "1"}, 4035),
            (where | {"relabel": "1", "new_label": "x" * 129}, 4035),
            (where | {"relabel": "1", "new_label": "NGAS-M-000002"}, 4010),
        ):
            status, answer = await command(session, url, **parameters)
            assert (status, answer.status.code) == (400, code)
        printed.unlink()
        printed.mkdir()
        status, answer = await command(session, url, **where)
        assert (status, answer.status.code) == (500, 4010)
