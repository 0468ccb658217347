"""Status documents: the real server's are read, and ours say what its clients look for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from pyvospace_ngas.ngas.status import (
    Answer,
    Container,
    DiskStatus,
    FileStatus,
    MalformedAnswer,
    Status,
    parse,
    render,
)

HEAD = (
    '<?xml version="1.0" ?>\n'
    '<!DOCTYPE NgamsStatus SYSTEM "http://127.0.0.1:1/RETRIEVE?internal=ngamsStatus.dtd">\n'
)
REFUSED = (
    f"{HEAD}<NgamsStatus>\n"
    '  <Status Date="2026-11-21T23:20:00.546" Version="12.0/2022-11-29T07:00:00" '
    'HostId="vm:7777" Message="NGAMS_ER_UNAVAIL_FILE:4019:ERROR: no such file" '
    'Status="FAILURE" State="ONLINE" SubState="BUSY"/>\n'
    "</NgamsStatus>"
)
ARCHIVED = (
    f"{HEAD}<NgamsStatus>\n"
    '  <Status Date="2026-11-21T23:20:00.430" Version="12.0" HostId="vm:7777" '
    'Message="archived h\xe9 llo.bin" Status="SUCCESS" State="ONLINE" SubState="IDLE" '
    'RequestId="a7e956a9" RequestTime="2026-11-21T23:20:00.425"/>\n'
    '  <DiskStatus DiskId="5ed3" Archive="TestArchive" InstallationDate="2026" Type="UNDEFINED" '
    'Manufacturer="UNDEFINED" LogicalName="BULK-M-000001" HostId="vm:7777" SlotId="volume1" '
    'Mounted="1" MountPoint="/ngas/volume1" NumberOfFiles="2" AvailableMb="78050" '
    'BytesStored="2000" Completed="0" CompletionDate="" Checksum="" '
    'TotalDiskWriteTime="1.52e-05" LastCheck="">\n'
    '    <FileStatus FileName="arch/1/h\xe9 llo.bin" FileId="h\xe9 llo.bin" FileVersion="1" '
    'Format="application/octet-stream" FileSize="1000" UncompressedFileSize="1000" '
    'Compression="NONE" IngestionDate="2026-11-21T23:20:00.428" Ignore="0" '
    'Checksum="2368557860" ChecksumPlugIn="crc32c" FileStatus="00000000" '
    'CreationDate="2026-11-21T23:20:00.428" Tag="" Permissions="" Owner="" Group="" '
    'ModificationDate="" AccessDate="" TotalIoTime="junk" IngestionRate="3788892" '
    'ContainerId="None"/>\n'
    "  </DiskStatus>\n"
    "</NgamsStatus>"
)
STATUS = Status("2026-11-22T00:00:00.000", "12.0", "here:7777", "all is well")


def a_file(file_id: str) -> FileStatus:
    return FileStatus(
        file_name=f"arch/{file_id}",
        file_id=file_id,
        file_version=1,
        format="application/octet-stream",
        file_size=3,
        uncompressed_file_size=3,
        checksum="7",
        checksum_plugin="crc32c",
        ingestion_date="2026-11-22T00:00:00.000",
    )


def a_disk(*files: FileStatus) -> DiskStatus:
    return DiskStatus(
        disk_id="d1",
        archive="A",
        logical_name="A-M-000001",
        host_id="here:7777",
        slot_id="volume1",
        mount_point="/v1",
        number_of_files=len(files),
        available_mb=5,
        bytes_stored=3,
        files=files,
    )


def test_a_refusal_tells_its_number() -> None:
    status = parse(REFUSED.encode()).status
    assert not status.succeeded
    assert (status.code, status.state, status.host_id) == (4019, "ONLINE", "vm:7777")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_undeclared_latin_1_is_read_as_well_as_utf_8(encoding: str) -> None:
    answer = parse(ARCHIVED.encode(encoding))
    disk = answer.disks[0]
    file = disk.files[0]
    assert answer.status.succeeded
    assert answer.status.code is None
    assert answer.status.request_id == "a7e956a9"
    assert (disk.disk_id, disk.available_mb, disk.completed) == ("5ed3", 78050, False)
    assert (file.file_id, file.file_version, file.file_size) == ("h\xe9 llo.bin", 1, 1000)
    assert (file.checksum, file.checksum_plugin) == ("2368557860", "crc32c")
    assert (file.container_id, file.total_io_time) == ("", 0.0)


def test_containers_come_with_their_files_and_children() -> None:
    document = (
        '<?xml version="1.0" encoding="utf8"?><NgamsStatus>'
        '<Status Message="ok" Status="SUCCESS"/>'
        '<Container id="c1" name="cont1" size="3" ingestionDate="2026">'
        '<FileStatus FileId="a" FileVersion="1" FileSize="3"/>'
        '<Container id="c2" name="k" size="0"/></Container></NgamsStatus>'
    )
    (container,) = parse(document.encode()).containers
    assert [file.file_id for file in container.files] == ["a"]
    assert [child.name for child in container.containers] == ["k"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(STATUS),
        Answer(replace(STATUS, request_id="r", request_time="t", completion_percent="100.00")),
        Answer(replace(STATUS, status="FAILURE", message='<&">\n\té 日本')),
        Answer(STATUS, disks=(a_disk(), a_disk(a_file("a"), a_file('q"\r\nX-Evil: 日本.bin')))),
        Answer(STATUS, containers=(Container("c", "n", 3, "d", (a_file("a"),), ()),)),
    ],
)
def test_what_is_written_reads_the_same(answer: Answer) -> None:
    document = render(answer, "here:7777")
    assert parse(document) == answer
    assert document.isascii()


def test_the_document_type_names_the_host_that_was_asked() -> None:
    assert b'SYSTEM "http://[::1]:7777/RETRIEVE?internal=' in render(Answer(STATUS), "[::1]:7777")


def test_a_forged_host_does_not_get_into_the_document() -> None:
    document = render(Answer(STATUS), 'x"><!ENTITY a "b')
    assert b"ENTITY" not in document
    assert parse(document).status == STATUS


def test_what_xml_cannot_say_is_replaced() -> None:
    document = render(Answer(replace(STATUS, message="a\x00b\x1bc\udcff")), "h")
    assert parse(document).status.message == "a\ufffdb\ufffdc\ufffd"


def test_the_attributes_are_those_of_the_real_server() -> None:
    ours = etree.fromstring(render(Answer(STATUS, (a_disk(a_file("a")),)), "h"))
    theirs = etree.fromstring(ARCHIVED.encode())
    for tag in ("DiskStatus", "DiskStatus/FileStatus"):
        one, other = ours.find(tag), theirs.find(tag)
        assert one is not None
        assert other is not None
        assert list(one.attrib) == list(other.attrib)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Bad gateway</body></html>",
        b"<NgamsStatus/>",
        b"<NgamsStatus><Status/>",
        REFUSED.encode()[:-20],
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        b'<NgamsStatus><Status Message="&e;"/></NgamsStatus>',
        b'<NgamsStatus><Status/><DiskStatus><FileStatus FileSize="many"/></DiskStatus>'
        b"</NgamsStatus>",
        b"\x00\xff\xfe",
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse(body)


def test_a_document_type_is_never_fetched() -> None:
    # An address where nobody listens: were it asked, parsing would fail.
    assert parse(REFUSED.encode()).status.code == 4019
