"""A file's way from its source into the archive: received, seen by the site's own, durable."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import ExitStack
from dataclasses import replace

from pyvospace_ngas.archive import backlog, dapi, placement, replicas
from pyvospace_ngas.archive.backlog import Backlog
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Limited, Received, Source
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.targets import Target
from pyvospace_ngas.archive.upload import Upload
from pyvospace_ngas.archive.volume import Volume
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.archive.wishes import Wish, compare

log = logging.getLogger(__name__)


async def ingest(
    node: Node,
    wish: Wish,
    source: Source,
    target: Target,
    started: str,
    keep: Backlog | None = None,
) -> Copy:
    """Archive a file; it and its replica are durable when this returns.

    Raises `Refused` for what a request can help, `NotArchived` for what it can not. What fails
    at the end is kept in a backlog, where one is given.
    """
    upload = await receive(node, wish, source, target, started)
    copy = await backlog.commit(node, keep, wish, upload)
    if target.synchronize:
        await _synchronize(node, copy)
    return copy


def tell(node: Node, archived: Copy) -> None:
    """Tell everyone who wants to know of an archived file."""
    file = archived.file
    log.info("archived %s version %d in %s", file.file_id, file.version, archived.disk.slot_id)
    node.events.fire(archived.facts())


async def receive(node: Node, wish: Wish, source: Source, target: Target, started: str) -> Upload:
    """Bring a file into the staging folder, or into memory; a failure leaves nothing there."""
    token, volume = str(uuid.uuid4()), target.volume
    began = time.perf_counter()
    plug_in = None if wish.untouched else node.site.archiving.get(wish.format)
    if source.length is None:
        source = replace(source, content=Limited(source.content, target.free()))
    with node.receiving(), ExitStack() as failing:
        received = await node.receiver.take(
            source,
            volume,
            token,
            wish.variant,
            staged=plug_in is not None,
            alone=volume.alone if target.alone else None,
        )
        failing.callback(placement.clear, volume, [token])
        compare(wish, received)
        if plug_in is not None:
            path, durable = volume.staging / token, node.config.db.durable
            wish, received = await dapi.apply(plug_in, wish, received, path, durable=durable)
        seconds = received.seconds or time.perf_counter() - began
        upload = _upload(wish, received, target, token, started, seconds)
        if target.replica is not None:
            await _replicate(upload, target.replica, failing, durable=node.config.db.durable)
        failing.pop_all()
    return upload


def _upload(
    wish: Wish, received: Received, target: Target, token: str, started: str, seconds: float
) -> Upload:
    return Upload(
        token=token,
        volume=target.volume,
        file_id=wish.file_id,
        name=wish.name,
        format=wish.format,
        size=received.size,
        checksum=received.checksum,
        checksum_plugin=wish.checksum_name or wish.variant.value,
        body=received.body,
        started=started,
        seconds=seconds,
        overwrite=wish.overwrite,
        exact=wish.exact,
        history=wish.history,
        uncompressed_size=wish.uncompressed_size,
        compression=wish.compression,
    )


async def _replicate(upload: Upload, volume: Volume, failing: ExitStack, *, durable: bool) -> None:
    """Give an upload its replica; a small one is written with its batch."""
    replica = replace(
        upload,
        token=str(uuid.uuid4()),
        volume=volume,
        twin_of=upload.token,
        done=asyncio.get_running_loop().create_future(),
    )
    if upload.body is None:
        failing.callback(placement.clear, volume, [replica.token])
        work = asyncio.to_thread(replicas.copy, upload, replica, durable=durable)
        await to_its_end(work)
    upload.partner, replica.partner = replica, upload


async def _synchronize(node: Node, copy: Copy) -> None:
    """Call the site's own disk synchronization (Synchronize=1)."""
    if node.site.disk_sync is None:
        return
    try:
        await node.site.disk_sync.call(node.host_id)
    except Exception:  # a site's own code
        log.exception("DiskSyncPlugIn failed; %s is durable all the same", copy.file.file_id)
