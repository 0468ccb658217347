"""Further copies of files that are archived already: what makes them, and what may take them away.

Copies of one version on different disks must never differ, so that whoever adds one or replaces
the version holds a lock on the file's id until the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyvospace_ngas.archive import records
from pyvospace_ngas.archive.index import FILES, FILES_AND_DISKS
from pyvospace_ngas.archive.records import FILE_COLUMNS, Copy, File
from pyvospace_ngas.archive.steps import Database, Lock, Row, Script, Statement

if TYPE_CHECKING:
    from pyvospace_ngas.archive.transactions import Arrival

Key = tuple[str, int]  # file id and version


async def disks_with(db: Database, file_id: str, version: int) -> set[str]:
    """Return the disks that a version is on, mounted or not."""
    rows = await db.look_up(
        "select disk_id from ngas_files where file_id = $1 and file_version = $2", file_id, version
    )
    return {row[0] for row in rows}


async def on_disk(
    db: Database, disk_id: str, after: Key, limit: int, version: int | None = None
) -> list[Copy]:
    """Return a page of the files on one disk, by id and version."""
    rows = await db.fetch(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        "where f.disk_id = $1 and (f.file_id > $2 or f.file_id = $2 and f.file_version > $3) "
        "and coalesce(f.file_ignore, 0) = 0 and f.file_version = coalesce($5, f.file_version) "
        "order by f.file_id, f.file_version limit $4",
        *(disk_id, *after, limit, version),
    )
    return [_copy(row) for row in rows]


async def of_file(
    db: Database, disk_id: str, file_id: str, version: int | None = None
) -> list[Copy]:
    """Return the versions of a file that a disk has."""
    rows = await db.look_up(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        "where f.file_id = $1 and f.disk_id = $2 "
        "and f.file_version = coalesce($3, f.file_version) order by f.file_version",
        *(file_id, disk_id, version),
    )
    return [_copy(row) for row in rows]


async def keys_on(db: Database, disk_id: str, limit: int) -> list[Key]:
    """Return some of the files on a disk, whatever is said of them."""
    rows = await db.fetch(
        "select file_id, file_version from ngas_files where disk_id = $1 limit $2", disk_id, limit
    )
    return [(row[0], int(row[1])) for row in rows]


async def count_on(db: Database, disk_id: str, version: int | None = None) -> int:
    """Return how many files `on_disk` will return."""
    rows = await db.fetch(
        "select count(*) from ngas_files where disk_id = $1 and coalesce(file_ignore, 0) = 0 "
        "and file_version = coalesce($2, file_version)",
        *(disk_id, version),
    )
    return int(rows[0][0])


def outdated(arrivals: Sequence[Arrival]) -> Script[frozenset[str]]:
    """Return the further copies that must not get a row.

    Their source was replaced or removed while they were made, or their disk has one by now.
    """
    further = [arrival for arrival in arrivals if arrival.source is not None]
    replaced = [arrival for arrival in arrivals if arrival.overwrites]
    if not further and not replaced:
        return frozenset()
    yield Lock(sorted({arrival.file.file_id for arrival in (*further, *replaced)}))
    if not further:
        return frozenset()
    rows = yield Statement(
        f"select {FILES} from ngas_files where file_id in @1",  # noqa: S608
        ([arrival.file.file_id for arrival in further],),
    )
    there = {_place(file): file for file in map(records.file, rows)}
    there |= {_place(each.file): each.file for each in replaced}
    ending = {(each.file.file_id, each.file.version) for each in replaced}
    refused: set[str] = set()
    for arrival in further:
        file, source = arrival.file, arrival.source
        if (
            source is None
            or not _same(source, there.get(_place(source)))
            or _place(file) in there
            or (file.file_id, file.version) in ending
        ):
            refused.add(arrival.token)
        else:
            there[_place(file)] = file
    return frozenset(refused)


def _place(file: File) -> tuple[str, str, int]:
    return (file.disk_id, file.file_id, file.version)


def _same(file: File, other: File | None) -> bool:
    """Whether a row is still of the bytes that were read; what else it says may change."""
    return other is not None and (
        (file.file_name, file.ingestion_date, file.size, file.checksum)
        == (other.file_name, other.ingestion_date, other.size, other.checksum)
    )


def _copy(row: Row) -> Copy:
    split = len(FILE_COLUMNS)
    return Copy(records.file(row[:split]), records.disk(row[split:]))
