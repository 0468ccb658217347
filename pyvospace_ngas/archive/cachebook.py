"""The account of a cache: which of a node's files are in it, since when, and which may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from pyvospace_ngas.archive import records, transactions
from pyvospace_ngas.archive.index import FILES_AND_DISKS
from pyvospace_ngas.archive.records import FILE_COLUMNS, Copy, File
from pyvospace_ngas.archive.steps import Database, Many, Row, Script, Statement

Name: TypeAlias = tuple[str, str, int]  # disk, file id, version
Place: TypeAlias = tuple[Any, str, str, int]  # the time as the database has it, and the name

FIRST: Final[Place] = (-1, "", "", 0)

# A subscriber waits for a file that is queued for it and not delivered, or that it may still be
# queued for: archived since its start, and after the last file that was considered for it or so
# lately that it may have been passed by.
WAITING: Final = """
    select 1 from ngas_subscribers s where s.host_id = $8 and s.srv_port = $9 and (
        exists (select 1 from ngas_subscr_queue q where q.subscr_id = s.subscr_id
                and q.file_id = f.file_id and q.file_version = f.file_version and q.status <> 0)
        or exists (select 1 from ngas_subscr_back_log b where b.subscr_id = s.subscr_id
                and b.file_id = f.file_id and b.file_version = f.file_version)
        or f.ingestion_date >= coalesce(s.subscr_start_date, '')
           and (f.ingestion_date > coalesce(s.last_file_ingestion_date, '')
                or f.ingestion_date > $10)
           and not exists (select 1 from ngas_subscr_queue q where q.subscr_id = s.subscr_id
                and q.file_id = f.file_id and q.file_version = f.file_version))"""


@dataclass(frozen=True, slots=True)
class Held:
    """A file in the cache."""

    copy: Copy
    place: Place

    @property
    def since(self) -> float:
        """When it came, in seconds since 1970."""
        return float(self.place[0])


@dataclass(frozen=True, slots=True)
class Question:
    """Which files are asked for: of these disks, delivered ones only where a node is named."""

    disk_ids: Sequence[str]
    marked: bool = False
    # The node's host id and port, and until when all files have been considered
    delivered_by: tuple[str, int, str] | None = None


async def page(db: Database, question: Question, after: Place, limit: int) -> list[Held]:
    """Return files that may go, the oldest first."""
    more = "" if question.delivered_by is None else f"and not exists ({WAITING})"
    rows = await db.fetch(
        f"select {FILES_AND_DISKS}, c.cache_time from ngas_cache c "  # noqa: S608
        "join ngas_files f on f.disk_id = c.disk_id and f.file_id = c.file_id "
        "and f.file_version = c.file_version join ngas_disks d on d.disk_id = c.disk_id "
        "where c.disk_id in @1 and c.cache_delete = $2 and "
        "(c.cache_time, c.disk_id, c.file_id, c.file_version) > ($3, $4, $5, $6) "
        f"{more} order by c.cache_time, c.disk_id, c.file_id, c.file_version limit $7",
        *(list(question.disk_ids), int(question.marked), *after, limit),
        *(question.delivered_by or ()),
    )
    return [_held(row) for row in rows]


async def totals(db: Database, disk_ids: Sequence[str]) -> tuple[int, int]:
    """Return how many files there are, and their bytes."""
    rows = await db.fetch(
        "select count(*), coalesce(sum(f.file_size), 0) from ngas_cache c join ngas_files f "
        "on f.disk_id = c.disk_id and f.file_id = c.file_id and f.file_version = c.file_version "
        "where c.disk_id in @1",
        list(disk_ids),
    )
    return int(rows[0][0]), int(rows[0][1])


async def strangers(db: Database, disk_ids: Sequence[str], limit: int) -> list[tuple[Name, float]]:
    """Return files of these disks that are not in the account, with the time they came."""
    rows = await db.fetch(
        "select f.disk_id, f.file_id, f.file_version, f.ingestion_date from ngas_files f "
        "left join ngas_cache c on c.disk_id = f.disk_id and c.file_id = f.file_id "
        "and c.file_version = f.file_version where f.disk_id in @1 and c.disk_id is null limit $2",
        *(list(disk_ids), limit),
    )
    return [((row[0], row[1], int(row[2])), seconds(row[3])) for row in rows]


def seconds(date: str) -> float:
    """Return a date of the index in seconds since 1970; one that is none is long ago."""
    try:
        return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def enter(files: Sequence[tuple[Name, float]]) -> Script[None]:
    """Take files into the account."""
    yield Many(
        "insert into ngas_cache (disk_id, file_id, file_version, cache_time, cache_delete) "
        "values ($1, $2, $3, $4, 0) on conflict do nothing",
        [(*name, time) for name, time in files],
    )


def mark(name: Name, time: float) -> Script[None]:
    """Note that a file is to go."""
    yield Many(
        "insert into ngas_cache (disk_id, file_id, file_version, cache_time, cache_delete) "
        "values ($1, $2, $3, $4, 1) on conflict (disk_id, file_id, file_version) "
        "do update set cache_delete = 1",
        [(*name, time)],
    )


def strike(disk_ids: Sequence[str]) -> Script[None]:
    """Take out of the account what went in other ways."""
    yield Statement(
        "delete from ngas_cache where disk_id in @1 and not exists (select 1 from ngas_files f "
        "where f.disk_id = ngas_cache.disk_id and f.file_id = ngas_cache.file_id "
        "and f.file_version = ngas_cache.file_version)",
        (list(disk_ids),),
    )


def evict(files: Sequence[Held], available_mb: Mapping[str, int]) -> Script[list[File]]:
    """Remove the rows of files and record that the files are to be removed; return those gone."""
    gone: list[File] = []
    for held in files:
        _, disk_id, file_id, version = held.place
        file = yield from transactions.discard(disk_id, file_id, version, available_mb[disk_id])
        if file is not None:
            gone.append(file)
    yield Many(
        "delete from ngas_cache where disk_id = $1 and file_id = $2 and file_version = $3",
        [held.place[1:] for held in files],
    )
    return gone


def _held(row: Row) -> Held:
    split = len(FILE_COLUMNS)
    file = records.file(row[:split])
    copy = Copy(file, records.disk(row[split:-1]))
    return Held(copy, (row[-1], file.disk_id, file.file_id, file.version))
