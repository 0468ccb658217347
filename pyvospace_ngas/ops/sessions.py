"""Sessions: what a browser's cookie stands for. The cookie is random, only its hash is stored."""

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from pyvospace_ngas.db import sessions
from pyvospace_ngas.db.connect import Connection, transaction
from pyvospace_ngas.model.account import Account
from pyvospace_ngas.ops.logins import FORGET

IDLE: Final = timedelta(hours=12)
LIFETIME: Final = timedelta(days=7)
MOST: Final = 100  # a user's sessions at once; the oldest end first


async def begin(db: Connection, account: str, old: str | None = None) -> str:
    """Begin a session of ``account`` in place of ``old``; return the cookie's value."""
    cookie = secrets.token_urlsafe(32)
    async with transaction(db):
        if old is not None:
            await sessions.delete(db, _id(old))
        await sessions.insert(db, _id(cookie), account, LIFETIME)
        await sessions.trim(db, account, MOST)
    return cookie


async def find(db: Connection, cookie: str) -> Account | None:
    """Return whose session ``cookie`` is, unless it ended; this keeps it from falling idle."""
    found = await sessions.get(db, _id(cookie), IDLE)
    if found is None:
        return None
    account, stale = found
    if stale:
        await sessions.touch(db, _id(cookie))
    return account


async def end(db: Connection, cookie: str) -> None:
    """End the session of ``cookie`` for every server."""
    await sessions.delete(db, _id(cookie))


async def sweep(db: Connection) -> None:
    """Delete what no longer matters of sessions and failed log-ins; now and then is enough."""
    await sessions.sweep(db, IDLE, FORGET)


def _id(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
