"""The data check: all files of this node's volumes are read again, in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import checkbook, copies, index, reading, strangers
from pyvospace_ngas.archive.checkbook import Check
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.steps import DatabaseError
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)

FILE: Final = "datacheck.json"  # below the root
PAGE: Final = 32  # files from one note of how far it is to the next
POLL_SECONDS: Final = 0.2  # while requests are served


class _Stopped(Exception):
    """The node goes offline; nobody wants to know any more."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What a check works with."""

    node: Node
    check: Check
    path: Path
    stop: threading.Event

    async def look(self, copy: Copy) -> str:
        """Return what is wrong with a file, as the configuration wants it looked at."""
        if self.node.config.data_check.scan:
            return await reading.missing(copy)
        return await reading.flaw(copy, self.give_way)

    def give_way(self) -> None:
        """Wait, in a thread, while requests are served; raise when the node goes offline."""
        while self.node.requests and not self.stop.is_set():
            self.stop.wait(POLL_SECONDS)
        if self.stop.is_set():
            raise _Stopped


async def check_data(node: Node) -> None:
    """Check all files, at most once in each ``MinCycle``, for as long as the node is online."""
    settings = node.config.data_check
    if not settings.active or not node.volumes:
        return
    path, stop = node.config.server.root / FILE, threading.Event()
    check = await asyncio.to_thread(checkbook.load, path)
    try:
        while True:
            if check.ended or not check.started:
                await _until_due(check, settings.cycle)
                check = Check(started=stamp())
            node.checking = True
            await _go_through(_Work(node, check, path, stop))
            node.checking = False
    finally:
        stop.set()
        node.checking = False
        await _rest(node)


async def _until_due(check: Check, cycle: float) -> None:
    if check.started:
        passed = max(check.seconds(datetime.now(UTC)), 0.0)
        await asyncio.sleep(max(cycle - passed, POLL_SECONDS))


async def _rest(node: Node) -> None:
    try:
        await node.database.run(checkbook.rests(node.host_id))
    except DatabaseError:
        log.exception("the others were not told that %s checks nothing", node.host_id)


async def _go_through(work: _Work) -> None:
    """Check what is not checked yet, and tell how all of it is."""
    node, check, path = work.node, work.check, work.path
    total = await checkbook.amount(node.database, [each.disk_id for each in node.volumes])
    for volume in sorted(node.volumes, key=lambda each: each.disk_id):
        if volume.disk_id not in check.done:
            await _look_through(work, volume, total)
    check.ended = stamp()
    await asyncio.to_thread(checkbook.keep, path, check)
    await node.database.run(checkbook.show(node.host_id, check, *total))
    _report(node, check)


async def _look_through(work: _Work, volume: Volume, total: tuple[int, int]) -> None:
    node, check, path = work.node, work.check, work.path
    if check.disk_id != volume.disk_id:
        check.disk_id, check.file_id, check.version = volume.disk_id, "", 0
    while True:
        await node.database.run(checkbook.show(node.host_id, check, *total))
        after = (check.file_id, check.version)
        page = await copies.on_disk(node.database, volume.disk_id, after, PAGE)
        if not page:
            break
        await _check_all(work, page)
        check.file_id, check.version = page[-1].file.file_id, page[-1].file.version
        check.files += len(page)
        check.bytes += sum(copy.file.size for copy in page)
        await asyncio.to_thread(checkbook.keep, path, check)
    for name in await strangers.on(node.database, volume):
        check.strangers.add(str(volume.path / name))
    check.done.append(volume.disk_id)
    await node.database.run(checkbook.disk_checked(volume.disk_id))
    await asyncio.to_thread(checkbook.keep, path, check)


async def _check_all(work: _Work, page: list[Copy]) -> None:
    """Check some files, as many at once as ``MaxProcs`` says."""
    waiting = iter(page)
    async with asyncio.TaskGroup() as group:
        for _ in range(work.node.config.data_check.processes):
            group.create_task(_check_some(work, waiting))


async def _check_some(work: _Work, waiting: Iterator[Copy]) -> None:
    for copy in waiting:
        while work.node.requests:  # noqa: ASYNC110 - what serves is counted, not signalled
            await asyncio.sleep(POLL_SECONDS)
        flaw = await _flaw(work, copy)
        if bool(flaw) != copy.file.file_status.startswith("1"):
            await work.node.database.run(checkbook.mark(copy, bad=bool(flaw)))
        if flaw:
            log.warning("the file %s is not sound: %s", copy.path, flaw)
            work.check.bad.add(
                f"{copy.path} ({copy.file.file_id}, version {copy.file.version}): {flaw}"
            )


async def _flaw(work: _Work, copy: Copy) -> str:
    """Return what is wrong with a file; one that is replaced or removed meanwhile is not bad."""
    if not await work.look(copy):
        return ""
    file = copy.file
    now = await index.copy_on(work.node.database, file.disk_id, file.file_id, file.version)
    if now is None or now.file != file:
        return ""
    return await work.look(copy)


def _report(node: Node, check: Check) -> None:
    always = node.config.data_check.always_report
    found = check.bad.count + check.strangers.count
    if found or always:
        text = (
            f"{check.files} files were checked from {check.started} to {check.ended}.\n\n"
            + (check.bad.text("Files that are not sound") or "All of them are sound.\n\n")
            + check.strangers.text("Files that are in no index; they stay as they are")
        )
        node.notices.tell(
            Notice.DATA_CHECK,
            f"{found} problems in the files of {node.host_id}",
            text,
            always=always,
        )
