"""The service that does with rotated log files what is to be done with them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import local, logs, targets
from pyvospace_ngas.archive.ingest import ingest, tell
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Source
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.steps import DatabaseError
from pyvospace_ngas.archive.upload import NotArchived
from pyvospace_ngas.archive.wishes import Wish

log = logging.getLogger(__name__)

MIME_TYPE: Final = "ngas/nglog"


async def keep_logs(node: Node) -> None:
    """Look after the log file, as often as the janitor looks around."""
    file = node.config.log.file
    if file is None:
        return
    while True:
        await asyncio.to_thread(logs.rotate_when_due)
        for path in await asyncio.to_thread(lambda: list(logs.unsaved(file.parent))):
            await _save(node, path)
        await asyncio.to_thread(logs.keep_newest, file.parent, node.config.log.keep)
        await asyncio.sleep(node.config.janitor.period)


async def _save(node: Node, path: Path) -> None:
    """Archive a rotated file if that is wanted, and show it to the site; else try again later."""
    if node.config.log.archive_rotated and not node.config.data_mover.enabled:
        try:
            await _archive(node, path)
        except (Refused, NotArchived, DatabaseError, OSError) as problem:
            log.warning("%s is not archived yet: %s", path.name, problem)
            return
    for each in node.site.log_handlers:
        try:
            await each.call(path)
        except Exception:  # a site's own code
            log.exception("the log file handler %s failed with %s", each.name, path.name)
    await asyncio.to_thread(path.rename, logs.saved(path))


async def _archive(node: Node, path: Path) -> None:
    name = logs.saved(path).name
    folder = await asyncio.to_thread(path.parent.resolve)
    file = await asyncio.to_thread(local.walk, folder, folder / path.name)
    with closing(file), node.busy():
        if await _is_there(node, name, file.size):
            return
        target = _target(node, file.size)
        if target is None:
            raise NotArchived("no volume has room for it")
        wish = Wish(name, name, name, MIME_TYPE, node.config.handling.crc, None)
        source = Source(file, file.size, pulled=True)
        with target.promise(file.size):
            tell(node, await ingest(node, wish, source, target, stamp()))


async def _is_there(node: Node, name: str, size: int) -> bool:
    """Whether it was archived before, and only its new name was lost in a crash."""
    rows = await node.database.look_up(
        "select 1 from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "
        "where f.file_id = $1 and f.file_size = $2 and d.host_id = $3",
        *(name, size, node.host_id),
    )
    return bool(rows)


def _target(node: Node, size: int) -> targets.Target | None:
    """Return where logs go: where their stream does, if there is one."""
    if MIME_TYPE in node.config.streams:
        return targets.by_stream(node, MIME_TYPE, size)
    return targets.on_any(node, size)
