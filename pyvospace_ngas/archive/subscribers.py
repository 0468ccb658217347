"""Who is sent this node's files: subscribers, what waits for them, and what became of it.

A row of ngas_subscr_queue stands for one version of one file for one subscriber. Its status: -2
it waits, -1 it is being delivered, 0 it is delivered (or not wanted), above 0 it failed so often.
What failed and is to be tried again stands in ngas_subscr_back_log as well, as NGAS has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.archive import index
from pyvospace_ngas.archive.index import FILES_AND_DISKS
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.steps import Database, Lock, Many, Row, Script, Statement

WAITS: Final = -2
UNDER_WAY: Final = -1
DELIVERED: Final = 0
LOCK: Final = "subscribers"

COLUMNS: Final = (
    "subscr_id, subscr_url, subscr_prio, subscr_start_date, subscr_filter_plugin, "
    "subscr_filter_plugin_pars, concurrent_threads, last_file_ingestion_date"
)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A row of ngas_subscribers. Dates are as in all tables: text that sorts."""

    id: str
    url: str
    priority: int = 1  # 1 comes first
    start_date: str = ""
    filter: str = ""  # a plug-in
    filter_parameters: str = ""
    threads: int = 1
    last_date: str = ""

    def same_as(self, other: Subscriber, *, dated: bool) -> bool:
        """Whether two subscriptions ask for the same; dates count where one was given."""
        one, two = (
            (each.url, each.priority, each.filter, each.filter_parameters, each.threads)
            for each in (self, other)
        )
        return one == two and (not dated or self.start_date == other.start_date)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file that is to be sent to a subscriber, and how often that failed."""

    copy: Copy
    failures: int


async def all_of(db: Database, host_id: str) -> list[Subscriber]:
    """Return a node's subscribers, those with the highest priority first."""
    rows = await db.fetch(
        f"select {COLUMNS} from ngas_subscribers where host_id = $1 "  # noqa: S608
        "order by subscr_prio, subscr_id",
        host_id,
    )
    return [_subscriber(row) for row in rows]


def add(host_id: str, port: int, new: Subscriber) -> Script[Subscriber | None]:
    """Add a subscriber; return instead the one that has its id already."""
    yield Lock([LOCK])
    rows = yield Statement(
        f"select {COLUMNS} from ngas_subscribers where host_id = $1 and subscr_id = $2",  # noqa: S608
        (host_id, new.id),
    )
    if rows:
        return _subscriber(rows[0])
    yield Statement(
        "insert into ngas_subscribers (host_id, srv_port, subscr_id, subscr_url, subscr_prio, "
        "subscr_start_date, subscr_filter_plugin, subscr_filter_plugin_pars, concurrent_threads) "
        "values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        (
            *(host_id, port, new.id, new.url, new.priority, new.start_date),
            *(new.filter or None, new.filter_parameters or None, new.threads),
        ),
    )
    return None


def remove(host_id: str, name: str, *, by_url: bool) -> Script[bool]:
    """Remove the subscriber of an id (or a URL) with all that waits for it."""
    yield Lock([LOCK])
    column = "subscr_url" if by_url else "subscr_id"
    rows = yield Statement(
        f"delete from ngas_subscribers where host_id = $1 and {column} = $2 "  # noqa: S608
        "returning subscr_id",
        (host_id, name),
    )
    ids = [row[0] for row in rows]
    yield Statement("delete from ngas_subscr_queue where subscr_id in @1", (ids,))
    yield Statement(
        "delete from ngas_subscr_back_log where host_id = $1 and subscr_id in @2", (host_id, ids)
    )
    return bool(ids)


async def unscheduled(
    db: Database, subscriber: Subscriber, hosts: Sequence[str], since: str, most: int
) -> list[Copy]:
    """Return versions that came in since then and stand in no queue for the subscriber yet.

    Of several copies on these hosts one is enough.
    """
    rows = await db.fetch(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        "where f.ingestion_date >= $2 and d.host_id in @3 and coalesce(f.file_ignore, 0) = 0 "
        "and not exists (select 1 from ngas_subscr_queue q where q.subscr_id = $1 "
        "and q.file_id = f.file_id and q.file_version = f.file_version) "
        f"order by f.ingestion_date, f.file_id, f.file_version limit {most:d}",
        subscriber.id,
        since,
        list(hosts),
    )
    copies: dict[tuple[str, int], Copy] = {}
    for row in rows:
        copy = index.copy(row)
        copies.setdefault((copy.file.file_id, copy.file.version), copy)
    return list(copies.values())


def schedule(
    host_id: str, subscriber: Subscriber, copies: Sequence[tuple[Copy, bool]], now: str
) -> Script[bool]:
    """Put files into the queue; those that are not wanted as done: they are looked at once.

    False, and nothing done, when the subscriber is gone by now.
    """
    yield Lock([LOCK])
    rows = yield Statement(
        "update ngas_subscribers set last_file_ingestion_date = $3 "
        "where host_id = $1 and subscr_id = $2 and subscr_url = $4 returning subscr_id",
        (host_id, subscriber.id, copies[-1][0].file.ingestion_date, subscriber.url),
    )
    if not rows:
        return False
    yield Many(
        "insert into ngas_subscr_queue (subscr_id, file_id, file_version, disk_id, file_name, "
        "ingestion_date, format, status, status_date, comment) "
        "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        [
            (
                *(subscriber.id, file.file_id, file.version, file.disk_id, file.file_name),
                *(file.ingestion_date, file.format, WAITS if wanted else DELIVERED, now),
                None if wanted else "not wanted by the filter",
            )
            for file, wanted in ((copy.file, wanted) for copy, wanted in copies)
        ],
    )
    return True


def take(subscriber: str, failed_before: str, most: int, now: str) -> Script[list[Delivery]]:
    """Take what is to be delivered next: what waits, and what failed before a moment."""
    rows = yield Statement(
        f"select {FILES_AND_DISKS}, q.status from ngas_subscr_queue q "  # noqa: S608
        "join ngas_files f on f.file_id = q.file_id and f.file_version = q.file_version "
        "and f.disk_id = q.disk_id join ngas_disks d on d.disk_id = f.disk_id "
        "where q.subscr_id = $1 and (q.status = -2 or (q.status > 0 and q.status_date < $2 "
        "and exists (select 1 from ngas_subscr_back_log b where b.subscr_id = q.subscr_id "
        "and b.file_id = q.file_id and b.file_version = q.file_version))) "
        "order by case when q.status = -2 then 0 else 1 end, q.ingestion_date, q.file_id, "
        f"q.file_version limit {most:d}",
        (subscriber, failed_before),
    )
    found = [Delivery(index.copy(row[:-1]), max(int(row[-1]), 0)) for row in rows]
    yield Many(
        _set_status("status = -1, status_date = $5"),
        [(*_key(subscriber, each.copy), now) for each in found],
    )
    return found


def delivered(host_id: str, subscriber: str, copy: Copy, now: str, comment: str) -> Script[None]:
    """Record that a subscriber has a file."""
    yield Many(
        _set_status("status = 0, status_date = $5, comment = $6"),
        [(*_key(subscriber, copy), now, comment[:255])],
    )
    yield from _out_of_backlog(host_id, subscriber, copy)


def failed(
    host_id: str, port: int, subscriber: Subscriber, delivery: Delivery, now: str, comment: str
) -> Script[None]:
    """Record that a delivery failed and is to be tried again."""
    file = delivery.copy.file
    rows = yield Statement(
        _set_status("status = $5, status_date = $6, comment = $7") + " returning subscr_id",
        (*_key(subscriber.id, delivery.copy), delivery.failures + 1, now, comment[:255]),
    )
    yield from _out_of_backlog(host_id, subscriber.id, delivery.copy)
    if rows:  # else it was unsubscribed meanwhile
        yield Statement(
            "insert into ngas_subscr_back_log (host_id, srv_port, subscr_id, subscr_url, file_id, "
            "file_name, file_version, ingestion_date, format) "
            "values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            (
                *(host_id, port, subscriber.id, subscriber.url, file.file_id, file.file_name),
                *(file.version, file.ingestion_date, file.format),
            ),
        )


def put_back(subscriber: str, deliveries: Sequence[Delivery], now: str) -> Script[None]:
    """Let what was taken wait again, as it was."""
    yield Many(
        _set_status("status = $5, status_date = $6") + " and status = -1",
        [(*_key(subscriber, each.copy), each.failures or WAITS, now) for each in deliveries],
    )


def begin_again(host_id: str) -> Script[None]:
    """Let what was being delivered when this node ended wait again."""
    yield Statement(
        "update ngas_subscr_queue set status = -2 where status = -1 and subscr_id in "
        "(select subscr_id from ngas_subscribers where host_id = $1)",
        (host_id,),
    )


def tidy(host_id: str, expired_before: str) -> Script[None]:
    """Give up what waited for too long, and what is not in the archive any more."""
    yield Statement(
        "delete from ngas_subscr_back_log where host_id = $1 and ingestion_date < $2",
        (host_id, expired_before),
    )
    yield Statement(
        "delete from ngas_subscr_queue where status <> 0 and subscr_id in "
        "(select subscr_id from ngas_subscribers where host_id = $1) and not exists "
        "(select 1 from ngas_files f where f.file_id = ngas_subscr_queue.file_id "
        "and f.file_version = ngas_subscr_queue.file_version "
        "and f.disk_id = ngas_subscr_queue.disk_id)",
        (host_id,),
    )


def _subscriber(row: Row) -> Subscriber:
    return Subscriber(
        id=row[0],
        url=row[1],
        priority=int(row[2]),
        start_date=row[3] or "",
        filter=row[4] or "",
        filter_parameters=row[5] or "",
        threads=int(row[6] or 1),
        last_date=row[7] or "",
    )


def _key(subscriber: str, copy: Copy) -> tuple[str, str, int, str]:
    return (subscriber, copy.file.file_id, copy.file.version, copy.file.disk_id)


def _set_status(what: str) -> str:
    return (
        f"update ngas_subscr_queue set {what} where subscr_id = $1 and file_id = $2 "  # noqa: S608
        "and file_version = $3 and disk_id = $4"
    )


def _out_of_backlog(host_id: str, subscriber: str, copy: Copy) -> Script[None]:
    yield Statement(
        "delete from ngas_subscr_back_log where host_id = $1 and subscr_id = $2 "
        "and file_id = $3 and file_version = $4",
        (host_id, subscriber, copy.file.file_id, copy.file.version),
    )
