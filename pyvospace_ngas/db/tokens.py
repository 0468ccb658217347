"""Every query on bearer tokens."""

from datetime import timedelta
from typing import Final

import asyncpg

from pyvospace_ngas.db import accounts
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.account import Account
from pyvospace_ngas.model.token import Scope, Token, stored_path

_ACCOUNT: Final = ", ".join(f"account.{column}" for column in accounts.COLUMNS.split(", "))
_FIELDS: Final = ("id", "account", "read_only", "path", "created", "expires", "used", "parent")
_COLUMNS: Final = ", ".join(f"token.{field}" for field in _FIELDS)
_OWN: Final = ", ".join(f"token.{field} as token_{field}" for field in _FIELDS)


async def insert(
    db: Connection,
    id_: str,
    hash_: bytes,
    account: str,
    scope: Scope,
    lifetime: timedelta,
    parent: str | None,
) -> Token | None:
    """Store a token, which ends with its ``parent`` at the latest; ``None`` if that has ended."""
    row = await db.fetchrow(
        f"""
        insert into token (id, hash, account, parent, read_only, path, expires)
             select $1, $2, $3, $4, $5, $6, least(now() + $7::interval, above.expires)
               from (select 1) as one left join token above on above.id = $4
              where $4::text is null or above.expires > now()
          returning {_COLUMNS}
        """,
        id_,
        hash_,
        account,
        parent,
        scope.read_only,
        str(scope.path),
        lifetime,
    )
    return None if row is None else _token(row)


async def get(db: Connection, hash_: bytes) -> tuple[Token, Account, float, bool] | None:
    """Return a token that is good, whose it is, for how many seconds, and if ``used`` is old."""
    row = await db.fetchrow(
        f"""
        select {_ACCOUNT}, {_OWN}, extract(epoch from token.expires - now())::float8 as seconds,
               coalesce(token.used < now() - interval '1 minute', true) as stale
          from token join account on account.name = token.account
         where token.hash = $1 and token.expires > now() and not account.disabled
        """,
        hash_,
    )
    if row is None:
        return None
    return _token(row, "token_"), accounts.account_of(row), row["seconds"], row["stale"]


async def touch(db: Connection, id_: str) -> None:
    """Note that the token is used now."""
    await db.execute("update token set used = now() where id = $1", id_)


async def count(db: Connection, account: str) -> int:
    """Return how many tokens ``account`` has."""
    found: int = await db.fetchval("select count(*) from token where account = $1", account)
    return found


async def listed(db: Connection, account: str, by: str | None) -> list[Token]:
    """Return the tokens of ``account``, the oldest first; just ``by`` and those made by it."""
    rows = await db.fetch(
        f"""
        select {_COLUMNS} from token
         where account = $1 and expires > now() and ($2::text is null or id = $2 or parent = $2)
         order by created, id
        """,
        account,
        by,
    )
    return [_token(row) for row in rows]


async def delete(db: Connection, id_: str, account: str | None, by: str | None) -> bool:
    """Delete a token with those made by it; ``False`` when ``account`` has none of that id."""
    done = await db.fetchval(
        """
        delete from token
         where id = $1 and ($2::text is null or account = $2)
           and ($3::text is null or id = $3 or parent = $3)
        returning true
        """,
        id_,
        account,
        by,
    )
    return done is not None


async def sweep(db: Connection) -> None:
    """Delete tokens that have ended."""
    await db.execute("delete from token where expires <= now()")


def _token(row: asyncpg.Record, prefix: str = "") -> Token:
    return Token(
        row[prefix + "id"],
        row[prefix + "account"],
        Scope(row[prefix + "read_only"], stored_path(row[prefix + "path"])),
        row[prefix + "created"],
        row[prefix + "expires"],
        row[prefix + "used"],
        row[prefix + "parent"],
    )
