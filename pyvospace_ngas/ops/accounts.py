"""Accounts: made, changed and removed by administrators; looked up by the servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from pyvospace_ngas.db import accounts
from pyvospace_ngas.db.connect import Connection, transaction
from pyvospace_ngas.errors import DuplicateNode, InvalidArgument, PermissionDenied
from pyvospace_ngas.model.access import ANONYMOUS, Identity, identity
from pyvospace_ngas.model.account import Account, check_name, check_password, is_name
from pyvospace_ngas.model.token import WHOLE, Scope
from pyvospace_ngas.ops import passwords


async def listing(db: Connection) -> list[Account]:
    """Return all accounts by name."""
    return await accounts.listing(db)


async def has_administrator(db: Connection) -> bool:
    """Tell whether there is an administrator who can log in."""
    return await accounts.count_administrators(db) > 0


async def ensure_administrator(db: Connection, name: str, password: str) -> bool:
    """Add the administrator ``name`` unless there is one of whatever name; tell whether it did."""
    if await has_administrator(db):
        return False
    check_name("user", name)
    check_password(password)
    stored = await passwords.hashed(password)
    async with transaction(db):
        await accounts.lock(db)  # of two that start at once, one adds
        if await has_administrator(db):
            return False
        if await accounts.get(db, name) is not None:
            raise InvalidArgument(
                f"there is a user {name}, who is no administrator: choose another name"
            )
        await _insert(db, name, stored, admin=True, groups=(), home=True)
    return True


async def add(
    db: Connection,
    name: str,
    password: str,
    *,
    admin: bool = False,
    groups: Iterable[str] = (),
    home: bool = True,
) -> None:
    """Add the user ``name``, and with ``home`` their private container ``/home/NAME``."""
    groups = tuple(groups)
    check_name("user", name)
    for group in groups:
        check_name("group", group)
    check_password(password)
    stored = await passwords.hashed(password)
    async with transaction(db):
        await _insert(db, name, stored, admin=admin, groups=groups, home=home)


async def _insert(
    db: Connection, name: str, stored: str, *, admin: bool, groups: Iterable[str], home: bool
) -> None:
    await accounts.insert(db, name, stored, admin=admin, groups=groups)
    if not home:
        return
    owner = await accounts.insert_home(db, name)
    if owner is None:
        raise InvalidArgument("there is no container /home to make theirs in")
    if owner != name:
        raise DuplicateNode(f"/home/{name} exists already and belongs to {owner or 'nobody'}")


async def set_password(db: Connection, name: str, password: str) -> None:
    """Give ``name`` a new password; it ends all sessions, and lets a disabled user in again."""
    check_password(password)
    stored = await passwords.hashed(password)
    async with transaction(db):
        if not await accounts.set_password(db, name, stored):
            raise _unknown(name)


async def groups_of(db: Connection, name: str) -> tuple[str, ...]:
    """Return the groups of ``name``, enabled or not."""
    return (await _known(db, name)).groups


async def set_groups(db: Connection, name: str, groups: Iterable[str]) -> None:
    """Let ``name`` be in exactly ``groups``."""
    await _change_groups(db, name, groups, (), keep=False)


async def change_groups(
    db: Connection, name: str, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> None:
    """Put ``name`` into the groups ``add`` and out of ``remove``."""
    await _change_groups(db, name, add, remove, keep=True)


async def _change_groups(
    db: Connection, name: str, add: Iterable[str], remove: Iterable[str], *, keep: bool
) -> None:
    wanted = set(add)
    for group in wanted:
        check_name("group", group)
    async with transaction(db):
        await accounts.lock(db)
        account = await _known(db, name)
        groups = (wanted | set(account.groups) if keep else wanted) - set(remove)
        await accounts.set_groups(db, name, groups)


async def remove(
    db: Connection, name: str, give_to: str | None = None, *, settle: float = 0
) -> int:
    """Remove ``name``; return how many nodes went to ``give_to``.

    Refused while ``name`` owns nodes that go to nobody; an empty ``/home/NAME`` does not count and
    is deleted. The user is kept out first: ``settle`` is how long servers may still remember a
    log-in, and nodes be made in that name.
    """
    if give_to is None:
        await _check_owns_nothing(db, name)
    async with _kept_out(db, name, give_to):
        await asyncio.sleep(settle)
        given = await accounts.give_nodes(db, name, give_to) if give_to is not None else 0
        async with transaction(db):
            await accounts.delete_empty_home(db, name)
            await _check_owns_nothing(db, name)
            await accounts.delete(db, name)
    return given


@asynccontextmanager
async def _kept_out(db: Connection, name: str, give_to: str | None) -> AsyncIterator[None]:
    """Keep ``name`` out; when the rest fails or is cancelled, they are let in again."""
    before = await _known(db, name)
    try:
        await _disable(db, name, give_to)  # who is cancelled here may have been kept out already
        yield
    except BaseException:
        await accounts.set_disabled(db, name, before.disabled)
        raise


async def _check_owns_nothing(db: Connection, name: str) -> None:
    left = await accounts.count_nodes(db, name)
    if left:
        raise InvalidArgument(
            f"{name} owns {left} nodes (the trash counts): say with --give-to who gets them"
        )


async def _disable(db: Connection, name: str, give_to: str | None) -> None:
    """Keep ``name`` out, if they and who inherits may be what is asked for."""
    async with transaction(db):
        await accounts.lock(db)
        account = await _known(db, name)
        if give_to is not None:
            heir = await _known(db, give_to)
            if heir.name == name or heir.disabled:
                raise InvalidArgument(f"the nodes of {name} cannot go to {give_to}")
        await accounts.set_disabled(db, name, True)
        if account.admin and not await has_administrator(db):
            raise InvalidArgument(f"{name} is the last administrator")


async def find(db: Connection, name: str) -> Account | None:
    """Return the account ``name``, if there is one that may log in."""
    account = await accounts.get(db, name) if is_name(name) else None
    return None if account is None or account.disabled else account


async def identity_of(
    db: Connection, name: str | None, authorities: Iterable[str], scope: Scope = WHOLE
) -> Identity:
    """Return who ``name`` is now; `PermissionDenied` when that user may not log in any more.

    ``scope`` is what the job is narrowed to that is done on their behalf.
    """
    if name is None:
        return ANONYMOUS
    account = await find(db, name)
    if account is None:
        raise PermissionDenied(f"the user {name} is not known any more")
    return replace(as_identity(account, authorities), scope=scope)


def authorities(uri: str, aliases: Iterable[str]) -> tuple[str, ...]:
    """Return the authorities that our groups' URIs may have, from the configuration's words."""
    return (uri, *(alias.partition("~")[0] for alias in aliases))


def as_identity(account: Account, authorities: Iterable[str]) -> Identity:
    """Return ``account`` as the rules of access see it."""
    return identity(account.name, account.groups, account.admin, authorities)


async def _known(db: Connection, name: str) -> Account:
    account = await accounts.get(db, name)
    if account is None:
        raise _unknown(name)
    return account


def _unknown(name: str) -> InvalidArgument:
    return InvalidArgument(f"there is no user {name}")
