"""Bearer tokens: made, looked up, listed and revoked. Only a hash of each is stored."""

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from pyvospace_ngas.db import accounts, tokens
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import (
    InvalidArgument,
    NodeNotFound,
    NotAuthenticated,
    PermissionDenied,
)
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.account import Account
from pyvospace_ngas.model.token import PREFIX, Scope, Token

MOST: Final = 1000  # of one user


async def create(
    db: Connection, who: Identity, scope: Scope, lifetime: timedelta
) -> tuple[Token, str]:
    """Make a token of the caller's own; return it, and the secret, which nobody sees again.

    A token makes narrower tokens, which end when it does.
    """
    if who.user is None:
        raise NotAuthenticated("log in to make a token")
    if not who.scope.contains(scope):
        raise PermissionDenied(f"a token for {who.scope} cannot make one for {scope}")
    return await _create(db, who.user, scope, lifetime, who.token)


async def create_for(
    db: Connection, name: str, scope: Scope, lifetime: timedelta
) -> tuple[Token, str]:
    """Make a token for the user ``name``, as an administrator at the machine does."""
    if await accounts.get(db, name) is None:
        raise InvalidArgument(f"there is no user {name}")
    return await _create(db, name, scope, lifetime, None)


async def _create(
    db: Connection, name: str, scope: Scope, lifetime: timedelta, parent: str | None
) -> tuple[Token, str]:
    if await tokens.count(db, name) >= MOST:
        raise InvalidArgument(f"{name} has {MOST} tokens: revoke some first")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = await tokens.insert(
        db, secrets.token_hex(6), _hash(secret), name, scope, lifetime, parent
    )
    if token is None:
        raise NotAuthenticated("the token that asks for another one has ended")
    return token, secret


async def find(db: Connection, secret: str) -> tuple[Token, Account, float] | None:
    """Return the token, whose it is, and for how many seconds it is good; ``None`` if it is not.

    Its use is noted, once a minute.
    """
    found = await tokens.get(db, _hash(secret))
    if found is None:
        return None
    token, account, seconds, stale = found
    if stale:
        await tokens.touch(db, token.id)
    return token, account, seconds


async def listed(db: Connection, who: Identity) -> list[Token]:
    """Return the caller's own tokens; to a token itself, and those that it made."""
    if who.user is None:
        raise NotAuthenticated("log in to see your tokens")
    return await tokens.listed(db, who.user, who.token)


async def listed_of(db: Connection, name: str) -> list[Token]:
    """Return the tokens of the user ``name``."""
    if await accounts.get(db, name) is None:
        raise InvalidArgument(f"there is no user {name}")
    return await tokens.listed(db, name, None)


async def revoke(db: Connection, who: Identity, token_id: str) -> None:
    """End a token of the caller's own, and those that it made."""
    if who.user is None:
        raise NotAuthenticated("log in to revoke a token")
    if not await tokens.delete(db, token_id, who.user, who.token):
        raise NodeNotFound(f"you have no token {token_id[:40]}")


async def revoke_any(db: Connection, token_id: str) -> None:
    """End anybody's token, and those that it made."""
    if not await tokens.delete(db, token_id, None, None):
        raise InvalidArgument(f"there is no token {token_id[:40]}")


async def sweep(db: Connection) -> None:
    """Delete what has ended; now and then is enough."""
    await tokens.sweep(db)


def _hash(secret: str) -> bytes:
    # The secret has 256 random bits: there is nothing to guess, and no need for a slow hash.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
