"""The cache: files go by explicit request, age, volume, number, or as a plug-in says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pyvospace_ngas.archive import cachebook
from pyvospace_ngas.archive.cachebook import Held, Question
from pyvospace_ngas.archive.committer import finish_removals
from pyvospace_ngas.archive.interfaces import FileFacts
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.settings.tending import Caching

log = logging.getLogger(__name__)

PAGE: Final = 500
BATCH: Final = 50  # files of one transaction
ADOPTING_SECONDS: Final = 3600.0  # until it is looked again for files that came in other ways
SETTLED_SECONDS: Final = 3600.0  # after which a file is surely in the queues that want it
DOWN_TO: Final = 0.9  # of the volume, so that not each new file pushes out an old one
MORE_THAN_TOO_MANY: Final = 1.1


@dataclass(slots=True)
class Surplus:
    """What is too much, still to go."""

    files: int = 0
    bytes: int = 0

    def __bool__(self) -> bool:
        return self.files > 0 or self.bytes > 0

    def less(self, held: Held) -> None:
        """Take note that a file goes."""
        self.files -= 1
        self.bytes -= held.copy.file.size


def surplus(settings: Caching, files: int, size: int) -> Surplus:
    """Return what is to go of a cache of so many files and bytes."""
    found = Surplus()
    if 0 < settings.max_bytes < size:
        found.bytes = size - int(settings.max_bytes * DOWN_TO)
    if 0 < settings.max_files < files:
        found.files = round((files - settings.max_files) * MORE_THAN_TOO_MANY + 0.49)
    return found


async def keep_cache(node: Node) -> None:
    """Remove files for as long as the node is online, if it is a cache (Caching Enable)."""
    if not node.config.caching.enabled or not node.volumes:
        return
    arrived: list[FileFacts] = []
    stop_listening = node.events.listen(arrived.append)
    adopted = -ADOPTING_SECONDS
    try:
        while True:
            if time.monotonic() - adopted >= ADOPTING_SECONDS:
                await adopt(node)
                adopted = time.monotonic()
            await _enter(node, arrived)
            await tidy(node, time.time())
            await asyncio.sleep(node.config.caching.period)
    finally:
        stop_listening()


async def adopt(node: Node) -> None:
    """Take all files of this node's disks into the account, whenever and however they came."""
    disk_ids = [volume.disk_id for volume in node.volumes]
    while found := await cachebook.strangers(node.database, disk_ids, PAGE):
        await node.database.run(cachebook.enter(found))
    await node.database.run(cachebook.strike(disk_ids))


async def tidy(node: Node, now: float) -> None:
    """Remove what has to go by now."""
    settings, disk_ids = node.config.caching, [volume.disk_id for volume in node.volumes]
    settled = stamp(datetime.fromtimestamp(now - SETTLED_SECONDS, UTC))
    here = (node.host_id, node.config.server.port, settled)
    delivered_by = here if settings.only_delivered else None
    async for page in _pages(node, Question(disk_ids, True, delivered_by)):
        await _evict(node, page)
    too_much = surplus(settings, *await cachebook.totals(node.database, disk_ids))
    async for page in _pages(node, Question(disk_ids, False, delivered_by)):
        going = [held for held in page if await _goes(node, held, too_much, now)]
        await _evict(node, going)
        if not going and settings.plug_in is None:
            return  # all others are younger


async def _goes(node: Node, held: Held, too_much: Surplus, now: float) -> bool:
    """Whether a file has to go; they are asked about in the order of their age."""
    max_age = node.config.caching.max_age
    old = max_age > 0 and held.since < now - max_age
    if old or too_much or await _unwanted(node, held):
        too_much.less(held)
        return True
    return False


async def _unwanted(node: Node, held: Held) -> bool:
    """Whether the site's own plug-in lets a file go; one that fails does not."""
    if node.site.cache_control is None:
        return False
    try:
        return bool(await node.site.cache_control.call(held.copy.facts()))
    except Exception:  # a site's own code
        log.exception("CacheControlPlugIn failed with %s", held.copy.file.file_id)
        return False


async def _pages(node: Node, question: Question) -> AsyncIterator[list[Held]]:
    last = cachebook.FIRST
    while page := await cachebook.page(node.database, question, last, PAGE):
        yield page
        last = page[-1].place


async def _evict(node: Node, files: Sequence[Held]) -> None:
    """Remove files: rows first, as DISCARD does it, so that a crash leaves no riddle."""
    room = {volume.disk_id: volume.available_mb for volume in node.volumes}
    for start in range(0, len(files), BATCH):
        batch = [held for held in files[start : start + BATCH] if held.copy.disk.disk_id in room]
        gone = await node.database.run(cachebook.evict(batch, room))
        if node.disks is not None:
            names = [(file.disk_id, file.file_name) for file in gone]
            await finish_removals(node.database, node.disks, names)
        log.info("%d files went from the cache", len(gone))


async def _enter(node: Node, arrived: list[FileFacts]) -> None:
    files, arrived[:] = list(arrived), []
    names = [
        ((file.disk_id, file.file_id, file.version), cachebook.seconds(file.ingestion_date))
        for file in files
    ]
    if names:
        await node.database.run(cachebook.enter(names))
