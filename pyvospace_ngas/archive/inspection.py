"""Whether configuration, index and volumes of a node agree: looked at, and nothing changed.

The node may be running or not. What it archives or removes meanwhile is not taken for a fault.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from pyvospace_ngas.archive import (
    data_mover,
    index,
    plugins,
    reading,
    readonly,
    records,
    site,
    volume,
)
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.placement import DISK_INFO
from pyvospace_ngas.archive.readonly import Fetch
from pyvospace_ngas.archive.records import Copy, Disk
from pyvospace_ngas.archive.steps import DatabaseError, Row
from pyvospace_ngas.archive.volume import INFO, STAGING, VolumeError

PAGE: Final = 1000
NOT_FILES: Final = frozenset({STAGING, DISK_INFO})  # at the top of a volume, beside hidden ones


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong."""

    kind: str
    place: str
    detail: str


@dataclass(slots=True)
class Inspection:
    """What is looked at, and how much of it there was."""

    config: NodeConfig
    checksums: bool = False
    files: int = 0
    volumes: dict[str, Path] = field(default_factory=dict)  # by disk id

    async def findings(self) -> AsyncGenerator[Finding]:
        """Yield what is wrong, as it is found."""
        for finding in (*self._plug_ins(), *await asyncio.to_thread(self._look_for_volumes)):
            yield finding
        try:
            async with (
                readonly.opened(self.config.db) as fetch,
                aclosing(self._held(fetch)) as held,
            ):
                async for finding in held:
                    yield finding
        except DatabaseError as error:
            yield Finding("index", self.config.db.interface, str(error))

    def _plug_ins(self) -> Iterator[Finding]:
        try:
            site.load(self.config)
            plugins.commands(self.config.commands)
        except ConfigurationError as error:
            yield Finding("plug-in", self.config.name, str(error))

    def _look_for_volumes(self) -> list[Finding]:
        if self.config.data_mover.enabled:
            return []  # it has none of its own; which ones it reads is in the index
        folder = self.config.server.volumes
        try:
            paths = sorted(each for each in folder.iterdir() if (each / INFO).exists())
        except OSError as error:
            return [Finding("volumes", str(folder), f"cannot be read: {error.strerror}")]
        if not paths:
            return [Finding("volumes", str(folder), "there is none; see prepare-volume")]
        return self._look_at_volumes(paths)

    def _look_at_volumes(self, paths: Iterable[Path]) -> list[Finding]:
        found = (self._look_at_volume(path) for path in paths)
        return [finding for finding in found if finding is not None]

    def _look_at_volume(self, path: Path) -> Finding | None:
        try:
            disk_id = volume.read_identity(path).disk_id
        except VolumeError as error:
            return Finding("volume", str(path), str(error))
        if twin := self.volumes.get(disk_id):
            return Finding("volume", str(path), f"has the DiskId of {twin}; one is a copy")
        only_read = self.config.data_mover.enabled
        if not os.access(path, os.R_OK | os.X_OK | (0 if only_read else os.W_OK)):
            text = "may not be read" if only_read else "may not be read and written"
            return Finding("volume", str(path), text)
        self.volumes[disk_id] = path
        return None

    async def _held(self, fetch: Fetch) -> AsyncGenerator[Finding]:
        """Hold the rows of the index against the files."""
        disks = {disk.disk_id: disk for disk in await _disks(fetch)}
        own = [disk for disk in disks.values() if data_mover.reads(self.config, disk)]
        if self.config.data_mover.enabled:
            paths = [Path(disk.mount_point) for disk in own if disk.mount_point]
            for finding in await asyncio.to_thread(self._look_at_volumes, paths):
                yield finding
        for disk in own:
            if disk.disk_id not in self.volumes:
                text = f"{disk.disk_id} is this node's in the index, and not there"
                yield Finding("volume", disk.mount_point or disk.slot_id, text)
        for disk_id, path in self.volumes.items():
            if known := disks.get(disk_id):
                async for finding in self._compared(fetch, known, path):
                    yield finding

    async def _compared(self, fetch: Fetch, disk: Disk, path: Path) -> AsyncGenerator[Finding]:
        # In this order: a file that was seen has, by the time of the rows, an intent or its row.
        strangers = await asyncio.to_thread(_files_in, path)
        strangers -= await _under_way(fetch, disk.disk_id)
        here = replace(disk, mount_point=str(path))
        async for page in _rows(fetch, disk.disk_id):
            for row in page:
                copy = Copy(records.file(row), here)
                self.files += 1
                strangers.discard(str(PurePosixPath(copy.file.file_name)))
                if finding := await self._look_at(copy):
                    yield finding
        for name in sorted(strangers):
            if (path / name).exists():
                yield Finding("unregistered", str(path / name), "has no row in the index")

    async def _look_at(self, copy: Copy) -> Finding | None:
        name = PurePosixPath(copy.file.file_name)
        if name.is_absolute() or ".." in name.parts:
            return Finding("outside", str(name), f"is not below {copy.disk.mount_point}")
        return await asyncio.to_thread(_measured, copy) or (
            await _read(copy) if self.checksums else None
        )


async def _disks(fetch: Fetch) -> list[Disk]:
    return [records.disk(row) for row in await fetch(f"select {index.DISKS} from ngas_disks")]  # noqa: S608


async def _under_way(fetch: Fetch, disk_id: str) -> set[str]:
    """Return the files that are about to get a row, or to go."""
    rows = await fetch(
        "select file_name from archive_intent where disk_id = $1 "
        "union select other_name from archive_intent where disk_id = $1 "
        "union select file_name from archive_removal where disk_id = $1",
        disk_id,
    )
    return {str(row[0]) for row in rows}


async def _rows(fetch: Fetch, disk_id: str) -> AsyncGenerator[list[Row]]:
    """Yield the rows of a disk by pages, in the order of the table's key."""
    last: tuple[str, int] = ("", 0)
    while True:
        page = await fetch(
            f"select {index.FILES} from ngas_files "  # noqa: S608
            "where disk_id = $1 and (file_id, file_version) > ($2, $3) "
            f"order by file_id, file_version limit {PAGE}",
            disk_id,
            *last,
        )
        if not page:
            return
        yield page
        end = records.file(page[-1])
        last = (end.file_id, end.version)


def _files_in(path: Path) -> set[str]:
    """Return the names of what lies on a volume and should have a row."""
    found: set[str] = set()
    for folder, folders, names in os.walk(path):
        below = Path(folder).relative_to(path)
        if below == Path():
            folders[:] = [each for each in folders if _is_of_files(each)]
            names[:] = [each for each in names if _is_of_files(each)]
        found.update(str(below / name) for name in names)
    return found


def _is_of_files(name: str) -> bool:
    return name not in NOT_FILES and not name.startswith(".")


def _measured(copy: Copy) -> Finding | None:
    try:
        size = copy.path.lstat().st_size
    except FileNotFoundError:
        return Finding("missing", str(copy.path), _whose(copy))
    except OSError as error:
        return Finding("unreadable", str(copy.path), f"{_whose(copy)}: {error.strerror}")
    if size != copy.file.size:
        text = f"{_whose(copy)} has {size} bytes, not {copy.file.size}"
        return Finding("wrong length", str(copy.path), text)
    return None


async def _read(copy: Copy) -> Finding | None:
    flaw = await reading.flaw(copy)
    return Finding("checksum", str(copy.path), f"{_whose(copy)}: {flaw}") if flaw else None


def _whose(copy: Copy) -> str:
    return f"version {copy.file.version} of {copy.file.file_id}"
