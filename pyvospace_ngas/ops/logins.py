"""Log-ins by name and password, slowed down for who guesses; failures count for all servers."""

import logging
import math
from datetime import timedelta
from typing import Final

from pyvospace_ngas.db import sessions
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import NotAuthenticated, TooManyRequests
from pyvospace_ngas.model.account import Account, is_name
from pyvospace_ngas.ops import accounts, passwords

log = logging.getLogger(__name__)

WRONG: Final = "the user or the password is wrong"
# From the so-manieth failure on, a pause: 1 s, 2 s, ... to a minute. Many people may share an
# address, so it has more failures free.
FREE_OF_USER: Final = 5
FREE_OF_ADDRESS: Final = 20
LONGEST: Final = 60.0  # seconds: nobody can lock a user out for longer than that at a time
FORGET: Final = timedelta(minutes=15)


async def log_in(database: Database, name: str, password: str, address: str) -> Account:
    """Return the account of ``name``, or raise `NotAuthenticated` or `TooManyRequests`.

    An unknown user and a wrong password give the same answer after the same time. No connection
    is held while the password is checked.
    """
    subjects = _subjects(name, address)
    async with database.acquire() as db:
        await _refuse_in_a_pause(db, [subject for subject, _ in subjects])
        account = await accounts.find(db, name)
    good = await passwords.verify(account.password if account else None, password)
    async with database.acquire() as db:
        if account is not None and good:
            await sessions.forgive(db, _user(name))
            return account
        await sessions.insert_failure(db, subjects, LONGEST, FORGET)
    # The name of nobody may be a password, typed into the wrong field.
    log.warning("failed log-in as %s from %s", account.name if account else "nobody", address)
    raise NotAuthenticated(WRONG)


async def _refuse_in_a_pause(db: Connection, subjects: list[str]) -> None:
    seconds = await sessions.seconds_to_wait(db, subjects)
    if seconds > 0:
        raise TooManyRequests("too many failed log-ins; wait a while", math.ceil(seconds))


def _subjects(name: str, address: str) -> list[tuple[str, int]]:
    """Return whom a failure counts against, and how many failures each has free."""
    counted = [(f"address {address}", FREE_OF_ADDRESS)]
    if is_name(name):
        counted.append((_user(name), FREE_OF_USER))
    return counted


def _user(name: str) -> str:
    return f"user {name}"
