"""What clients of STATUS?file_list page through: all files of the cluster, in one order."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.archive import records
from pyvospace_ngas.archive.records import FILE_COLUMNS
from pyvospace_ngas.archive.steps import Database, Row

BATCH: Final = 500  # rows in memory
MOST: Final = 256  # lists that are remembered; the one not asked for the longest goes first

COLUMNS: Final = ", ".join([*(f"f.{name}" for name in FILE_COLUMNS), "d.host_id"])
PRESENT: Final = "d.mounted = 1 and coalesce(f.file_ignore, 0) = 0"
WANTED: Final = (
    "from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "
    f"where {PRESENT} and f.ingestion_date >= $1 "
    "and (f.file_id, f.file_version, f.disk_id) > ($2, $3, $4)"
)
# Of several copies of a version, the first.
ONCE: Final = (
    " and not exists (select 1 from ngas_files o join ngas_disks e on e.disk_id = o.disk_id "
    "where o.file_id = f.file_id and o.file_version = f.file_version and o.disk_id < f.disk_id "
    "and e.mounted = 1 and coalesce(o.file_ignore, 0) = 0)"
)


@dataclass(slots=True)
class FileList:
    """What a client asked for, and how far it has come."""

    id: str
    since: str
    unique: bool
    after: tuple[str, int, str] = ("", 0, "")  # file id, version, disk id

    @property
    def condition(self) -> str:
        return WANTED + ONCE if self.unique else WANTED

    async def count(self, database: Database) -> int:
        """Return how many files are still to come."""
        rows = await database.fetch(
            f"select count(*) {self.condition}",
            self.since,
            *self.after,
        )
        return int(rows[0][0])

    async def batches(self, database: Database, limit: int) -> AsyncIterator[list[Row]]:
        """Yield the next files, a few at a time."""
        sql = (
            f"select {COLUMNS} {self.condition} "
            "order by f.file_id, f.file_version, f.disk_id limit $5"
        )
        after = self.after
        while limit > 0:
            rows = await database.fetch(sql, self.since, *after, min(limit, BATCH))
            if not rows:
                return
            yield rows
            after = position(rows[-1])
            limit -= len(rows)


class FileLists:
    """The lists that clients are paging through."""

    def __init__(self) -> None:
        self._lists: dict[str, FileList] = {}

    def begin(self, since: str, *, unique: bool) -> FileList:
        """Begin a list with an id of its own."""
        while len(self._lists) >= MOST:
            del self._lists[next(iter(self._lists))]
        new = FileList(uuid.uuid4().hex, since, unique)
        self._lists[new.id] = new
        return new

    def find(self, list_id: str) -> FileList | None:
        """Return a list that was begun, if it is remembered."""
        found = self._lists.pop(list_id, None)
        if found is not None:
            self._lists[list_id] = found  # as the last one that was asked for
        return found


def position(row: Row) -> tuple[str, int, str]:
    """Return where a file stands in the order of the list."""
    file = records.file(row)
    return file.file_id, file.version, file.disk_id
