"""Our node is asked what a real NGAS was asked, and answers what its clients rely on."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from archive_support import (
    Edit,
    RunningNode,
    archive,
    edits,
    elements,
    running_node,
    set_attributes,
)
from crc32c import crc32c
from lxml import etree
from ngas_transcripts import APPENDICES, BYTES, Row
from yarl import URL

from pyvospace_ngas.archive.authorization import hashed

ALWAYS = ["Date", "Version", "HostId", "Message", "Status", "State", "SubState"]
DISK = (
    *("DiskId", "Archive", "InstallationDate", "Type", "Manufacturer", "LogicalName", "HostId"),
    *("SlotId", "Mounted", "MountPoint", "NumberOfFiles", "AvailableMb", "BytesStored"),
    *("Completed", "CompletionDate", "Checksum", "TotalDiskWriteTime", "LastCheck"),
)
FILE = (
    *("FileName", "FileId", "FileVersion", "Format", "FileSize", "UncompressedFileSize"),
    *("Compression", "IngestionDate", "Ignore", "Checksum", "ChecksumPlugIn", "FileStatus"),
    *("CreationDate", "Tag", "Permissions", "Owner", "Group", "ModificationDate", "AccessDate"),
    *("TotalIoTime", "IngestionRate", "ContainerId"),
)
CODE = re.compile(r"NGAMS_[A-Z]+_[A-Z0-9_]+:(\d+):(ERROR|WARNING|INFO|ALERT|NOTICE)")
CHECKSUMS = {"crc32c": crc32c, "crc32": zlib.crc32, "crc32z": zlib.crc32}
USERS = (
    f'<Authorization Enable="1"><User Name="admin" Password="{hashed("admin")}" Commands="*"/>'
    f'<User Name="reader" Password="{hashed("reader")}" Commands="STATUS"/></Authorization>'
)
SLOTS = ("volume1", "volume2", "volume3")
STREAMS = (
    "<StorageSets>"
    + "".join(f'<StorageSet StorageSetId="{one}" MainDiskSlotId="{one}"/>' for one in SLOTS)
    + "</StorageSets><Streams>"
    + "".join(
        f'<Stream MimeType="{mime_type}">'
        + "".join(f'<StorageSetRef StorageSetId="{one}"/>' for one in SLOTS)
        + "</Stream>"
        for mime_type in ("application/octet-stream", "text/plain", "ngas/container")
    )
    + "</Streams>"
)


@dataclass(frozen=True)
class Answered:
    """What came back."""

    http: int
    headers: Mapping[str, str]
    body: bytes
    wanted: Mapping[str, str]  # the beginnings of headers, with what was put in for {...}

    def document(self) -> etree._Element:
        return etree.fromstring(self.body)


@dataclass
class Memory:
    """What later requests need of earlier answers."""

    known: dict[str, str]
    answers: dict[str, Answered] = field(default_factory=dict)

    def fill(self, text: str, *, quoted: bool = False) -> str:
        def value(found: re.Match[str]) -> str:
            return quote(self.known[found[1]], safe="/:") if quoted else self.known[found[1]]

        return re.sub(r"\{([^}]+)\}", value, text)

    def take_in(self, answer: Answered) -> None:
        if b"<NgamsStatus" not in answer.body:
            return
        root = answer.document()
        for disk in root.iter("DiskStatus"):
            for file in disk.iter("FileStatus"):
                name = file.get("FileId", "")
                self.known[f"disk:{name}"] = disk.get("DiskId", "")
                path = Path(disk.get("MountPoint", ""), file.get("FileName", ""))
                self.known[f"path:{name}"] = str(path)
        for container in root.iter("Container"):
            self.known[f"container:{container.get('name')}"] = container.get("id", "")
        self.known["request"] = root[0].get("RequestId") or self.known.get("request", "")


def settings(appendix: str, root: Path, source: RunningNode) -> Edit:
    """Return what the node of an appendix has beside the usual."""
    host = source.url.removeprefix("http://")
    plain = (
        set_attributes("Server", RequestDbBackend="memory"),
        set_attributes("ArchiveHandling", PullRoots=str(root / "outside"), PullHosts=host),
        elements(STREAMS),
    )
    special: Mapping[str, Edit] = {
        "D": elements(USERS),
        "E": set_attributes("Permissions", AllowArchiveReq="0", AllowRemoveReq="0"),
        "F": set_attributes("Caching", Enable="1", Period="00T01:00:00"),
    }
    return edits(*plain, *([special[appendix]] if appendix in special else []))


async def perform(appendix: str, root: Path) -> dict[str, Answered]:
    """Make all requests of an appendix, one after the other."""
    (root / "outside").mkdir()
    (root / "outside" / "b.bin").write_bytes(BYTES["b"])
    (root / "outside" / "la.bin").write_bytes(BYTES["a"])
    database = str(root / "shared.sqlite")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        source = await stack.enter_async_context(running_node(root / "source"))
        await archive(session, source.url, "a.bin", BYTES["a"])
        edit = settings(appendix, root, source)
        one = await stack.enter_async_context(
            running_node(root / "one", database, edit=edit, volumes=3)
        )
        nodes = {"one": one}
        if appendix == "G":
            proxy = set_attributes("Server", ProxyMode="1")
            nodes["two"] = await stack.enter_async_context(
                running_node(root / "two", database, edit=proxy)
            )
        (root / "one" / "volumes" / "volume1" / "reg.bin").write_bytes(BYTES["b"])
        memory = Memory(places(nodes, root) | {"source": source.url})
        for row in APPENDICES[appendix]:
            memory.answers[row.title] = await ask(session, nodes[row.node].url, row, memory)
        return memory.answers


def places(nodes: Mapping[str, RunningNode], root: Path) -> dict[str, str]:
    """Return what is known before the first request."""
    one, last = nodes["one"], nodes.get("two", nodes["one"])
    return {
        "host": one.host_id,
        "other": last.host_id,
        "url": one.url,
        "other_url": last.url,
        "outside": str(root / "outside"),
        "volume": str(root / "one" / "volumes" / "volume1"),
        "crc32:a": str(zlib.crc32(BYTES["a"])),
    }


async def ask(session: ClientSession, url: str, row: Row, memory: Memory) -> Answered:
    """Make one request."""
    method, target = row.request.split(" ", 1)
    fields = {name: memory.fill(value) for name, value in row.fields.items()}
    body: object = None if row.body is None else BytesIO(BYTES[row.body])
    if fields.pop("Transfer-Encoding", None):
        body = pieces(BYTES[row.body or "a"])
    async with session.request(
        method,
        URL(url + memory.fill(target, quoted=True), encoded=True),
        data=body,
        headers=fields,
        allow_redirects=False,
        skip_auto_headers=["Content-Type"],
    ) as response:
        wanted = {name: memory.fill(value) for name, value in row.headers.items()}
        answer = Answered(response.status, response.headers, await response.read(), wanted)
    memory.take_in(answer)
    return answer


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture(scope="module")
def transcripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Answered]]:
    """The answers by appendix and title."""
    return {
        appendix: asyncio.run(perform(appendix, tmp_path_factory.mktemp("transcripts")))
        for appendix in APPENDICES
    }


EVERY = [(appendix, row) for appendix, rows in APPENDICES.items() for row in rows]


@pytest.mark.parametrize(
    ("appendix", "row"), EVERY, ids=[f"{appendix}: {row.title}" for appendix, row in EVERY]
)
def test_our_node_answers_as_the_real_one(
    transcripts: dict[str, dict[str, Answered]], appendix: str, row: Row
) -> None:
    answer = transcripts[appendix][row.title]
    assert answer.http == row.http, answer.body[:600]
    shown = {
        name: answer.headers.get(name, "")[: len(begin)] for name, begin in answer.wanted.items()
    }
    assert shown == dict(answer.wanted)
    if row.status:
        check_document(row, answer.document())
    if row.sent is not None:
        assert answer.body == expected_bytes(row.sent)


def check_document(row: Row, root: etree._Element) -> None:
    status = root[0]
    assert (root.tag, status.tag) == ("NgamsStatus", "Status")
    assert (status.get("Status"), status.get("State")) == (row.status, row.state)
    found = CODE.match(status.get("Message", ""))
    assert (int(found[1]) if found else None) == row.code or row.code is None
    attributes = [name for name in row.more.split() if has_attribute(name)]
    assert [name for name in (*ALWAYS, *attributes) if name not in status.attrib] == []
    present = {str(element.tag) for element in root.iter()}
    assert set(row.more.split()) - set(attributes) <= present
    for element in root.iter("DiskStatus"):
        assert set(DISK) <= set(element.attrib)
    for element in root.iter("FileStatus"):
        assert set(FILE) <= set(element.attrib)
    if row.file is not None:
        check_file(row, next(root.iter("FileStatus")))


def check_file(row: Row, element: etree._Element) -> None:
    assert row.file is not None
    file_id, version, which = row.file
    data = BYTES[which]
    expected = {
        "FileId": file_id,
        "FileVersion": str(version),
        "Format": row.format,
        "FileSize": str(len(data)),
        "UncompressedFileSize": str(len(data)),
        "Compression": "NONE",
        "Ignore": "0",
        "Checksum": str(CHECKSUMS[row.crc](data)),
        "FileStatus": "00000000",
    }
    assert {name: element.get(name) for name in expected} == expected
    assert element.get("ChecksumPlugIn") in {row.crc, "1"}


def has_attribute(name: str) -> bool:
    return not name.endswith("Status") and name not in {"Container", "NgamsCfgFile"}


def expected_bytes(name: str) -> bytes:
    if name == "first part":
        return b"first"
    found = re.fullmatch(r"(\w+)\[(-?\d*):(\d*)\]", name)
    if found is None:
        return BYTES[name]
    return BYTES[found[1]][slice(*(int(each) if each else None for each in found.groups()[1:]))]


def test_every_difference_has_its_reason() -> None:
    text = (files("pyvospace_ngas.archive") / "DIFFERENCES.md").read_text(encoding="utf-8")
    named = {row.differs for _, row in EVERY if row.differs}
    assert named <= set(re.findall(r"^## (\S+):", text, re.MULTILINE))


def test_titles_tell_the_rows_apart() -> None:
    for rows in APPENDICES.values():
        titles = [row.title for row in rows]
        assert len(set(titles)) == len(titles)
