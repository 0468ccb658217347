"""Storage servers that clients can be sent to."""

from pyvospace_ngas.db import servers
from pyvospace_ngas.db.connect import Connection


async def beat(db: Connection, public_url: str, name: str) -> None:
    """Say that the storage server at ``public_url`` lives."""
    await servers.beat(db, public_url, name)


async def leave(db: Connection, public_url: str) -> None:
    """Say that the storage server at ``public_url`` stops."""
    await servers.leave(db, public_url)
