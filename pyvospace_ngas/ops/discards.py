"""Letting NGAS forget files: only here, only on what the database says, late, and to be seen."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyvospace_ngas.db import blobs, discards
from pyvospace_ngas.db.connect import Connection, Database, transaction
from pyvospace_ngas.db.discards import Counts, Discard
from pyvospace_ngas.model.content import Blob
from pyvospace_ngas.ngas.client import Discarded
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.replicas import Copy

log = logging.getLogger(__name__)

BATCH: Final = 50
ABSENT_APART: Final = 3600.0  # seconds between the two times that no node may have a file
LARGE: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Status:
    """How the queue stands. ``halted``: the database is not the one that was accepted."""

    counts: Counts
    halted: bool


async def release(db: Connection, blob_ids: Sequence[int], reason: str, delay: int) -> int:
    """Delete those of the blobs that no node uses, and queue their files; return how many.

    Whoever makes a node of such a blob at the same moment either comes first, and it is kept, or
    finds it gone: a foreign-key error, never a node without bytes.
    """
    if not blob_ids:
        return 0
    async with transaction(db):
        return await blobs.release(db, blob_ids, reason, delay, None)


async def refusing(federation: Federation) -> frozenset[str]:
    """Return the entries (``host:port``) of the nodes that are configured to remove nothing."""
    willing = await federation.may_discard()
    return frozenset(entry.address for entry, may in willing.items() if may is False)


async def status(db: Connection) -> Status:
    """Return how the queue stands."""
    return Status(await discards.counts(db), not await discards.is_same_database(db))


async def accept(db: Connection) -> None:
    """Let discarding go on with the database as it is now, after a restore or a fail-over.

    What was stored since the dump was made, and what was let go since, only an administrator can
    judge: until this is called no file is discarded.
    """
    await discards.mark(db)


async def listing(db: Connection, limit: int) -> list[Discard]:
    """Return the queue, the next due first."""
    return await discards.listed(db, limit)


async def work(
    database: Database, federation: Federation, *, absent_apart: float = ABSENT_APART
) -> int:
    """Work off what is due; return how many files are gone. Several servers may do so at once."""
    gone = 0
    while due := await _take(database):
        for discard in due:
            try:
                gone += await _discard(database, federation, discard, absent_apart)
            except NgasError as error:
                await _postpone(database, discard, str(error))
    return gone


async def may_work(db: Connection) -> bool:
    """Tell whether the database is the one that was accepted; say so in the log if not."""
    if await discards.is_same_database(db):
        return True
    _warn(int(time.time() // 3600))
    return False


@lru_cache(maxsize=1)
def _warn(_hour: int) -> None:
    """Say once an hour why nothing is done."""
    log.warning(
        "the database was restored or failed over: no file is discarded until an administrator"
        " accepts it (ngas_admin queue)"
    )


async def _take(database: Database) -> list[Discard]:
    async with database.acquire() as db:
        if not await may_work(db):
            return []
        return await discards.take(db, BATCH)


async def _discard(
    database: Database, federation: Federation, discard: Discard, absent_apart: float
) -> bool:
    if discard.after_blob is not None and not await _reads_back(
        database, federation, discard.after_blob
    ):
        await _postpone(database, discard, "what replaced it could not be read back")
        return False
    copy = discard.copy
    there = Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)
    if await federation.discard(there, copy.file_id) is Discarded.DISCARDED:
        return await _done(database, discard)
    # One node's word is not enough that a file is nowhere.
    elsewhere = await federation.locate(copy.file_id)
    async with database.acquire() as db:
        if elsewhere:
            await discards.found_again(db, discard.id)
            await discards.postpone(db, discard.id, "its node denies it, but it is elsewhere")
            return False
        if not await discards.denied(db, discard.id, absent_apart):
            return False
    return await _done(database, discard)


async def _done(database: Database, discard: Discard) -> bool:
    async with database.acquire() as db:
        await discards.done(db, discard.id)
    log.info("discarded %s (%s)", discard.copy.file_id, discard.reason)
    return True


async def _postpone(database: Database, discard: Discard, why: str) -> None:
    log.warning("%s is not discarded yet: %s", discard.copy.file_id, why)
    async with database.acquire() as db:
        await discards.postpone(db, discard.id, why)


async def _reads_back(database: Database, federation: Federation, blob_id: int) -> bool:
    """Tell whether a blob was read back, now or before, or is not wanted any more itself."""
    async with database.acquire() as db:
        blob = await blobs.get(db, blob_id)
    if blob is None or blob.verified:
        return True
    if not blob.copies or await _stored_md5(federation, blob) != blob.md5:
        log.error("blob %d cannot be read back as it was stored", blob_id)
        return False
    async with database.acquire() as db:
        await blobs.read_back(db, blob_id)
    return True


async def _stored_md5(federation: Federation, blob: Blob) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    file_id = blob.copies[0].file_id
    copies = [
        Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)
        for copy in blob.copies
        if copy.file_id == file_id
    ]
    async with federation.retrieve(copies, file_id, 0, blob.length) as source:
        async for piece in source.chunks():
            if len(piece) < LARGE:
                md5.update(piece)
            else:
                await asyncio.to_thread(md5.update, piece)
    return md5.hexdigest()
