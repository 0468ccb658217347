"""Waking suspended hosts: when a request needs them, and when the time has come."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.archive.peers import PeerAway
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.steps import Script, Statement

if TYPE_CHECKING:
    from pyvospace_ngas.archive.node import Node

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
AGAIN: Final = timedelta(minutes=5)  # until a host that does not wake up is called again


class Waker:
    """Wakes hosts; who needs the same one waits for the same call."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._calls: dict[str, asyncio.Task[None]] = {}

    async def need(self, host_id: str) -> None:
        """Return when a host is awake, at once if it is not suspended, or raise `PeerAway`."""
        if await _is_suspended(self._node, host_id):
            call = self._calls.get(host_id)
            if call is None:
                call = asyncio.create_task(_rouse(self._node, host_id))
                self._calls[host_id] = call
                call.add_done_callback(lambda _: self._calls.pop(host_id, None))
            await asyncio.wait([call])  # which goes on for the others if this one leaves
            call.result()

    async def close(self) -> None:
        """Stop calling."""
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def wake_hosts(node: Node) -> None:
    """Wake those who asked this node for it, when their time has come."""
    if node.site.wake_up is None:
        return
    while True:
        for host_id in await _due(node):
            try:
                await node.waker.need(host_id)
            except PeerAway as problem:
                text = f"{problem.message}; it is called again in {AGAIN}."
                node.notices.tell(Notice.ERROR, f"{host_id} does not wake up", text)
                later = stamp(datetime.now(UTC) + AGAIN)
                await node.database.run(_ask(host_id, node.host_id, later))
        await asyncio.sleep(POLL_SECONDS)


def awake(host_id: str) -> Script[None]:
    """Say that a host is awake."""
    yield Statement(
        "update ngas_hosts set srv_suspended = 0, srv_req_wake_up_srv = '', "
        "srv_req_wake_up_time = null where host_id = $1",
        (host_id,),
    )


async def _rouse(node: Node, host_id: str) -> None:
    """Wake a host, or have the wake-up server do it; wait until it answers."""
    log.info("%s is suspended and needed: waking it", host_id)
    if node.site.wake_up is not None:
        try:
            await node.site.wake_up.call(host_id)
        except Exception as error:  # a site's own code
            log.exception("WakeUpPlugIn failed with %s", host_id)
            raise PeerAway(f"the node {host_id} is suspended and cannot be woken", 502) from error
    else:
        server = node.config.suspension.wake_up_server
        await node.database.run(_ask(host_id, server, stamp()))
    try:
        async with asyncio.timeout(node.config.suspension.wake_up_timeout):
            while not await node.peers.is_there(host_id):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise PeerAway(f"the node {host_id} is suspended and did not wake up", 504) from error
    await node.database.run(awake(host_id))


async def _is_suspended(node: Node, host_id: str) -> bool:
    rows = await node.database.look_up(
        "select 1 from ngas_hosts where host_id = $1 and srv_suspended = 1", host_id
    )
    return bool(rows) and host_id != node.host_id


async def _due(node: Node) -> list[str]:
    rows = await node.database.look_up(
        "select host_id from ngas_hosts where srv_suspended = 1 and srv_req_wake_up_srv = $1 "
        "and srv_req_wake_up_time <= $2 order by host_id",
        *(node.host_id, stamp()),
    )
    return [str(row[0]) for row in rows]


def _ask(host_id: str, server: str, when: str) -> Script[None]:
    """Ask the wake-up server for a host; the one that the host named is the one to ask."""
    yield Statement(
        "update ngas_hosts set srv_req_wake_up_time = $3, srv_req_wake_up_srv = "
        "case when coalesce(srv_req_wake_up_srv, '') = '' then $2 else srv_req_wake_up_srv end "
        "where host_id = $1 and srv_suspended = 1",
        (host_id, server, when),
    )
