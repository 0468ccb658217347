"""Sending archived files to subscribers, as QARCHIVE does: at least once, in their order."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from pyvospace_ngas.archive import plugins, reading, subscribers
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.opening import open_copy
from pyvospace_ngas.archive.receiving import Content
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.slots import Slots
from pyvospace_ngas.archive.subscribers import Delivery, Subscriber
from pyvospace_ngas.ngas.status import MalformedAnswer, parse

log = logging.getLogger(__name__)

PAGE: Final = 500  # files that are scheduled by one transaction
TAKEN: Final = 50  # files that a subscriber's turn takes
AT_ONCE: Final = 16  # deliveries of the node
CONNECT_SECONDS: Final = 10.0
# A row is written shortly after its ingestion date was taken: how far back to look for late ones.
LATE: Final = timedelta(seconds=30)
VERY_LATE: Final = timedelta(hours=1)
BEGINNING: Final = "0000"


class Undelivered(Exception):
    """The subscriber did not take a file."""


class SubscriberAway(Undelivered):
    """The subscriber cannot be reached: the next file would fare no better."""


@dataclass(slots=True)
class _Turn:
    """The deliveries to one subscriber."""

    subscriber: Subscriber
    called: asyncio.Event = field(default_factory=asyncio.Event)
    retry_before: str = BEGINNING  # what failed before this may be tried again
    task: asyncio.Task[None] | None = None


async def deliver(node: Node) -> None:
    """Deliver for as long as the node is online."""
    await node.database.run(subscribers.begin_again(node.host_id))
    stop_listening = node.events.listen(lambda _file: node.deliveries.set())
    timeout = ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_read=node.config.server.timeout
    )
    try:
        async with ClientSession(timeout=timeout, auto_decompress=False) as http:
            await _Office(node, http).work()
    finally:
        stop_listening()


class _Office:
    """Schedules new files, and keeps a task for each subscriber."""

    def __init__(self, node: Node, http: ClientSession) -> None:
        self._node = node
        self._http = http
        self._slots = Slots(AT_ONCE)
        self._turns: dict[str, _Turn] = {}

    async def work(self) -> None:
        """Go on until cancelled."""
        try:
            late = VERY_LATE
            while True:
                self._node.deliveries.clear()
                await self._look(late)
                late = LATE
                if await self._period_passed():
                    late = VERY_LATE
                    await self._retry()
        finally:
            await _end(list(self._turns.values()))

    async def _period_passed(self) -> bool:
        """Wait until there may be something new; True when it is time to try again."""
        try:
            async with asyncio.timeout(self._node.config.subscriptions.period):
                await self._node.deliveries.wait()
        except TimeoutError:
            return True
        return False

    async def _look(self, late: timedelta) -> None:
        found = await subscribers.all_of(self._node.database, self._node.host_id)
        await self._keep_turns(found)
        for subscriber in found:
            try:
                if await schedule(self._node, subscriber, late):
                    self._turns[subscriber.id].called.set()
            except Exception:  # a site's filter may raise anything; others must have their files
                log.exception("files for the subscriber %s were not scheduled", subscriber.id)

    async def _keep_turns(self, found: Sequence[Subscriber]) -> None:
        wanted = {subscriber.id: subscriber for subscriber in found}
        gone = [
            turn
            for name, turn in self._turns.items()
            if name not in wanted or not turn.subscriber.same_as(wanted[name], dated=True)
        ]
        await _end(gone)
        for turn in gone:
            del self._turns[turn.subscriber.id]
        for name in wanted.keys() - self._turns.keys():
            self._turns[name] = turn = _Turn(wanted[name])
            turn.called.set()
            turn.task = asyncio.create_task(self._serve(turn), name=f"deliver-{name}")

    async def _retry(self) -> None:
        """Give up what waited too long, and try the rest again."""
        expiry = self._node.config.subscriptions.expiry
        before = _back(stamp(), timedelta(seconds=expiry)) if expiry else BEGINNING
        await self._node.database.run(subscribers.tidy(self._node.host_id, before))
        for turn in self._turns.values():
            turn.retry_before = stamp()
            turn.called.set()

    async def _serve(self, turn: _Turn) -> None:
        while True:
            await turn.called.wait()
            turn.called.clear()
            try:
                while await self._take_turn(turn):
                    pass
            except Exception:  # the index may be away; the next period is another try
                log.exception("deliveries to %s stopped for now", turn.subscriber.id)

    async def _take_turn(self, turn: _Turn) -> bool:
        """Deliver some files; False when there is nothing to do, or nobody to take it."""
        database, name = self._node.database, turn.subscriber.id
        taken = await database.run(subscribers.take(name, turn.retry_before, TAKEN, stamp()))
        waiting = iter(taken)
        done: list[Delivery] = []
        try:
            async with asyncio.TaskGroup() as group:
                outcomes = [
                    group.create_task(self._deliver_some(turn.subscriber, waiting, done))
                    for _ in range(turn.subscriber.threads)
                ]
        finally:
            left = [each for each in taken if each not in done]
            if left:
                await asyncio.shield(database.run(subscribers.put_back(name, left, stamp())))
        return bool(taken) and all(outcome.result() for outcome in outcomes)

    async def _deliver_some(
        self, subscriber: Subscriber, waiting: Iterator[Delivery], done: list[Delivery]
    ) -> bool:
        """Deliver one after the other; False when the subscriber is away."""
        for delivery in waiting:
            async with self._slots.hold(subscriber.priority):
                try:
                    comment = await send(self._http, self._node, subscriber, delivery.copy)
                except Undelivered as problem:
                    await self._failed(subscriber, delivery, problem)
                    done.append(delivery)
                    if isinstance(problem, SubscriberAway):
                        return False
                else:
                    script = subscribers.delivered(
                        self._node.host_id, subscriber.id, delivery.copy, stamp(), comment
                    )
                    await self._node.database.run(script)
                    done.append(delivery)
        return True

    async def _failed(
        self, subscriber: Subscriber, delivery: Delivery, problem: Undelivered
    ) -> None:
        file = delivery.copy.file
        log.warning("%s was not delivered to %s: %s", file.file_id, subscriber.id, problem)
        server = self._node.config.server
        script = subscribers.failed(
            self._node.host_id, server.port, subscriber, delivery, stamp(), str(problem)
        )
        await self._node.database.run(script)


async def schedule(node: Node, subscriber: Subscriber, late: timedelta) -> int:
    """Put what came in for a subscriber into its queue; return how many files that are."""
    since = max(subscriber.start_date, _back(subscriber.last_date or BEGINNING, late))
    hosts = node.config.data_mover.hosts or (node.host_id,)
    count = 0
    while copies := await subscribers.unscheduled(node.database, subscriber, hosts, since, PAGE):
        folders = node.config.server.plug_in_folders
        wanted = [(copy, await _wants(subscriber, copy, folders)) for copy in copies]
        script = subscribers.schedule(node.host_id, subscriber, wanted, stamp())
        if not await node.database.run(script):
            break  # unsubscribed meanwhile
        count += len(copies)
        if len(copies) < PAGE // 2:
            break
    return count


async def send(http: ClientSession, node: Node, subscriber: Subscriber, copy: Copy) -> str:
    """Send a file; return how fast that was, or raise why it was not taken."""
    file = copy.file
    url = URL(subscriber.url)
    if file.checksum and file.checksum_plugin and "crc_variant" not in url.query:
        url = url.update_query(crc_variant=file.checksum_plugin)
    started = time.perf_counter()
    if not await asyncio.to_thread(_is_whole, copy):
        raise Undelivered("the file cannot be read on its disk")
    try:
        headers = await _headers(node, subscriber, copy)
        async with (
            reading.opened(copy) as source,
            http.post(
                url, data=_pieces(source.content), headers=headers, allow_redirects=False
            ) as answer,
        ):
            await _judge(answer)
    except (ClientError, TimeoutError, OSError) as error:
        raise SubscriberAway(f"it does not answer ({type(error).__name__})") from error
    except Refused as refusal:  # the file itself
        raise Undelivered(refusal.message) from refusal
    return f"{file.size / max(time.perf_counter() - started, 1e-6):.0f} Bytes/s"


async def _pieces(content: Content) -> AsyncIterator[bytes]:
    while piece := await content.readany():
        yield piece


def _is_whole(copy: Copy) -> bool:
    fd = open_copy(copy)
    if fd is not None:
        os.close(fd)
    return fd is not None


async def _headers(node: Node, subscriber: Subscriber, copy: Copy) -> dict[str, str]:
    file = copy.file
    name, file_id = (
        quote(each, safe=" !#$&'()*+,-./:<=>?@[]^_`{|}~")
        for each in (file.file_name.rpartition("/")[2], file.file_id)
    )
    headers = {
        "Content-Type": file.format,
        "Content-Length": str(file.size),
        "Content-Disposition": f'attachment; filename="{name}"; file_id="{file_id}"',
    }
    if file.checksum:
        headers["NGAS-File-CRC"] = file.checksum
    if plug_in := node.config.subscriptions.auth:
        headers["Authorization"] = await _authorization(plug_in, name, subscriber.url)
    return headers


async def _authorization(plug_in: str, name: str, url: str) -> str:
    try:
        return str(await plugins.call(plugins.load(plug_in), name, url))
    except Exception as error:  # a site's own code may raise anything
        log.exception("the plug-in %s gave no authorization", plug_in)
        raise SubscriberAway(f"the plug-in {plug_in} gave no authorization") from error


async def _judge(answer: ClientResponse) -> None:
    """Raise unless the subscriber took the file; NGAS also says 200 when it did not."""
    body = await answer.content.read(65536)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise SubscriberAway("it is busy (503)")
    try:
        status = parse(body).status if body.strip() else None
    except MalformedAnswer:
        status = None
    if answer.status not in {200, 201} or (status is not None and not status.succeeded):
        message = status.message if status is not None else answer.reason
        raise Undelivered(f"it answered {answer.status}: {message}")


async def _wants(subscriber: Subscriber, copy: Copy, folders: Sequence[Path]) -> bool:
    if not subscriber.filter:
        return True
    function = plugins.load_of_site(subscriber.filter, folders)
    return bool(await plugins.call(function, copy.facts(), subscriber.filter_parameters))


def _back(date: str, by: timedelta) -> str:
    """Return an earlier date; what is no date stays."""
    try:
        moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError:
        return date
    return stamp(moment - by)


async def _end(turns: Sequence[_Turn]) -> None:
    tasks = [turn.task for turn in turns if turn.task is not None]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
