"""The status documents of NGAS, both ways: bytes to values and values to bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree


class MalformedAnswer(ValueError):
    """What arrived is no NGAS status document."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a request went, and the state of the node that answered it."""

    date: str
    version: str
    host_id: str
    message: str
    status: str = "SUCCESS"
    state: str = "ONLINE"
    sub_state: str = "IDLE"
    request_id: str = ""
    request_time: str = ""
    completion_percent: str = ""
    expected_count: str = ""
    actual_count: str = ""
    est_total_time: str = ""
    remaining_time: str = ""
    last_request_stat_update: str = ""
    completion_time: str = ""
    config_file_name: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the node says so; the HTTP code does not tell."""
        return self.status == "SUCCESS"

    @property
    def code(self) -> int | None:
        """The number of a catalogued message, as 4019 in ``NGAMS_ER_UNAVAIL_FILE:4019:ERROR``."""
        found = CATALOGUED.match(self.message)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One version of one file on one disk. ``file_name`` is its path below the mount point."""

    file_name: str
    file_id: str
    file_version: int
    format: str
    file_size: int
    checksum: str
    checksum_plugin: str
    ingestion_date: str = ""
    creation_date: str = ""
    uncompressed_file_size: int | None = None
    compression: str = "NONE"
    ignore: bool = False
    file_status: str = "00000000"
    total_io_time: float = 0.0
    ingestion_rate: float = 0.0
    container_id: str = ""


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """One disk (a volume) and those of its files that were asked for."""

    disk_id: str
    archive: str
    logical_name: str
    host_id: str
    slot_id: str
    mount_point: str
    installation_date: str = ""
    type: str = "UNDEFINED"
    manufacturer: str = "UNDEFINED"
    mounted: bool = True
    number_of_files: int = 0
    available_mb: int = 0
    bytes_stored: int = 0
    completed: bool = False
    completion_date: str = ""
    checksum: str = ""
    total_disk_write_time: float = 0.0
    last_check: str = ""
    files: tuple[FileStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A logical container, with what is in it."""

    id: str
    name: str
    size: int = 0
    ingestion_date: str = ""
    files: tuple[FileStatus, ...] = ()
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole document."""

    status: Status
    disks: tuple[DiskStatus, ...] = ()
    containers: tuple[Container, ...] = ()


CATALOGUED: Final = re.compile(r"NGAMS_[A-Z]+_[A-Z0-9_]+:(\d+):[A-Z]+")
HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
# What XML 1.0 cannot say at all, not even as a character reference.
UNSAYABLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(body: bytes) -> Answer:
    """Read a status document, or raise `MalformedAnswer`.

    Real servers write latin-1 without declaring it. The document type is read over: nothing is
    fetched for it, and a document that declares entities is refused.
    """
    root = _root(body)
    status = root.find("Status")
    if root.tag != "NgamsStatus" or status is None:
        raise MalformedAnswer("no NGAS status document")
    return Answer(
        _status(status),
        tuple(_disk(disk) for disk in root.iterfind("DiskStatus")),
        tuple(_container(container) for container in root.iterfind("Container")),
    )


def parse_file(body: bytes) -> FileStatus:
    """Read a document about one file (NGAS-File-Info), or raise `MalformedAnswer`."""
    root = _root(body)
    found = root if root.tag == "FileStatus" else root.find(".//FileStatus")
    if found is None:
        raise MalformedAnswer("no FileStatus")
    return _file(found)


def render(answer: Answer, dtd_host: str) -> bytes:
    """Write a status document whose document type names ``dtd_host`` (the Host of the request).

    The bytes are ASCII, with character references, so that no reader mistakes the encoding.
    """
    root = etree.Element("NgamsStatus")
    _append(root, "Status", _status_attributes(answer.status))
    for disk in answer.disks:
        element = _append(root, "DiskStatus", _disk_attributes(disk))
        for file in disk.files:
            _append(element, "FileStatus", _file_attributes(file))
    for container in answer.containers:
        _append_container(root, container)
    if name := answer.status.config_file_name:
        _append(root, "NgamsCfgFile", {"ConfigFileName": name})
    host = dtd_host if HOST.fullmatch(dtd_host) else "localhost"
    head = (
        '<?xml version="1.0" ?>\n'
        f'<!DOCTYPE NgamsStatus SYSTEM "http://{host}/RETRIEVE?internal=ngamsStatus.dtd">\n'
    )
    return head.encode("ascii") + etree.tostring(root, encoding="ascii", pretty_print=True)


def status_line(status: Status) -> bytes:
    """Write the first part alone, for a document that is written piece by piece."""
    return _line("Status", _status_attributes(status))


def file_line(file: FileStatus, **more: str) -> bytes:
    """Write one file alone, with more attributes beside the usual ones."""
    return _line("FileStatus", more | _file_attributes(file))


def _line(tag: str, attributes: dict[str, str]) -> bytes:
    element = _append(etree.Element("Document"), tag, attributes)
    return etree.tostring(element, encoding="ascii") + b"\n"


def _root(body: bytes) -> etree._Element:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    if "<!ENTITY" in text:
        raise MalformedAnswer("the document declares entities")
    parser = etree.XMLParser(
        encoding="utf-8",  # over what is declared: the real server also writes "utf8"
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
    )
    try:
        return etree.fromstring(text.strip().encode("utf-8"), parser)
    except etree.XMLSyntaxError as error:
        raise MalformedAnswer("no well-formed document") from error


def _text(element: etree._Element, name: str) -> str:
    value = str(element.get(name, ""))
    return "" if value == "None" else value


def _whole(element: etree._Element, name: str, default: int = 0) -> int:
    value = _text(element, name)
    try:
        return int(value) if value else default
    except ValueError:
        raise MalformedAnswer(f"{name} is no whole number") from None


def _number(element: etree._Element, name: str) -> float:
    """Read a measurement that decides nothing: junk is nought."""
    try:
        return float(_text(element, name) or 0)
    except ValueError:
        return 0.0


def _status(element: etree._Element) -> Status:
    return Status(
        date=_text(element, "Date"),
        version=_text(element, "Version"),
        host_id=_text(element, "HostId"),
        message=str(element.get("Message", "")),
        status=_text(element, "Status"),
        state=_text(element, "State"),
        sub_state=_text(element, "SubState"),
        request_id=_text(element, "RequestId"),
        request_time=_text(element, "RequestTime"),
        completion_percent=_text(element, "CompletionPercent"),
        expected_count=_text(element, "ExpectedCount"),
        actual_count=_text(element, "ActualCount"),
        est_total_time=_text(element, "EstTotalTime"),
        remaining_time=_text(element, "RemainingTime"),
        last_request_stat_update=_text(element, "LastRequestStatUpdate"),
        completion_time=_text(element, "CompletionTime"),
        config_file_name=_text(element, "ConfigFileName"),
    )


def _disk(element: etree._Element) -> DiskStatus:
    return DiskStatus(
        disk_id=_text(element, "DiskId"),
        archive=_text(element, "Archive"),
        logical_name=_text(element, "LogicalName"),
        host_id=_text(element, "HostId"),
        slot_id=_text(element, "SlotId"),
        mount_point=_text(element, "MountPoint"),
        installation_date=_text(element, "InstallationDate"),
        type=_text(element, "Type"),
        manufacturer=_text(element, "Manufacturer"),
        mounted=_whole(element, "Mounted") == 1,
        number_of_files=_whole(element, "NumberOfFiles"),
        available_mb=_whole(element, "AvailableMb"),
        bytes_stored=_whole(element, "BytesStored"),
        completed=_whole(element, "Completed") == 1,
        completion_date=_text(element, "CompletionDate"),
        checksum=_text(element, "Checksum"),
        total_disk_write_time=_number(element, "TotalDiskWriteTime"),
        last_check=_text(element, "LastCheck"),
        files=tuple(_file(file) for file in element.iterfind("FileStatus")),
    )


def _file(element: etree._Element) -> FileStatus:
    size = _whole(element, "FileSize", -1)
    return FileStatus(
        file_name=str(element.get("FileName", "")),
        file_id=str(element.get("FileId", "")),
        file_version=_whole(element, "FileVersion", -1),
        format=_text(element, "Format"),
        file_size=size,
        checksum=_text(element, "Checksum"),
        checksum_plugin=_text(element, "ChecksumPlugIn"),
        ingestion_date=_text(element, "IngestionDate"),
        creation_date=_text(element, "CreationDate"),
        uncompressed_file_size=_whole(element, "UncompressedFileSize", size),
        compression=_text(element, "Compression"),
        ignore=_whole(element, "Ignore") == 1,
        file_status=_text(element, "FileStatus"),
        total_io_time=_number(element, "TotalIoTime"),
        ingestion_rate=_number(element, "IngestionRate"),
        container_id=_text(element, "ContainerId"),
    )


def _container(element: etree._Element) -> Container:
    return Container(
        id=_text(element, "id"),
        name=str(element.get("name", "")),
        size=_whole(element, "size"),
        ingestion_date=_text(element, "ingestionDate"),
        files=tuple(_file(file) for file in element.iterfind("FileStatus")),
        containers=tuple(_container(child) for child in element.iterfind("Container")),
    )


def _append(parent: etree._Element, tag: str, attributes: dict[str, str]) -> etree._Element:
    element = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        element.set(name, UNSAYABLE.sub("\ufffd", value))
    return element


def _status_attributes(status: Status) -> dict[str, str]:
    always = {
        "Date": status.date,
        "Version": status.version,
        "HostId": status.host_id,
        "Message": status.message,
        "Status": status.status,
        "State": status.state,
        "SubState": status.sub_state,
    }
    where_known = {
        "RequestId": status.request_id,
        "RequestTime": status.request_time,
        "CompletionPercent": status.completion_percent,
        "ExpectedCount": status.expected_count,
        "ActualCount": status.actual_count,
        "EstTotalTime": status.est_total_time,
        "RemainingTime": status.remaining_time,
        "LastRequestStatUpdate": status.last_request_stat_update,
        "CompletionTime": status.completion_time,
        "ConfigFileName": status.config_file_name,
    }
    return always | {name: value for name, value in where_known.items() if value}


def _disk_attributes(disk: DiskStatus) -> dict[str, str]:
    return {
        "DiskId": disk.disk_id,
        "Archive": disk.archive,
        "InstallationDate": disk.installation_date,
        "Type": disk.type,
        "Manufacturer": disk.manufacturer,
        "LogicalName": disk.logical_name,
        "HostId": disk.host_id,
        "SlotId": disk.slot_id,
        "Mounted": str(int(disk.mounted)),
        "MountPoint": disk.mount_point,
        "NumberOfFiles": str(disk.number_of_files),
        "AvailableMb": str(disk.available_mb),
        "BytesStored": str(disk.bytes_stored),
        "Completed": str(int(disk.completed)),
        "CompletionDate": disk.completion_date,
        "Checksum": disk.checksum,
        "TotalDiskWriteTime": str(disk.total_disk_write_time),
        "LastCheck": disk.last_check,
    }


def _file_attributes(file: FileStatus) -> dict[str, str]:
    plain = file.uncompressed_file_size
    return {
        "FileName": file.file_name,
        "FileId": file.file_id,
        "FileVersion": str(file.file_version),
        "Format": file.format,
        "FileSize": str(file.file_size),
        "UncompressedFileSize": str(file.file_size if plain is None else plain),
        "Compression": file.compression,
        "IngestionDate": file.ingestion_date,
        "Ignore": str(int(file.ignore)),
        "Checksum": file.checksum,
        "ChecksumPlugIn": file.checksum_plugin,
        "FileStatus": file.file_status,
        "CreationDate": file.creation_date,
        "Tag": "",
        "Permissions": "",
        "Owner": "",
        "Group": "",
        "ModificationDate": "",
        "AccessDate": "",
        "TotalIoTime": str(file.total_io_time),
        "IngestionRate": f"{file.ingestion_rate:.0f}",
        "ContainerId": file.container_id or "None",
    }


def _append_container(parent: etree._Element, container: Container) -> None:
    attributes = {"id": container.id, "name": container.name, "size": str(container.size)}
    if container.ingestion_date:
        attributes["ingestionDate"] = container.ingestion_date
    element = _append(parent, "Container", attributes)
    for file in container.files:
        _append(element, "FileStatus", _file_attributes(file))
    for child in container.containers:
        _append_container(element, child)
