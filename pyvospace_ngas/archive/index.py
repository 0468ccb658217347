"""What is where: every question to the tables, and the registration of nodes and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.archive import completion, records
from pyvospace_ngas.archive.records import DISK_COLUMNS, FILE_COLUMNS, Copy, Disk
from pyvospace_ngas.archive.steps import Database, Lock, Many, Row, Script, Statement

DISKS: Final = ", ".join(DISK_COLUMNS)
FILES: Final = ", ".join(FILE_COLUMNS)
FILES_AND_DISKS: Final = ", ".join(
    [*(f"f.{name}" for name in FILE_COLUMNS), *(f"d.{name}" for name in DISK_COLUMNS)]
)


class VolumeElsewhere(Exception):
    """A volume belongs to a node of another machine that says it is online."""


@dataclass(frozen=True, slots=True)
class Host:
    """A node as the others see it."""

    host_id: str
    ip_address: str
    port: int
    version: str
    cluster: str
    archive: bool
    retrieve: bool
    remove: bool
    url: str
    process: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume to be registered as this node's."""

    disk_id: str
    type: str
    manufacturer: str
    slot_id: str
    mount_point: str
    available_mb: int
    capacity_mb: int
    label: str = ""  # of its storage set; "" means the archive's name
    replicates: str = ""  # the disk id of the main volume, for a replication volume


# Questions


async def locate(db: Database, file_id: str, version: int | None = None) -> list[Copy]:
    """Return the copies on mounted disks, the highest version first."""
    narrowed = "" if version is None else "and f.file_version = $2"
    arguments: tuple[object, ...] = (file_id,) if version is None else (file_id, version)
    rows = await db.look_up(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        f"where f.file_id = $1 {narrowed} and d.mounted = 1 and coalesce(f.file_ignore, 0) = 0 "
        "order by f.file_version desc, f.disk_id",
        *arguments,
    )
    return [copy(row) for row in rows]


async def copy_on(db: Database, disk_id: str, file_id: str, version: int) -> Copy | None:
    """Return one copy, whether its disk is mounted or not."""
    rows = await db.look_up(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        "where f.file_id = $1 and f.file_version = $2 and f.disk_id = $3",
        file_id,
        version,
        disk_id,
    )
    return next((copy(row) for row in rows), None)


def copy(row: Row) -> Copy:
    """Make a value of ``FILES_AND_DISKS``."""
    split = len(FILE_COLUMNS)
    return Copy(records.file(row[:split]), records.disk(row[split:]))


async def disk(db: Database, disk_id: str) -> Disk | None:
    """Return a disk of any node."""
    rows = await db.look_up(f"select {DISKS} from ngas_disks where disk_id = $1", disk_id)  # noqa: S608
    return records.disk(rows[0]) if rows else None


async def disk_in(db: Database, host_id: str, slot_id: str) -> Disk | None:
    """Return the disk that is mounted in a slot of a node."""
    rows = await db.look_up(
        f"select {DISKS} from ngas_disks where host_id = $1 and slot_id = $2 and mounted = 1",  # noqa: S608
        host_id,
        slot_id,
    )
    return records.disk(rows[0]) if rows else None


async def address(db: Database, host_id: str) -> str | None:
    """Return where a node is found, or None for an unknown one."""
    rows = await db.look_up(
        "select a.url, h.ip_address, h.srv_port from ngas_hosts h "
        "left join archive_address a on a.host_id = h.host_id where h.host_id = $1",
        host_id,
    )
    if not rows:
        return None
    url, ip_address, port = rows[0]
    return str(url) if url else f"http://{ip_address}:{port}"


# Nodes and volumes


def register_host(host: Host, now: str) -> Script[None]:
    """Write what others need to know of this node; it is not online yet."""
    found = yield Statement(
        "update ngas_hosts set ip_address = $2, srv_version = $3, srv_archive = $4, "
        "srv_retrieve = $5, srv_remove = $6, srv_port = $7, srv_process = $8 "
        "where host_id = $1 returning host_id",
        (
            *(host.host_id, host.ip_address, host.version, int(host.archive)),
            *(int(host.retrieve), int(host.remove), host.port, int(host.process)),
        ),
    )
    if not found:
        yield Statement(
            "insert into ngas_hosts (host_id, domain, ip_address, mac_address, cluster_name, "
            "installation_date, srv_version, srv_port, srv_archive, srv_retrieve, srv_process, "
            "srv_remove, srv_state, srv_data_checking, srv_suspended, srv_req_wake_up_srv) "
            "values ($1, 'NOT-SET', $2, 'NOT-SET', $3, $4, $5, $6, $7, $8, $9, $10, 'OFFLINE', "
            "0, 0, '')",
            (
                *(host.host_id, host.ip_address, host.cluster, now, host.version, host.port),
                *(int(host.archive), int(host.retrieve), int(host.process), int(host.remove)),
            ),
        )
    yield Statement("delete from archive_address where host_id = $1", (host.host_id,))
    yield Statement("insert into archive_address values ($1, $2)", (host.host_id, host.url))


def set_state(host_id: str, state: str) -> Script[None]:
    """Tell the others whether this node is online."""
    yield Statement("update ngas_hosts set srv_state = $2 where host_id = $1", (host_id, state))


def mount(
    host_id: str, archive: str, volumes: Sequence[Mount], now: str, *, force: bool
) -> Script[list[Disk]]:
    """Register volumes as mounted on this node; what it no longer has is unmounted.

    A volume that another machine's online node holds is refused unless ``force`` is given: the
    lock in the volume does not reach from one machine to another.
    """
    yield Lock(["ngas_disks"])
    yield from unmount(host_id)
    known = yield Statement(
        "select d.disk_id, d.host_id, d.mounted, h.srv_state from ngas_disks d "
        "left join ngas_hosts h on h.host_id = d.host_id where d.disk_id in @1",
        ([volume.disk_id for volume in volumes],),
    )
    for disk_id, holder, mounted, state in known:
        elsewhere = str(holder).rpartition(":")[0] != host_id.rpartition(":")[0]
        if mounted and elsewhere and state == "ONLINE" and not force:
            raise VolumeElsewhere(f"the volume with the disk {disk_id} is mounted on {holder}")
    here = {row[0] for row in known}
    names = yield Statement("select disk_id, logical_name from ngas_disks")
    numbers = {row[0]: _number(row[1]) for row in names}
    disks: list[Disk] = []
    for volume in sorted(volumes, key=lambda each: bool(each.replicates)):
        if volume.disk_id not in here:
            name, numbers[volume.disk_id] = _logical_name(volume, archive, numbers)
            yield _insert(volume, archive, name, now)
        rows = yield _update(volume, host_id)
        disks.append(records.disk(rows[0]))
    yield Statement(
        "update ngas_hosts set n_slots = $2 where host_id = $1", (host_id, len(volumes))
    )
    return disks


def unmount(host_id: str) -> Script[None]:
    """Take this node's disks away from the others."""
    yield Statement("update ngas_disks set mounted = 0 where host_id = $1", (host_id,))


def relabel(disk_id: str, label: str, now: str) -> Script[bool]:
    """Give a disk another logical name, and remember it; False: another disk has that name."""
    yield Lock(["ngas_disks"])
    others = yield Statement(
        "select disk_id from ngas_disks where logical_name = $1 and disk_id <> $2",
        (label, disk_id),
    )
    if others:
        return False
    rows = yield Statement(
        f"update ngas_disks set logical_name = $2 where disk_id = $1 returning {DISKS}",  # noqa: S608
        (disk_id, label),
    )
    yield completion.history(records.disk(rows[0]), now, "Disk Relabelled")
    return True


def _logical_name(volume: Mount, archive: str, numbers: Mapping[str, int]) -> tuple[str, int]:
    """Return ``<label>-M-<number>``; a replication volume has R and its main volume's number."""
    new = max(numbers.values(), default=0) + 1
    number = numbers.get(volume.replicates, new)
    kind = "R" if volume.replicates else "M"
    return f"{volume.label or archive}-{kind}-{number:06d}", number


def _number(logical_name: str) -> int:
    digits = logical_name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _insert(volume: Mount, archive: str, logical_name: str, now: str) -> Many:
    return Many(
        "insert into ngas_disks (disk_id, archive, installation_date, type, manufacturer, "
        "logical_name, number_of_files, available_mb, bytes_stored, completed, checksum, "
        "total_disk_write_time) values ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, '', 0)",
        [(volume.disk_id, archive, now, volume.type, volume.manufacturer, logical_name)],
    )


def _update(volume: Mount, host_id: str) -> Statement:
    return Statement(
        "update ngas_disks set host_id = $2, last_host_id = $2, slot_id = $3, mount_point = $4, "  # noqa: S608
        "available_mb = $5, capacity_mb = $6, mounted = 1 where disk_id = $1 "
        f"returning {DISKS}",
        (
            *(volume.disk_id, host_id, volume.slot_id, volume.mount_point),
            *(volume.available_mb, volume.capacity_mb),
        ),
    )
