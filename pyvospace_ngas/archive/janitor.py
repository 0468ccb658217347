"""The janitor: looks around again and again, and tidies up."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import plugins, processing, workfolders
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.volume import MEBIBYTE

log = logging.getLogger(__name__)

PROCESSING_SECONDS: Final = 30 * 60.0  # that a folder of RETRIEVE's processing is kept


async def tidy_up(node: Node) -> None:
    """Make a round each ``SuspensionTime``, for as long as the node is online."""
    stop = threading.Event()
    try:
        while True:
            await make_round(node, stop)
            await asyncio.sleep(node.config.janitor.period)
    finally:
        stop.set()


async def make_round(node: Node, stop: threading.Event) -> None:
    """Do everything once; what fails does not keep the rest from being done."""
    await _look_at_room(node)
    await _sweep(node)
    await node.notices.send()
    for each in node.site.janitors:
        try:
            await plugins.call(each.function, node.config.server.root, stop)
        except Exception:  # a site's own code
            log.exception("the janitor's plug-in %s failed", each.name)


async def _look_at_room(node: Node) -> None:
    """Go offline before the file system of the index, the log and the like is full."""
    root, least = node.config.server.root, node.config.janitor.least_system_mb
    if not least:
        return
    free = await asyncio.to_thread(_free_mb, root)
    if free < least:
        node.notices.tell(
            Notice.ALERT,
            f"{node.host_id} goes offline",
            f"There are only {free} MB left in {root}, less than MinSpaceSysDirMb={least}. "
            "The node goes offline. Make room, then send it ONLINE.",
        )
        node.go_offline_soon()


async def _sweep(node: Node) -> None:
    folder = processing.base(node.config)
    try:
        gone = await asyncio.to_thread(workfolders.sweep, folder, time.time() - PROCESSING_SECONDS)
    except OSError:
        log.exception("%s cannot be looked through", folder)
    else:
        if gone:
            log.info("%d old folders went from %s", gone, folder)


def _free_mb(path: Path) -> int:
    return shutil.disk_usage(path).free // MEBIBYTE
