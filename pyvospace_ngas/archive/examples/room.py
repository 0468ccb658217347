"""A command of one's own: ROOM tells as JSON how much room the node's volumes have.

In the configuration::

    <Commands><Command Name="ROOM" Module="pyvospace_ngas.archive.examples.room"/></Commands>
"""

import asyncio

from aiohttp import web

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.volume import Volume


async def handle(call: Call) -> web.StreamResponse:
    """Answer with the slots of the volumes that still take files, and their free MiB."""
    call.node.must_be_online("Command ROOM")
    return web.json_response(await asyncio.to_thread(_room, call.node.volumes))


def _room(volumes: tuple[Volume, ...]) -> dict[str, int]:
    return {each.slot: each.available_mb for each in volumes if not each.completed}
