"""What a node does about an earlier life of its volumes that ended without a goodbye.

Only records of our own decide: files that nobody recorded are strangers and stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pyvospace_ngas.archive import placement, transactions
from pyvospace_ngas.archive.steps import Database
from pyvospace_ngas.archive.transactions import Intent
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)


async def recover(database: Database, volumes: Sequence[Volume]) -> None:
    """Bring files and rows of these volumes together; they must be locked by this node."""
    disk_ids = [volume.disk_id for volume in volumes]
    intents, removals = await database.run(transactions.unfinished(disk_ids))
    tokens = [intent.token for intent in intents]
    undone = set(await database.run(transactions.abandon(tokens))) if tokens else set()
    lost = [intent for intent in intents if intent.token in undone]
    swept = await asyncio.to_thread(_tidy, volumes, lost, removals)
    if tokens:
        await database.run(transactions.forget(tokens))
    if removals:
        await database.run(transactions.removed(removals))
    if lost or removals or swept:
        log.warning(
            "after an unclean end: %d files without a row taken out, %d removals finished, "
            "%d leftovers in staging removed",
            len(lost),
            len(removals),
            swept,
        )


def _tidy(
    volumes: Sequence[Volume], lost: Sequence[Intent], removals: Sequence[tuple[str, str]]
) -> int:
    by_disk = {volume.disk_id: volume for volume in volumes}
    for intent in lost:
        placement.withdraw(by_disk[intent.disk_id], intent)
    for disk_id, file_name in removals:
        placement.remove(by_disk[disk_id], file_name)
    return sum(placement.sweep(volume) for volume in volumes)
