"""Every query on sessions and on failed log-ins."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from pyvospace_ngas.db import accounts
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.account import Account

_ACCOUNT: Final = ", ".join(f"account.{column}" for column in accounts.COLUMNS.split(", "))


async def insert(db: Connection, id_: bytes, account: str, lifetime: timedelta) -> None:
    """Begin a session that ends after ``lifetime`` at the latest."""
    await db.execute(
        "insert into session (id, account, expires) values ($1, $2, now() + $3)",
        id_,
        account,
        lifetime,
    )


async def trim(db: Connection, account: str, most: int) -> None:
    """Delete the sessions of ``account`` beyond the newest ``most``."""
    await db.execute(
        """
        delete from session where id in (
            select id from session where account = $1 order by created desc, id offset $2
        )
        """,
        account,
        most,
    )


async def get(db: Connection, id_: bytes, idle: timedelta) -> tuple[Account, bool] | None:
    """Return whose live session it is, and whether its last use was noted over a minute ago."""
    row = await db.fetchrow(
        f"""
        select {_ACCOUNT}, session.used < now() - interval '1 minute' as stale
          from session join account on account.name = session.account
         where session.id = $1 and session.expires > now() and session.used > now() - $2::interval
           and not account.disabled
        """,
        id_,
        idle,
    )
    return None if row is None else (accounts.account_of(row), row["stale"])


async def touch(db: Connection, id_: bytes) -> None:
    """Note that the session is used now."""
    await db.execute("update session set used = now() where id = $1", id_)


async def delete(db: Connection, id_: bytes) -> None:
    """End the session."""
    await db.execute("delete from session where id = $1", id_)


async def sweep(db: Connection, idle: timedelta, forget: timedelta) -> None:
    """Delete sessions that have ended, and failures that no longer count."""
    await db.execute(
        "delete from session where expires <= now() or used <= now() - $1::interval", idle
    )
    await db.execute("delete from login_failure where until <= now() - $1::interval", forget)


async def seconds_to_wait(db: Connection, subjects: Sequence[str]) -> float:
    """Return for how long none of ``subjects`` may try to log in."""
    seconds: float = await db.fetchval(
        """
        select coalesce(extract(epoch from max(until) - now()), 0)::float8
          from login_failure where subject = any($1) and until > now()
        """,
        subjects,
    )
    return seconds


async def insert_failure(
    db: Connection, subjects: Sequence[tuple[str, int]], longest: float, forget: timedelta
) -> None:
    """Count a failed log-in against each subject; beyond its free ones the pause doubles."""
    # In one order, so that two servers that count the same subjects never wait for each other.
    await db.executemany(
        """
        insert into login_failure as before (subject, count, until)
             values ($1, 1, now())
        on conflict (subject) do update set
            count = case when before.until < now() - $4::interval then 1
                         else before.count + 1 end,
            until = now() + make_interval(secs =>
                case when before.until < now() - $4::interval or before.count + 1 < $2 then 0
                     else least($3, power(2, least(before.count + 1 - $2, 30))) end)
        """,
        [(subject, free, longest, forget) for subject, free in sorted(subjects)],
    )


async def forgive(db: Connection, subject: str) -> None:
    """Forget the failures of ``subject``."""
    await db.execute("delete from login_failure where subject = $1", subject)
