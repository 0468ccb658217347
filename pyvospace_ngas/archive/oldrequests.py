"""The service that keeps the requests database from growing for ever."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from pyvospace_ngas.archive.node import Node

log = logging.getLogger(__name__)


async def forget_old_requests(node: Node) -> None:
    """Forget requests that ended more than a day ago, as often as the janitor looks around."""
    while True:
        if gone := await node.ledger.forget(datetime.now(UTC)):
            log.info("%d old requests are forgotten", gone)
        await asyncio.sleep(node.config.janitor.period)
