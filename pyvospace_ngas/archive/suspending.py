"""Putting an idle machine to sleep, as the site's own plug-in does it."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from pyvospace_ngas.archive import checkbook, checking
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.steps import Script, Statement
from pyvospace_ngas.archive.waking import awake

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0


async def suspend_when_idle(node: Node) -> None:
    """Suspend the host when nothing was asked or checked for long enough, again and again."""
    await node.database.run(awake(node.host_id))
    settings, since = node.config.suspension, time.monotonic()
    if not settings.enabled or settings.idle <= 0 or node.site.suspension is None:
        return
    while True:
        await asyncio.sleep(min(POLL_SECONDS, settings.idle / 2))
        if node.requests or node.checking:
            since = time.monotonic()
        since = max(since, node.last_request)
        if time.monotonic() - since >= settings.idle:
            last = node.last_request
            await _suspend(node)
            await _until_needed(node, last)
            since = time.monotonic()


async def _suspend(node: Node) -> None:
    """Say that the host sleeps, and put it to sleep."""
    when = await _wake_up_time(node)
    server = node.config.suspension.wake_up_server if when else ""
    log.info("%s is suspended%s", node.host_id, f" until {when}" if when else "")
    await node.database.run(_asleep(node.host_id, server, when))
    try:
        assert node.site.suspension is not None  # noqa: S101 - looked at before
        await node.site.suspension.call(node.host_id)
    except Exception:  # a site's own code; the host is awake and says so
        log.exception("SuspensionPlugIn failed")
        await node.database.run(awake(node.host_id))


async def _until_needed(node: Node, last: float) -> None:
    """Wait until a request comes, which tells that the host is awake again; then say so."""
    while node.last_request == last and not node.requests:  # noqa: ASYNC110 - only counted
        await asyncio.sleep(POLL_SECONDS)
    await node.database.run(awake(node.host_id))


async def _wake_up_time(node: Node) -> str | None:
    """Return when the next data check is due; None: the host may sleep until it is needed."""
    settings = node.config
    if not settings.data_check.active or not settings.suspension.wake_up_server:
        return None
    check = await asyncio.to_thread(checkbook.load, settings.server.root / checking.FILE)
    now = datetime.now(UTC)
    passed = check.seconds(now) if check.started else 0.0
    return stamp(now + timedelta(seconds=max(settings.data_check.cycle - passed, 0.0)))


def _asleep(host_id: str, server: str, when: str | None) -> Script[None]:
    yield Statement(
        "update ngas_hosts set srv_suspended = 1, srv_req_wake_up_srv = $2, "
        "srv_req_wake_up_time = $3 where host_id = $1",
        (host_id, server, when),
    )
