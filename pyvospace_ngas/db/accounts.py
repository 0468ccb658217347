"""Every query on accounts, and on the nodes as far as accounts own them."""

from collections.abc import Iterable
from typing import Final

import asyncpg

from pyvospace_ngas.db.changes import NOTE
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.account import Account
from pyvospace_ngas.model.node import ROOT_ID, NodeType

COLUMNS: Final = "name, password, admin, groups, disabled, version, created"
BATCH: Final = 1000
_EMPTY_HOME: Final = """
    select own.id from node as own join node as home on home.id = own.parent_id
     where home.parent_id = $2 and home.name = 'home' and own.name = $1 and own.owner = $1
       and own.type = $3 and not exists (select from node where parent_id = own.id)
"""


async def get(db: Connection, name: str) -> Account | None:
    """Return the account ``name``."""
    row = await db.fetchrow(f"select {COLUMNS} from account where name = $1", name)
    return None if row is None else account_of(row)


async def listing(db: Connection) -> list[Account]:
    """Return all accounts by name."""
    rows = await db.fetch(f"select {COLUMNS} from account order by name")
    return [account_of(row) for row in rows]


async def insert(
    db: Connection, name: str, password: str, *, admin: bool, groups: Iterable[str]
) -> None:
    """Add an account with the hash ``password``."""
    try:
        await db.execute(
            "insert into account (name, password, admin, groups) values ($1, $2, $3, $4)",
            name,
            password,
            admin,
            sorted(set(groups)),
        )
    except asyncpg.UniqueViolationError as error:
        raise InvalidArgument(f"there is a user {name} already") from error


async def lock(db: Connection) -> None:
    """Keep everyone else from changing accounts until the commit; reading goes on."""
    await db.execute("lock table account in share row exclusive mode")


async def count_administrators(db: Connection) -> int:
    """Return how many administrators may log in."""
    found: int = await db.fetchval("select count(*) from account where admin and not disabled")
    return found


async def set_password(db: Connection, name: str, password: str) -> bool:
    """Store the hash ``password``, allow log-ins, end all sessions; false without such a user."""
    done = await db.fetchval(
        """
        update account set password = $2, disabled = false, version = version + 1
         where name = $1 returning true
        """,
        name,
        password,
    )
    await db.execute("delete from session where account = $1", name)
    return done is not None


async def set_groups(db: Connection, name: str, groups: Iterable[str]) -> None:
    """Store the groups of ``name``."""
    await db.execute(
        "update account set groups = $2, version = version + 1 where name = $1",
        name,
        sorted(set(groups)),
    )


async def set_disabled(db: Connection, name: str, disabled: bool) -> None:
    """Say whether ``name`` is kept from logging in."""
    await db.execute(
        """
        update account set disabled = $2, version = version + 1
         where name = $1 and disabled <> $2
        """,
        name,
        disabled,
    )


async def delete(db: Connection, name: str) -> None:
    """Delete the account and its sessions."""
    await db.execute("delete from account where name = $1", name)


async def insert_home(db: Connection, name: str) -> str | None:
    """Make the private container ``/home/NAME``; return its owner, ``None`` without a /home."""
    owner: str | None = await db.fetchval(
        f"""
        with home as (
            select id from node where parent_id = $2 and name = 'home' and type = $3 for share
        ), made as (
            insert into node (parent_id, name, type, owner, public_read)
                 select id, $1, $3, $1, false from home
            on conflict (parent_id, name) do nothing
              returning parent_id, name, owner
        ), noted as ({NOTE} made)
        select owner from made
         union all
        select owner from node where parent_id = (select id from home) and name = $1
        """,
        name,
        ROOT_ID,
        NodeType.CONTAINER,
    )
    return owner


async def delete_empty_home(db: Connection, name: str) -> None:
    """Delete ``/home/NAME`` if it is the user's own container and nothing is in it."""
    try:
        await db.execute(
            f"""
            with gone as (
                delete from node where id = ({_EMPTY_HOME}) returning parent_id, name
            ) {NOTE} gone
            """,
            name,
            ROOT_ID,
            NodeType.CONTAINER,
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise InvalidArgument(f"somebody just put something into /home/{name}") from error


async def count_nodes(db: Connection, owner: str) -> int:
    """Return how many nodes ``owner`` has, those in the trash too, but no empty ``/home/OWNER``.

    Reads the whole table.
    """
    found: int = await db.fetchval(
        f"""
        select count(*) from node
         where owner = $1 and id is distinct from ({_EMPTY_HOME})
        """,
        owner,
        ROOT_ID,
        NodeType.CONTAINER,
    )
    return found


async def give_nodes(db: Connection, owner: str, to: str) -> int:
    """Give all nodes of ``owner`` to ``to``, a batch a transaction; return how many.

    In the order of their ids, as that reads the table once only. Who follows changes is told of
    the root alone, which stands for all.
    """
    given, last = 0, ROOT_ID
    while True:
        ids = await db.fetch(
            """
            with batch as (
                select id from node where owner = $1 and id > $3
                 order by id limit $4 for no key update
            ), given as (
                update node set owner = $2, ctime = now(), version = node.version + 1
                  from batch where node.id = batch.id
             returning node.id
            ), noted as (
                insert into change (parent_id, name) select null, '' from given limit 1
            )
            select id from given
            """,
            owner,
            to,
            last,
            BATCH,
        )
        if not ids:
            return given
        given += len(ids)
        last = max(row["id"] for row in ids)


def account_of(row: "asyncpg.Record") -> Account:
    """Return the account that the columns `COLUMNS` of ``row`` hold."""
    return Account(
        row["name"],
        row["password"],
        row["admin"],
        tuple(row["groups"]),
        row["disabled"],
        row["version"],
        row["created"],
    )
