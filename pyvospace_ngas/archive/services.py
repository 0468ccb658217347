"""What runs beside the requests while a node is online."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 5.0  # until a service that failed is started again


class Services:
    """Tasks that are started together, kept going, and stopped together."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, services: Sequence[tuple[str, Callable[[], Awaitable[None]]]]) -> None:
        """Start them; one that returns has nothing to do, one that fails is started again."""
        self._tasks = [
            asyncio.create_task(_keep_going(name, service), name=name)
            for name, service in services
        ]

    async def stop(self) -> None:
        """Cancel them all and wait until they are gone."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _keep_going(name: str, service: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await service()
        except Exception:  # the node must not lose a service for good
            log.exception("the service %s failed and is started again", name)
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return
