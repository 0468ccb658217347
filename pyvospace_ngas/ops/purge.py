"""What was deleted goes for good: rows from the leaves up, bytes to the discard queue."""

from typing import Final

from pyvospace_ngas.db import branches, trash
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.ops import discards

BATCH: Final = 1000  # rows a transaction
_REASON: Final = "deleted"


async def purge_oldest(database: Database, trash_delay: int, discard_delay: int) -> bool:
    """Purge the tree that has been in the trash longest; ``False`` when none is due.

    From the first row on it cannot be restored.

    Several servers may purge the same tree: what one has deleted the other does not find.
    """
    async with database.acquire() as db:
        root = await trash.take_due(db, trash_delay)
    if root is None:
        return False
    await purge_tree(database, root, discard_delay)
    return True


async def purge_tree(database: Database, root: int, discard_delay: int) -> None:
    """Delete a tree that hangs out of sight, from the leaves up."""
    stack = [root]
    while stack:
        await _empty(database, stack[-1], discard_delay)
        async with database.acquire() as db:
            below = await branches.child_containers(db, stack[-1], BATCH)
        if below:
            stack.extend(below)
        else:
            await _delete(database, stack.pop(), discard_delay)


async def _empty(database: Database, container: int, discard_delay: int) -> None:
    """Delete the children of ``container`` that have none themselves."""
    count = BATCH
    while count == BATCH:
        async with database.transaction() as db:
            count, blobs = await branches.delete_leaves(db, container, BATCH)
            await discards.release(db, blobs, _REASON, discard_delay)


async def _delete(database: Database, node_id: int, discard_delay: int) -> None:
    async with database.transaction() as db:
        blobs = await branches.delete_one(db, node_id)
        await discards.release(db, blobs, _REASON, discard_delay)
