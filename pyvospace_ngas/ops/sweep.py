"""Uploads that came to nothing: their attempts are ended, and what NGAS kept of them is let go."""

import logging
from typing import Final

from pyvospace_ngas.db import attempts, blobs, discards
from pyvospace_ngas.db.attempts import Leftover
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.model.content import Copy
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ops.discards import may_work

log = logging.getLogger(__name__)

GRACE: Final = 3600.0  # seconds after the end of an attempt in which a node may still store it
PAUSE: Final = 900.0  # seconds until a file is asked for again whose nodes did not all answer
BATCH: Final = 20
KEPT: Final = 30 * 86_400.0  # seconds for which attempts are remembered after their jobs


async def work(
    database: Database, federation: Federation, delay: float, *, grace: float = GRACE
) -> int:
    """Sweep after attempts that ended long enough ago; return how many files were queued.

    A file is let go only if its id begins as all of ours do and an attempt of that id ended
    uncommitted here. The archive has holdings of others: what is not known is not ours to judge.
    """
    queued = 0
    async with database.acquire() as db:
        await attempts.expire(db)
        await attempts.forget(db, KEPT, 1000)
        if not await may_work(db):
            return 0
        prefix = await attempts.prefix(db)
        leftovers = await attempts.take_leftovers(db, grace, PAUSE, BATCH)
    for leftover in leftovers:
        if leftover.file_id.startswith(prefix):
            queued += await _sweep(database, federation, leftover, delay)
        else:
            log.warning("%s is not of this space: it is left alone", leftover.file_id)
    return queued


async def _sweep(
    database: Database, federation: Federation, leftover: Leftover, delay: float
) -> int:
    try:
        found = await federation.locate(leftover.file_id)
    except NgasError as error:
        log.info("%s is looked for again later: %s", leftover.file_id, error)
        return 0
    queued = 0
    async with database.transaction() as db:
        if await blobs.is_known(db, leftover.file_id):
            log.error("%s belongs to a file, but its attempt was not committed", leftover.file_id)
            return 0
        for one in found:
            copy = Copy(one.file_id, one.entry.address, one.host_id, one.disk_id, one.version)
            queued += await discards.queue(db, copy, "orphan", delay)
        await attempts.swept(db, leftover.id)
    return queued
