"""Further copies of archived files on this node's volumes, from its own disks or another node."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pyvospace_ngas.archive import copies, reading, targets
from pyvospace_ngas.archive.ledger import Entry
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Source, drop
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.targets import Target
from pyvospace_ngas.archive.upload import NotArchived, Upload
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)

AT_ONCE: Final = 4  # files of one request: they share transactions
PAGE: Final = 500
Sources = Sequence[Copy]  # copies of one version, any of which will do


async def clone(node: Node, sources: Sources, target: Volume | None) -> Copy:
    """Return a further copy of a version, on ``target`` or any volume with room and without it."""
    file = sources[0].file
    problem = _rejected(sources[0], "there is no copy of it")
    for source in sorted(sources, key=lambda each: each.disk.host_id != node.host_id):
        node.must_be_online("Command CLONE")
        place = await choose(node, source, target)
        try:
            with place.promise(file.size):
                copy = await node.committer.archive(await _fetch(node, source, place.volume))
        except NotArchived as error:
            raise _failed(source, str(error)) from error
        except Refused as refusal:
            log.warning("%s was not cloned: %s", file.file_id, refusal.message)
            problem = _failed(source, refusal.message)
        else:
            log.info("cloned %s version %d to %s", file.file_id, file.version, copy.disk.slot_id)
            return copy
    raise problem


async def clone_all(
    node: Node, entry: Entry, pages: AsyncIterator[list[Sources]], target: Volume | None
) -> None:
    """Clone many versions; what fails does not keep the others from it, but is told at the end."""
    problems: list[Refused] = []
    async for page in pages:
        waiting = iter(page)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_clone_some(node, entry, waiting, target, problems))
    if not problems:
        return
    if entry.expected == 1:
        raise problems[0]
    text = f"{entry.actual} of {entry.expected} files were cloned; the first that was not: "
    number = coded("NGAMS_ER_FILE_CLONE_FAILED", text)
    raise Refused(number + problems[0].message, problems[0].status)


async def choose(node: Node, source: Copy, target: Volume | None) -> Target:
    """Return where a copy can go, or say why there is no such place."""
    file = source.file
    holding = await copies.disks_with(node.database, file.file_id, file.version)
    volumes = node.volumes if target is None else (target,)
    without = [Target(volume) for volume in volumes if volume.disk_id not in holding]
    if not without:
        raise _rejected(source, "every volume that it could go to has it already")
    place = targets.pick(without, file.size)
    if place is None:
        raise _rejected(source, "no volume that it could go to has room for it")
    return place


async def _clone_some(
    node: Node,
    entry: Entry,
    waiting: Iterator[Sources],
    target: Volume | None,
    problems: list[Refused],
) -> None:
    for sources in waiting:
        try:
            await clone(node, sources, target)
        except Refused as refusal:
            problems.append(refusal)
        else:
            entry.actual += 1
        node.ledger.progress(entry)


async def _fetch(node: Node, source: Copy, volume: Volume) -> Upload:
    token, started, began = str(uuid.uuid4()), stamp(), time.perf_counter()
    file = source.file
    variant = reading.variant_of(file.checksum_plugin)
    async with _opened(node, source) as content:
        received = await node.receiver.take(content, volume, token, variant)
    if flaw := reading.same_bytes(source, received.size, received.checksum):
        await drop(volume, token, received)
        raise Refused(flaw, 500)
    return Upload(
        token=token,
        volume=volume,
        file_id=file.file_id,
        name=file.file_name.rpartition("/")[2],
        format=file.format,
        size=received.size,
        checksum=file.checksum,
        checksum_plugin=file.checksum_plugin,
        body=received.body,
        started=started,
        seconds=received.seconds or time.perf_counter() - began,
        source=file,
    )


@asynccontextmanager
async def _opened(node: Node, source: Copy) -> AsyncIterator[Source]:
    if source.disk.host_id == node.host_id:
        async with reading.opened(source) as content:
            yield content
        return
    wanted = {
        "file_id": source.file.file_id,
        "file_version": str(source.file.version),
        "disk_id": source.disk.disk_id,
    }
    host_id = source.disk.host_id
    async with node.peers.ask(host_id, "RETRIEVE", wanted, proxied=True) as answer:
        if answer.status != 200:
            raise Refused(f"the node {host_id} answered with the HTTP status {answer.status}", 502)
        yield Source(answer.content, source.file.size, pulled=True)


def _rejected(copy: Copy, why: str) -> Refused:
    text = f"The file {_which(copy)} cannot be cloned here: {why}."
    return Refused(coded("NGAMS_ER_CLONE_REJECTED", text))


def _failed(copy: Copy, why: str) -> Refused:
    text = f"The file {_which(copy)} was not cloned: {why.rstrip('.')}."
    return Refused(coded("NGAMS_ER_FILE_CLONE_FAILED", text), 500)


def _which(copy: Copy) -> str:
    return f"{copy.file.file_id}/Version: {copy.file.version}/Disk ID: {copy.disk.disk_id}"
