"""What a storage server does besides answering; several servers share the work."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from pyvospace_ngas.config import Config
from pyvospace_ngas.errors import ServiceUnavailable, VOSpaceError
from pyvospace_ngas.http.faults import describe
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ops import discards, sweep, trees
from pyvospace_ngas.ops import servers as registry
from pyvospace_ngas.storage import third_party
from pyvospace_ngas.storage.service import Service

log = logging.getLogger(__name__)

HEARTBEAT: Final = 10.0
JANITOR: Final = 15.0
IDLE: Final = 0.25  # seconds between looks at the queue of jobs
AFTER_FAILURE: Final = 5.0


@asynccontextmanager
async def running(service: Service, config: Config) -> AsyncIterator[None]:
    """Work in the background for as long as the context lasts."""
    task = asyncio.create_task(_work(service, config), name="background")
    task.add_done_callback(_die_loudly)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def registered(service: Service, config: Config) -> AsyncIterator[None]:
    """Be offered to clients; not any more from a clean stop on."""
    url, name = config.storage.listen.public_url, config.storage.name
    async with service.database.acquire() as db:
        await registry.beat(db, url, name)
    try:
        yield
    finally:
        try:
            async with service.database.acquire() as db:
                await registry.leave(db, url)
        except VOSpaceError as error:
            log.warning("this server could not be unregistered: %s", error)


async def _work(service: Service, config: Config) -> None:
    # A task group is left by the task that entered it, which a cleanup context is not always.
    url, name = config.storage.listen.public_url, config.storage.name
    delay = config.storage.discard_delay

    async def beat() -> None:
        async with service.database.acquire() as db:
            await registry.beat(db, url, name)

    space = Space(config.space.authority, frozenset(config.space.aliases))
    remote = third_party.remote_of(config.storage)

    async def call_others(executor: str) -> None:
        try:
            while await third_party.work_one(
                service, remote, executor, lambda error: describe(error, space)
            ):
                pass
        except ServiceUnavailable:
            await asyncio.sleep(AFTER_FAILURE)
            raise

    async with asyncio.TaskGroup() as group:
        for number in range(config.storage.third_party_jobs):
            group.create_task(
                _every(IDLE, partial(call_others, f"{service.executor}:{number}")),
                name=f"third-party transfers {number}",
            )
        group.create_task(_every(HEARTBEAT, beat), name="heartbeat")
        group.create_task(
            _every(JANITOR, lambda: discards.work(service.database, service.federation)),
            name="discards",
        )
        group.create_task(
            _every(JANITOR, lambda: sweep.work(service.database, service.federation, delay)),
            name="sweep",
        )
        group.create_task(
            _every(JANITOR, lambda: trees.purge_abandoned(service.database, delay)),
            name="abandoned archives",
        )


async def _every(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except VOSpaceError as error:
            log.warning("%s waits: %s", _name(), error)
        except Exception:  # a bug in the janitor must not end the service of bytes
            log.exception("%s failed; it will be tried again", _name())


def _name() -> str:
    task = asyncio.current_task()
    return task.get_name() if task is not None else "the background work"


def _die_loudly(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the background work has ended", exc_info=error)
