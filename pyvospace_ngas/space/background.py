"""What the space server does by itself: queued jobs, overdue ones, the trash, and changes."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import ServiceUnavailable
from pyvospace_ngas.http.keys import CONFIG, DATABASE
from pyvospace_ngas.model.job import RECURSIVE, Kind
from pyvospace_ngas.ops import changes, executing, jobs, purge, sessions, tokens
from pyvospace_ngas.space.feed import FEED, TICK
from pyvospace_ngas.space.running import RUNNING

log = logging.getLogger(__name__)

IDLE: Final = 0.25  # seconds between looks at the queue of jobs
HOUSEKEEPING: Final = 5.0
AFTER_FAILURE: Final = 5.0
WORKERS: Final = 2  # moves and copies that one server executes at once


async def background(app: web.Application) -> AsyncIterator[None]:
    """Run the housekeeping for as long as the application lives."""

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                executor = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
                group.create_task(_work(app, executor), name=f"jobs-{number}")
            executor = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            group.create_task(_work(app, executor, RECURSIVE), name="recursive-jobs")
            executor = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            group.create_task(_work(app, executor, (Kind.SEARCH,)), name="searches")
            group.create_task(_repeat(HOUSEKEEPING, lambda: _clean_up(app)), name="clean-up")
            group.create_task(_repeat(HOUSEKEEPING, lambda: _purge(app)), name="purge")
            group.create_task(_repeat(TICK, app[FEED].tick), name="changes")

    # The group must be left by the task that entered it; a clean-up context is not always.
    task = asyncio.create_task(everything(), name="background")
    task.add_done_callback(_die_loudly)
    yield
    task.cancel()
    await asyncio.wait([task])


async def _work(
    app: web.Application, executor: str, kinds: Collection[Kind] = executing.EXECUTED_HERE
) -> None:
    async def once() -> None:
        while await executing.work_one(app[RUNNING], executor, kinds):
            pass

    await _repeat(IDLE, once)


async def _clean_up(app: web.Application) -> None:
    async with app[DATABASE].acquire() as db:
        await jobs.clean_up(db)
        await sessions.sweep(db)
        await tokens.sweep(db)
        await changes.prune(db)


async def _purge(app: web.Application) -> None:
    config = app[CONFIG]
    while await purge.purge_oldest(
        app[DATABASE], config.space.trash_delay, config.storage.discard_delay
    ):
        pass


async def _repeat(pause: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work`` for ever; while the database is away, more slowly."""
    while True:
        try:
            await work()
        except ServiceUnavailable as error:
            log.warning("background work waits: %s", error)
            await asyncio.sleep(AFTER_FAILURE)
        except Exception:
            # One bad row must not end the housekeeping of all others.
            log.exception("background work failed")
            await asyncio.sleep(AFTER_FAILURE)
        await asyncio.sleep(pause)


def _die_loudly(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the background work died", exc_info=error)
