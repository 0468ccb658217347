"""Copies that may go because there are others: the rule, and what removes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from pyvospace_ngas.archive import completion, transactions
from pyvospace_ngas.archive.committer import finish_removals
from pyvospace_ngas.archive.copies import Key
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.records import Disk, File, stamp
from pyvospace_ngas.archive.refusals import coded
from pyvospace_ngas.archive.steps import Database, Lock, Script, Statement
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)

COPIES: Final = 3  # that there must be of a version, on as many disks, before one may go
BATCH: Final = 200

COUNT: Final = (
    "select count(*) from ngas_files c join ngas_disks d on d.disk_id = c.disk_id "
    "where c.file_id = {file_id} and c.file_version = {version} and d.mounted = 1 "
    "and coalesce(c.file_ignore, 0) = 0"
)


async def too_few_copies(
    db: Database, disk_id: str, file_id: str | None = None, version: int | None = None
) -> bool:
    """Whether the cluster has not enough copies of any of these files on a disk to lose one.

    Only copies on mounted disks count.
    """
    copies = COUNT.format(file_id="f.file_id", version="f.file_version")
    rows = await db.fetch(
        "select 1 from ngas_files f where f.disk_id = $1 "  # noqa: S608
        "and f.file_id = coalesce($2, f.file_id) "
        f"and f.file_version = coalesce($3, f.file_version) and ({copies}) < $4 limit 1",
        *(disk_id, file_id, version, COPIES),
    )
    return bool(rows)


def too_few(disk_id: str, file_id: str | None, version: int | None) -> str:
    """Return the message that says so."""
    return coded(
        "NGAMS_WA_FILE_COPIES",
        f"Not every file has {COPIES} copies on {COPIES} disks of this archive, so that none is "
        f"removed. Cannot remove item: {disk_id}/{file_id}/{version}",
    )


async def remove(node: Node, volume: Volume, keys: Sequence[Key]) -> list[File]:
    """Remove files from a volume of this node, as far as the rule allows it; return those gone.

    Rows first, with a record of the files to be removed, as DISCARD does it.
    """
    gone: list[File] = []
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        script = _remove(volume.disk_id, batch, volume.available_mb)
        files = await node.database.run(script)
        if node.disks is not None:
            names = [(file.disk_id, file.file_name) for file in files]
            await finish_removals(node.database, node.disks, names)
        gone += files
    for file in gone:
        log.info("removed %s version %d from %s", file.file_id, file.version, volume.slot)
    return gone


async def remove_disk(node: Node, disk: Disk) -> bool:
    """Remove a disk without files from the index; False while there are any."""
    return await node.database.run(_remove_disk(disk, stamp()))


def _remove(disk_id: str, keys: Sequence[Key], available_mb: int) -> Script[list[File]]:
    yield Lock(sorted({file_id for file_id, _ in keys}))  # two nodes must not both find three
    gone: list[File] = []
    for file_id, version in keys:
        rows = yield Statement(COUNT.format(file_id="$1", version="$2"), (file_id, version))
        if int(rows[0][0]) < COPIES:
            continue
        file = yield from transactions.discard(disk_id, file_id, version, available_mb)
        if file is not None:
            gone.append(file)
    return gone


def _remove_disk(disk: Disk, now: str) -> Script[bool]:
    yield Lock(["ngas_disks"])
    rows = yield Statement(
        "select 1 from ngas_files where disk_id = $1 union all "
        "select 1 from archive_intent where disk_id = $1 limit 1",
        (disk.disk_id,),
    )
    if rows:
        return False
    yield Statement("delete from ngas_cache where disk_id = $1", (disk.disk_id,))
    yield Statement("delete from ngas_disks where disk_id = $1", (disk.disk_id,))
    yield completion.history(disk, now, "Disk Removed")
    return True
