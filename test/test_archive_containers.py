"""Logical containers: groups of files that are archived, listed and retrieved together."""

from __future__ import annotations

import email
import email.policy
import io
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from aiohttp import ClientSession
from archive_support import RunningNode, archive, command, running_node, until

from pyvospace_ngas.archive.index import locate
from pyvospace_ngas.archive.upload import Upload
from pyvospace_ngas.ngas.status import Answer, Container, parse

TYPE = {"Content-Type": "application/octet-stream"}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path, volumes=2) as running:
        yield running


async def test_a_cluster_on_postgresql_has_containers_too(
    tmp_path: Path, empty_dsn: str, http: ClientSession
) -> None:
    async with running_node(tmp_path, empty_dsn) as node:
        await test_files_are_put_in_moved_by_force_and_taken_out(node, http)
        await test_a_container_with_others_in_it_is_destroyed_only_when_so_told(node, http)


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def post(http: ClientSession, url: str, body: bytes, **query: str) -> tuple[int, Answer]:
    headers = {"Content-Type": "text/xml"}
    async with http.post(url, params=query, data=body, headers=headers) as response:
        return response.status, parse(await response.read())


async def made(http: ClientSession, node: RunningNode, name: str, **query: str) -> str:
    status, answer = await command(http, f"{node.url}/CCREATE", container_name=name, **query)
    assert (status, answer.status.status) == (200, "SUCCESS")
    assert answer.containers[0].name == name
    return answer.containers[0].id


async def listed(http: ClientSession, node: RunningNode, container_id: str) -> Container:
    _, answer = await command(http, f"{node.url}/CLIST", container_id=container_id)
    return answer.containers[0]


def message(name: str, *parts: bytes, mark: str = "B", preamble: bytes = b"") -> bytes:
    head = f'Content-Type: multipart/mixed; container_name="{name}"; boundary="{mark}"\r\n\r\n'
    body = b"".join(b"--%s\r\n%s\r\n" % (mark.encode(), part) for part in parts)
    return head.encode() + preamble + body + b"--%s--\r\n" % mark.encode()


def part(name: str, data: bytes, format_: str = "text/plain") -> bytes:
    return (
        f'Content-Type: {format_}\r\nContent-Disposition: attachment; filename="{name}"\r\n\r\n'
    ).encode() + data


async def carchive(
    http: ClientSession, node: RunningNode, body: bytes, content_type: str = "ngas/container"
) -> tuple[int, Answer]:
    headers = {"MIME-Version": "1.0", "Content-Type": content_type}
    source = io.BytesIO(body)
    async with http.post(f"{node.url}/CARCHIVE", data=source, headers=headers) as response:
        return response.status, parse(await response.read())


async def test_containers_are_made_in_a_hierarchy_with_names_of_their_own(
    node: RunningNode, http: ClientSession
) -> None:
    top = await made(http, node, "cont1")
    child = await made(http, node, "kid", parent_container_id=top)
    headers = {"parent_container_id": top}
    async with http.get(
        f"{node.url}/CCREATE", params={"container_name": "by-header"}, headers=headers
    ) as response:
        assert response.status == 200
    found = await listed(http, node, top)
    assert [below.name for below in found.containers] == ["by-header", "kid"]
    assert found.containers[1].id == child
    for name, parent in (("cont1", {}), ("kid", {"parent_container_id": top})):
        status, answer = await command(http, f"{node.url}/CCREATE", container_name=name, **parent)
        assert (status, answer.status.status) == (409, "FAILURE")
        assert "already exists" in answer.status.message
    status, _ = await command(
        http, f"{node.url}/CCREATE", container_name="x", parent_container_id="nope"
    )
    assert status == 404
    assert (await command(http, f"{node.url}/CCREATE"))[0] == 400


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 256, "a\nb"])
async def test_a_container_has_a_usable_name(
    node: RunningNode, http: ClientSession, name: str
) -> None:
    status, _ = await command(http, f"{node.url}/CCREATE", container_name=name)
    assert status == 400


async def test_a_document_makes_a_whole_hierarchy_or_nothing(
    node: RunningNode, http: ClientSession
) -> None:
    url = f"{node.url}/CCREATE"
    body = b'<collection name="root2"><leaf name="l1"/><leaf name="l2"/></collection>'
    status, answer = await post(http, url, body)
    assert status == 200
    assert [child.name for child in answer.containers[0].containers] == ["l1", "l2"]
    twins = b'<c name="root3"><l name="same"/><l name="same"/></c>'
    assert (await post(http, url, twins))[0] == 409
    for bad in (b"<c", b"<c/>", b'<!DOCTYPE c [<!ENTITY e "x">]><c name="&e;"/>'):
        assert (await post(http, url, bad))[0] == 400
    assert (await command(http, f"{node.url}/CLIST", container_name="root3"))[0] == 404


async def test_files_are_put_in_moved_by_force_and_taken_out(
    node: RunningNode, http: ClientSession
) -> None:
    for name, size in (("a.bin", 1000), ("b.bin", 2000)):
        await archive(http, node.url, name, bytes(size))
    one, two = await made(http, node, "one"), await made(http, node, "two")
    url = f"{node.url}/CAPPEND"
    files = b'<l><File FileId="a.bin"/><File FileId="b.bin"/></l>'
    assert (await post(http, url, files, container_name="one"))[0] == 200
    found = await listed(http, node, one)
    assert [(file.file_id, file.file_size) for file in found.files] == [
        ("a.bin", 1000),
        ("b.bin", 2000),
    ]
    assert (found.size, found.ingestion_date) == (3000, "")
    again = {"file_id": "a.bin", "container_id": two}
    assert (await command(http, url, **again))[0] == 409
    assert (await command(http, url, **again, force="1", close_container="1"))[0] == 200
    assert (await listed(http, node, one)).size == 2000
    moved = await listed(http, node, two)
    assert (moved.size, moved.ingestion_date != "") == (1000, True)
    url = f"{node.url}/CREMOVE"
    for file_id in ("a.bin", "b.bin"):  # the second is not in it: that does not matter
        assert (await command(http, url, file_id=file_id, container_id=two))[0] == 200
    assert (await listed(http, node, two)).files == ()
    assert (await command(http, f"{node.url}/STATUS", file_id="a.bin"))[0] == 200


async def test_of_several_files_all_are_put_in_or_none(
    node: RunningNode, http: ClientSession
) -> None:
    await archive(http, node.url, "a.bin", b"a")
    one = await made(http, node, "one")
    files = b'<l><File FileId="a.bin"/><File FileId="gone"/></l>'
    status, answer = await post(http, f"{node.url}/CAPPEND", files, container_id=one)
    assert (status, answer.status.status) == (404, "FAILURE")
    assert "'gone'" in answer.status.message
    assert (await listed(http, node, one)).files == ()
    assert (await command(http, f"{node.url}/CAPPEND", container_id=one))[0] == 400
    assert (await command(http, f"{node.url}/CAPPEND", file_id="a.bin"))[0] == 400


async def test_a_discarded_and_an_overwritten_file_change_the_size_of_their_container(
    node: RunningNode, http: ClientSession
) -> None:
    await archive(http, node.url, "a.bin", bytes(1000))
    _, answer = await archive(http, node.url, "b.bin", bytes(500))
    one = await made(http, node, "one")
    files = b'<l><File FileId="a.bin"/><File FileId="b.bin"/></l>'
    await post(http, f"{node.url}/CAPPEND", files, container_id=one)
    await archive(http, node.url, "a.bin", bytes(10), no_versioning="1")
    assert (await listed(http, node, one)).size == 510
    disk = answer.disks[0]
    await command(
        http,
        f"{node.url}/DISCARD",
        disk_id=disk.disk_id,
        file_id="b.bin",
        file_version="1",
        execute="1",
    )
    assert (await listed(http, node, one)).size == 10


async def test_a_container_with_others_in_it_is_destroyed_only_when_so_told(
    node: RunningNode, http: ClientSession
) -> None:
    await archive(http, node.url, "a.bin", b"a")
    top = await made(http, node, "top")
    child = await made(http, node, "kid", parent_container_id=top)
    await command(http, f"{node.url}/CAPPEND", file_id="a.bin", container_id=child)
    url = f"{node.url}/CDESTROY"
    status, answer = await command(http, url, container_name="top")
    assert (status, answer.status.status) == (409, "FAILURE")
    assert (await command(http, url, container_name="top", recursive="1"))[0] == 200
    for gone in (top, child):
        assert (await command(http, f"{node.url}/CLIST", container_id=gone))[0] == 404
    copies = await locate(node.node.database, "a.bin")
    assert copies[0].file.container_id is None


async def test_a_copy_that_is_made_meanwhile_is_in_the_container_as_well(
    node: RunningNode, http: ClientSession
) -> None:
    await archive(http, node.url, "a.bin", bytes(1000))
    [source] = await locate(node.node.database, "a.bin")  # as CLONE sees it when it begins
    one = await made(http, node, "one")
    await command(http, f"{node.url}/CAPPEND", file_id="a.bin", container_id=one)
    (other,) = (each for each in node.node.volumes if each.disk_id != source.file.disk_id)
    upload = Upload(
        token=str(uuid.uuid4()),
        volume=other,
        file_id="a.bin",
        name="a.bin",
        format=source.file.format,
        size=1000,
        checksum=source.file.checksum,
        checksum_plugin=source.file.checksum_plugin,
        body=bytes(1000),
        started=source.file.creation_date,
        source=source.file,
    )
    await node.node.committer.archive(upload)
    copies = await locate(node.node.database, "a.bin")
    assert [copy.file.container_id for copy in copies] == [one, one]
    assert (await listed(http, node, one)).size == 1000


async def test_a_name_that_two_containers_have_is_refused(
    node: RunningNode, http: ClientSession
) -> None:
    top = await made(http, node, "same")
    await made(http, node, "same", parent_container_id=top)
    status, answer = await command(http, f"{node.url}/CLIST", container_name="same")
    assert status == 409
    assert "container_id" in answer.status.message
    assert (await command(http, f"{node.url}/CLIST"))[0] == 400


async def test_a_message_is_archived_and_comes_back_as_tar_and_as_message(
    node: RunningNode, http: ClientSession
) -> None:
    inner = message("inner", part("deep ü.txt", b"deep"), mark="I")
    large = bytes(range(256)) * 8192
    body = message(
        "obs",
        part("one.txt", b"hello one\r\n"),
        part("two.bin", large, "application/x-two"),
        part("empty.txt", b""),
        inner,
    )
    status, answer = await carchive(http, node, body)
    assert (status, answer.status.status) == (200, "SUCCESS")
    obs = answer.containers[0]
    assert (obs.name, obs.size) == ("obs", len(large) + 11)
    assert [file.file_id for file in obs.files] == ["empty.txt", "one.txt", "two.bin"]
    assert obs.files[2].format == "application/x-two"
    assert [file.file_id for file in obs.containers[0].files] == ["deep ü.txt"]
    url = f"{node.url}/CRETRIEVE"
    query = {"container_name": "obs", "format": "application/x-tar"}
    async with http.get(url, params=query) as response:
        packed = await response.read()
        assert response.headers["Content-Length"] == str(len(packed))
        assert response.headers["Content-Disposition"] == 'attachment; filename="obs"'
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = {
            each.name: found.read()
            for each in tar.getmembers()
            if (found := tar.extractfile(each)) is not None
        }
    assert files == {
        "obs/one.txt": b"hello one\r\n",
        "obs/two.bin": large,
        "obs/empty.txt": b"",
        "obs/inner/deep ü.txt": b"deep",
    }
    async with http.get(url, params={"container_name": "obs"}) as response:
        text = await response.read()
        assert response.content_type == "ngas/container"
    parsed = email.message_from_bytes(text, policy=email.policy.HTTP)
    names = [
        unquote(each.get_filename() or "") for each in parsed.walk() if not each.is_multipart()
    ]
    assert names == ["empty.txt", "one.txt", "two.bin", "deep ü.txt"]
    # What we send is what we take: under another name it is archived again.
    async with http.get(f"{node.url}/CDESTROY", params=query | {"recursive": "1"}) as response:
        assert response.status == 200
    status, answer = await carchive(http, node, text)
    assert (status, answer.containers[0].size) == (200, obs.size)
    assert answer.containers[0].files[1].file_version == 2


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"This is MIME.\r\n"])
async def test_no_part_is_lost_whatever_stands_before_the_first(
    node: RunningNode, http: ClientSession, preamble: bytes
) -> None:
    body = message("c", part("1.txt", b"1"), part("2.txt", b"2"), preamble=preamble)
    _, answer = await carchive(http, node, body)
    assert [file.file_id for file in answer.containers[0].files] == ["1.txt", "2.txt"]


async def test_the_messages_headers_may_be_those_of_the_request(
    node: RunningNode, http: ClientSession
) -> None:
    body = message("c", part("1.txt", b"1")).partition(b"\r\n\r\n")[2]
    kind = 'multipart/mixed; boundary="B"; container_name="mpcont"'
    status, answer = await carchive(http, node, body, kind)
    assert (status, answer.containers[0].name) == (200, "mpcont")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Content-Type: text/plain\r\n\r\nhello",
        b"x" * 100_000,
        message("", part("1.txt", b"1")),
        message("c", part("1.txt", b"1"), b"Content-Type: a/b\r\n\r\nno name"),
        message("c", part("1.txt", b"1"), part("..", b"2")),
        message("c", part("1.txt", b"1"), message("", part("2.txt", b"2"), mark="I")),
        message("c", part("1.txt", b"1"), part("2.txt", b"2"))[:-20],
        message("c", part("1.txt", b"1"), part("2.txt", b"2" * 300_000))[:-100_000],
    ],
)
async def test_a_broken_message_leaves_nothing(
    node: RunningNode, http: ClientSession, body: bytes
) -> None:
    status, answer = await carchive(http, node, body)
    assert (status, answer.status.status) == (400, "FAILURE")
    assert answer.status.sub_state == "IDLE" or node.node.sub_state == "IDLE"
    assert await node.node.database.fetch("select * from ngas_files") == []
    assert await node.node.database.fetch("select * from ngas_containers") == []
    places = [volume.staging for volume in node.node.volumes]  # their names go after the answer
    await until(lambda: not any(each.is_file() for place in places for each in place.iterdir()))


async def test_a_taken_name_is_refused_and_the_files_do_not_stay(
    node: RunningNode, http: ClientSession
) -> None:
    await made(http, node, "c")
    status, _ = await carchive(http, node, message("c", part("1.txt", b"1")))
    assert status == 409
    assert await node.node.database.fetch("select * from ngas_files") == []


async def test_files_of_another_node_are_in_the_stream_as_well(
    tmp_path: Path, http: ClientSession
) -> None:
    index = str(tmp_path / "index.sqlite")
    async with (
        running_node(tmp_path / "1", index) as first,
        running_node(tmp_path / "2", index) as second,
    ):
        large = bytes(range(256)) * 2048
        await archive(http, first.url, "a.bin", large)
        await archive(http, second.url, "b.bin", b"second")
        await made(http, first, "both")
        files = b'<l><File FileId="a.bin"/><File FileId="b.bin"/></l>'
        await post(http, f"{first.url}/CAPPEND", files, container_name="both")
        query = {"container_name": "both", "format": "application/x-tar"}
        for node in (first, second):
            async with http.get(f"{node.url}/CRETRIEVE", params=query) as response:
                with tarfile.open(fileobj=io.BytesIO(await response.read())) as tar:
                    data = [found.read() for each in tar if (found := tar.extractfile(each))]
            assert data == [large, b"second"]


async def test_a_container_whose_file_is_gone_is_not_begun(
    node: RunningNode, http: ClientSession
) -> None:
    await carchive(http, node, message("c", part("1.txt", b"1")))
    [copy] = await locate(node.node.database, "1.txt")
    copy.path.unlink()
    status, answer = await command(http, f"{node.url}/CRETRIEVE", container_name="c")
    assert (status, answer.status.status) == (500, "FAILURE")
    status, _ = await command(http, f"{node.url}/CRETRIEVE", container_name="c", format="zip")
    assert status == 400
