"""The rows of the index as values, and as the parts of a status document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.interfaces import FileFacts
from pyvospace_ngas.archive.steps import Row
from pyvospace_ngas.ngas.status import DiskStatus, FileStatus

LARGEST_INT: Final = 2**31 - 1  # an int column of PostgreSQL

DISK_COLUMNS: Final = (
    *("disk_id", "archive", "installation_date", "type", "manufacturer", "logical_name"),
    *("host_id", "slot_id", "mounted", "mount_point", "number_of_files", "available_mb"),
    *("bytes_stored", "completed", "completion_date", "checksum", "total_disk_write_time"),
    *("last_check", "last_host_id"),
)
FILE_COLUMNS: Final = (
    *("disk_id", "file_name", "file_id", "file_version", "format", "file_size"),
    *("ingestion_date", "file_ignore", "checksum", "checksum_plugin", "file_status"),
    *("creation_date", "container_id", "ingestion_rate", "io_time"),
    *("uncompressed_file_size", "compression"),
)


def stamp(moment: datetime | None = None) -> str:
    """Return the time as NGAS writes it: milliseconds, no zone."""
    moment = moment or datetime.now(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Disk:
    """A row of ngas_disks: a volume, here or on another node."""

    disk_id: str
    archive: str
    installation_date: str
    type: str
    manufacturer: str
    logical_name: str
    host_id: str
    slot_id: str
    mounted: bool
    mount_point: str
    number_of_files: int
    available_mb: int
    bytes_stored: int
    completed: bool
    completion_date: str
    checksum: str
    write_time: float
    last_check: str
    last_host_id: str

    def status(self, *files: File) -> DiskStatus:
        """Return the disk as an answer shows it, with some of its files."""
        return DiskStatus(
            disk_id=self.disk_id,
            archive=self.archive,
            logical_name=self.logical_name,
            host_id=self.host_id,
            slot_id=self.slot_id,
            mount_point=self.mount_point,
            installation_date=self.installation_date,
            type=self.type,
            manufacturer=self.manufacturer,
            mounted=self.mounted,
            number_of_files=self.number_of_files,
            available_mb=self.available_mb,
            bytes_stored=self.bytes_stored,
            completed=self.completed,
            completion_date=self.completion_date,
            checksum=self.checksum,
            total_disk_write_time=self.write_time,
            last_check=self.last_check,
            files=tuple(file.status() for file in files),
        )


@dataclass(frozen=True, slots=True)
class File:
    """A row of ngas_files: one version of one file on one disk."""

    disk_id: str
    file_name: str
    file_id: str
    version: int
    format: str
    size: int
    ingestion_date: str
    ignore: bool
    checksum: str
    checksum_plugin: str
    file_status: str
    creation_date: str
    container_id: str | None
    ingestion_rate: int
    io_milliseconds: int
    uncompressed_size: int | None = None  # None: as the size
    compression: str = "NONE"

    @property
    def plain_size(self) -> int:
        """The size of what the file is without its compression."""
        return self.size if self.uncompressed_size is None else self.uncompressed_size

    def status(self) -> FileStatus:
        """Return the file as an answer shows it."""
        return FileStatus(
            file_name=self.file_name,
            file_id=self.file_id,
            file_version=self.version,
            format=self.format,
            file_size=self.size,
            checksum=self.checksum,
            checksum_plugin=self.checksum_plugin,
            ingestion_date=self.ingestion_date,
            creation_date=self.creation_date,
            uncompressed_file_size=self.plain_size,
            compression=self.compression,
            ignore=self.ignore,
            file_status=self.file_status,
            total_io_time=max(self.io_milliseconds, 0) / 1000,
            ingestion_rate=self.ingestion_rate,
            container_id=self.container_id or "",
        )

    def row(self) -> tuple[object, ...]:
        """Return the values in the order of ``FILE_COLUMNS``."""
        return (
            *(self.disk_id, self.file_name, self.file_id, self.version, self.format, self.size),
            *(self.ingestion_date, int(self.ignore), self.checksum, self.checksum_plugin),
            *(self.file_status, self.creation_date, self.container_id),
            *(min(self.ingestion_rate, LARGEST_INT), self.io_milliseconds),
            *(self.plain_size, self.compression),
        )


@dataclass(frozen=True, slots=True)
class Copy:
    """A file with the disk it is on."""

    file: File
    disk: Disk

    @property
    def path(self) -> Path:
        """Where it lies, on the node that has the disk."""
        return Path(self.disk.mount_point) / self.file.file_name

    def facts(self) -> FileFacts:
        """Return what plug-ins and listeners are told of it."""
        return FileFacts(
            disk_id=self.file.disk_id,
            file_id=self.file.file_id,
            version=self.file.version,
            format=self.file.format,
            size=self.file.size,
            path=self.path,
            ingestion_date=self.file.ingestion_date,
            checksum=self.file.checksum,
            checksum_variant=self.file.checksum_plugin,
        )


def disk(row: Row) -> Disk:
    """Make a value of ``DISK_COLUMNS``; the real server leaves much of them null."""
    return Disk(
        disk_id=row[0],
        archive=row[1] or "",
        installation_date=row[2] or "",
        type=row[3] or "",
        manufacturer=row[4] or "",
        logical_name=row[5] or "",
        host_id=row[6] or "",
        slot_id=row[7] or "",
        mounted=bool(row[8]),
        mount_point=row[9] or "",
        number_of_files=int(row[10]),
        available_mb=int(row[11]),
        bytes_stored=int(row[12]),
        completed=bool(row[13]),
        completion_date=row[14] or "",
        checksum=row[15] or "",
        write_time=float(row[16] or 0),
        last_check=row[17] or "",
        last_host_id=row[18] or "",
    )


def file(row: Row) -> File:
    """Make a value of ``FILE_COLUMNS``."""
    return File(
        disk_id=row[0],
        file_name=row[1],
        file_id=row[2],
        version=int(row[3]),
        format=row[4],
        size=int(row[5]),
        ingestion_date=row[6],
        ignore=bool(row[7]),
        checksum=row[8] or "",
        checksum_plugin=row[9] or "",
        file_status=row[10] or "",
        creation_date=row[11] or "",
        container_id=row[12],
        ingestion_rate=int(row[13] or 0),
        io_milliseconds=int(row[14] or 0),
        uncompressed_size=int(row[15]),
        compression=row[16] or "",
    )
