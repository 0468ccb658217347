"""The service of a site's own (``SystemPlugIns UserServicePlugIn``)."""

from __future__ import annotations

import asyncio
import logging

from pyvospace_ngas.archive.node import Node

log = logging.getLogger(__name__)


async def serve_site(node: Node) -> None:
    """Call the plug-in again and again, for as long as the node is online."""
    if node.site.service is None:
        return
    while True:
        try:
            await node.site.service.call(node.host_id)
        except Exception:  # a site's own code
            log.exception("UserServicePlugIn failed")
        await asyncio.sleep(node.config.system.service_period)
