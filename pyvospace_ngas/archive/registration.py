"""Files that lie in a volume already and get rows: looked at off the loop, never copied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import local, transactions
from pyvospace_ngas.archive.placement import DISK_INFO
from pyvospace_ngas.archive.records import Copy, File, stamp
from pyvospace_ngas.archive.steps import Lock, Many, Script, Statement
from pyvospace_ngas.archive.transactions import INSERT, Room
from pyvospace_ngas.archive.volume import STAGING, Volume
from pyvospace_ngas.ngas.checksum import Crc, Variant

READ_BYTES: Final = 1024 * 1024
LONGEST_FILE_NAME: Final = 255  # ngas_files.file_name
OWN_FILES: Final = ".ngas"  # how the names of a volume's own files begin


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it lies in a volume."""

    size: int
    checksum: str
    modified: str
    inode: int


def find(volumes: Sequence[Volume], path: str) -> tuple[Volume, list[str]] | None:
    """Return the volume that a path lies in, and the names in it of the files there.

    None for what is in no volume, whether it is there or not. Links are not followed.
    """
    if "\0" in path or not path.startswith("/"):
        return None
    real = Path(os.path.realpath(path))
    for volume in volumes:
        root = volume.path.resolve()
        if real.is_relative_to(root):
            try:
                names = [str(each.relative_to(root)) for each in _files(real)]
                usable = [name for name in names if _is_archivable(name)]
                return (volume, usable) if usable or real.is_dir() else None
            except OSError:  # a name that is too long, a folder that must not be read
                return None
    return None


def look(volume: Volume, name: str, variant: Variant, *, durable: bool) -> Found:
    """Read a file, make it durable and read-only, as those are that came over the network."""
    root = volume.path.resolve()
    file = local.walk(root, root / name)
    try:
        crc, size = Crc(variant), 0
        while data := os.read(file.file, READ_BYTES):
            crc.update(data)
            size += len(data)
        os.fchmod(file.file, 0o444)
        if durable:
            os.fsync(file.file)
            os.fsync(file.folder)
        known = os.fstat(file.file)
    finally:
        file.close()
    modified = stamp(datetime.fromtimestamp(known.st_mtime, UTC))
    return Found(size, crc.text, modified, known.st_ino)


def register(disk_id: str, files: Sequence[File], room: Room, now: str) -> Script[list[Copy]]:
    """Give files their rows, each in a version of its own; what is known already gets none."""
    ids = sorted({file.file_id for file in files})
    yield Lock(ids)
    known = yield from _known(disk_id, [file.file_name for file in files])
    last = yield from transactions.last_versions(ids)
    new = list(_numbered([file for file in files if file.file_name not in known], last))
    yield Many(INSERT, [file.row() for file in new])
    disks = yield from transactions.count(new, [], {disk_id: room}, now)
    return [Copy(file, disks[disk_id]) for file in new]


def forget(copies: Sequence[Copy], room: Room) -> Script[None]:
    """Take rows out again whose files went away meanwhile."""
    yield Many(
        "delete from ngas_files where disk_id = $1 and file_id = $2 and file_version = $3",
        [(each.file.disk_id, each.file.file_id, each.file.version) for each in copies],
    )
    gone = [each.file for each in copies]
    yield from transactions.count([], gone, {file.disk_id: room for file in gone}, "")


def _known(disk_id: str, names: Sequence[str]) -> Script[set[str]]:
    """Return the names that stand for files on their way in, archived, or on their way out.

    In this order: a file may go from one to the next while this asks.
    """
    known: set[str] = set()
    for sql in (
        "select file_name from archive_intent where disk_id = $1 and file_name in @2 union "
        "select other_name from archive_intent where disk_id = $1 and other_name in @2",
        "select file_name from ngas_files where disk_id = $1 and file_name in @2",
        "select file_name from archive_removal where disk_id = $1 and file_name in @2",
    ):
        rows = yield Statement(sql, (disk_id, list(names)))
        known |= {row[0] for row in rows}
    return known


def _numbered(files: Sequence[File], last: Mapping[str, int]) -> Iterator[File]:
    versions = dict(last)
    for file in files:
        versions[file.file_id] = version = versions.get(file.file_id, 0) + 1
        yield replace(file, version=version)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            each = Path(folder) / name
            if each.is_file() and not each.is_symlink():
                yield each


def _is_archivable(name: str) -> bool:
    """Whether a file is not one of the volume's own, and its name fits the index."""
    parts = Path(name).parts
    own = parts[0] == STAGING or parts[-1].startswith(OWN_FILES) or name == DISK_INFO
    return not own and len(name) <= LONGEST_FILE_NAME and name.isprintable()
