"""The service that archives what waits in the backlog."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing

from pyvospace_ngas.archive import backlog, local, placement, targets
from pyvospace_ngas.archive.backlog import Backlog, Entry
from pyvospace_ngas.archive.ingest import receive, tell
from pyvospace_ngas.archive.local import LocalFile
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Source
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.steps import DatabaseError
from pyvospace_ngas.archive.targets import Target
from pyvospace_ngas.archive.upload import CannotOverwrite, NotArchived, Upload

log = logging.getLogger(__name__)


async def run(node: Node) -> None:
    """Try again and again, as often as the janitor works."""
    waiting = backlog.of(node)
    if waiting is None:
        return
    await asyncio.to_thread(waiting.staging.mkdir, parents=True, exist_ok=True)
    while True:
        await asyncio.to_thread(waiting.sweep)
        for entry in await asyncio.to_thread(lambda: list(waiting.entries())):
            try:
                await _try(node, waiting, entry)
            except (NotArchived, DatabaseError, OSError) as problem:
                log.warning("%s still waits: %s", entry.wish.file_id, problem)
        await asyncio.sleep(node.config.janitor.period)


async def _try(node: Node, waiting: Backlog, entry: Entry) -> None:
    target = targets.by_stream(node, entry.wish.format, entry.wish.size or 0)
    if target is None or not node.config.permissions.archive:
        return
    if await node.database.look_up("select 1 from archive_intent where token = $1", entry.token):
        node.committer.settle()  # nobody knows yet how the first attempt ended
        return
    root = await asyncio.to_thread(waiting.staging.resolve)
    file = await asyncio.to_thread(local.walk, root, root / entry.token)
    try:
        with closing(file):
            await _archive(node, entry, file, target)
    except (Refused, CannotOverwrite) as problem:
        if isinstance(problem, Refused) and problem.status >= 500:
            raise NotArchived(problem.message) from problem
        await asyncio.to_thread(waiting.set_aside, entry)
        text = f"{entry.wish.file_id} stays in the backlog and needs a look: {problem}"
        node.notices.tell(Notice.ERROR, f"a file cannot be archived on {node.host_id}", text)
    else:
        await asyncio.to_thread(waiting.remove, entry)


async def _archive(node: Node, entry: Entry, file: LocalFile, target: Target) -> None:
    source = Source(file, file.size, pulled=True)
    with target.promise(file.size):
        upload = await receive(node, entry.wish, source, target, entry.started)
        if await _is_there(node, upload):
            await asyncio.to_thread(_drop, upload)
            return
        tell(node, await node.committer.archive(upload))


async def _is_there(node: Node, upload: Upload) -> bool:
    """Whether an earlier attempt was archived after all, and only its answer was lost."""
    rows = await node.database.look_up(
        "select 1 from ngas_files where file_id = $1 and creation_date = $2 and file_size = $3 "
        "and format = $4",
        *(upload.file_id, upload.started, upload.size, upload.format),
    )
    return bool(rows)


def _drop(upload: Upload) -> None:
    for each in upload.all:
        placement.clear(each.volume, [each.token])
