"""Accounts: added, changed, removed, and what becomes of their nodes."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pyvospace_ngas.db import accounts as queries
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import DuplicateNode, InvalidArgument, PermissionDenied
from pyvospace_ngas.model.access import ANONYMOUS
from pyvospace_ngas.model.account import is_name
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.ops import accounts, passwords

PASSWORD = "correct horse"


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, 3) as database:
        yield database


@pytest.fixture
async def db(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as db:
        yield db


async def home_of(db: Connection, name: str) -> int | None:
    found: int | None = await db.fetchval(
        """
        select node.id from node join node as home on home.id = node.parent_id
         where home.parent_id = 0 and home.name = 'home' and node.name = $1
        """,
        name,
    )
    return found


async def put_files(db: Connection, owner: str, number: int) -> None:
    """Put ``number`` files of ``owner`` into their home."""
    await db.execute(
        """
        insert into node (parent_id, name, type, owner)
             select $1, 'f' || n, $2, $3 from generate_series(1, $4) as n
        """,
        await home_of(db, owner),
        NodeType.DATA,
        owner,
        number,
    )


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("ann", True),
        ("Ann.B_c-d@icrar.org", True),
        ("0", True),
        ("_x", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        (".auto", False),
        ("-v", False),
        ("a b", False),
        ("a/b", False),
        ("a,b", False),
        ("a\n", False),
        ("änn", False),
        ("a\0", False),
    ],
)
def test_names_that_users_and_groups_can_have(text: str, good: bool) -> None:
    assert is_name(text) == good


async def test_a_new_user_has_a_private_home(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD, groups=("b", "a", "b"))
    row = await db.fetchrow(
        "select type, owner, public_read from node where id = $1", await home_of(db, "ann")
    )
    assert row is not None
    assert tuple(row) == (NodeType.CONTAINER, "ann", False)
    (ann,) = await accounts.listing(db)
    assert (ann.name, ann.groups, ann.admin, ann.disabled) == ("ann", ("a", "b"), False, False)
    assert await passwords.verify(ann.password, PASSWORD)
    assert ann.password not in repr(ann)


async def test_a_user_without_a_home(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD, home=False)
    assert await home_of(db, "ann") is None


@pytest.mark.parametrize(
    ("name", "password", "group"),
    [("-ann", PASSWORD, "g"), ("ann", "short", "g"), ("ann", PASSWORD, "two words")],
)
async def test_what_cannot_be_a_user_is_refused(
    db: Connection, name: str, password: str, group: str
) -> None:
    with pytest.raises(InvalidArgument):
        await accounts.add(db, name, password, groups=(group,))
    assert await accounts.listing(db) == []


async def test_a_name_is_taken_once(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    with pytest.raises(InvalidArgument, match="there is a user ann already"):
        await accounts.add(db, "ann", PASSWORD)


async def test_a_home_that_belongs_to_another_is_not_taken_over(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    await db.execute("update node set owner = 'bob' where id = $1", await home_of(db, "ann"))
    await db.execute("delete from account")
    with pytest.raises(DuplicateNode, match="/home/ann exists already and belongs to bob"):
        await accounts.add(db, "ann", PASSWORD)
    assert await accounts.listing(db) == []
    await db.execute("update node set owner = 'ann' where owner = 'bob'")
    await accounts.add(db, "ann", PASSWORD)


async def test_without_a_container_home_nobody_gets_one(db: Connection) -> None:
    await db.execute("delete from node where parent_id = 0")
    with pytest.raises(InvalidArgument, match="no container /home"):
        await accounts.add(db, "ann", PASSWORD)


async def test_of_two_first_administrators_one_is_made(database: Database) -> None:
    async def ensure(name: str) -> bool:
        async with database.acquire() as db:
            return await accounts.ensure_administrator(db, name, PASSWORD)

    assert sorted(await asyncio.gather(ensure("admin"), ensure("root"))) == [False, True]
    async with database.acquire() as db:
        (admin,) = await accounts.listing(db)
        assert admin.admin
        assert await accounts.has_administrator(db)
        assert not await accounts.ensure_administrator(db, "third", PASSWORD)


async def test_an_ordinary_user_does_not_become_the_first_administrator(db: Connection) -> None:
    await accounts.add(db, "admin", PASSWORD)
    with pytest.raises(InvalidArgument, match="no administrator"):
        await accounts.ensure_administrator(db, "admin", PASSWORD)


async def test_groups_are_set_added_and_removed(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD, groups=("a",))
    await accounts.change_groups(db, "ann", add=("b", "c"), remove=("a", "never"))
    assert await accounts.groups_of(db, "ann") == ("b", "c")
    await accounts.set_groups(db, "ann", ("z",))
    assert await accounts.groups_of(db, "ann") == ("z",)
    with pytest.raises(InvalidArgument):
        await accounts.set_groups(db, "ann", ("a,b",))
    with pytest.raises(InvalidArgument, match="no user bob"):
        await accounts.set_groups(db, "bob", ())


async def test_every_change_has_a_version(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    versions = [(await accounts.listing(db))[0].version]
    await accounts.set_groups(db, "ann", ("a",))
    versions.append((await accounts.listing(db))[0].version)
    await accounts.set_password(db, "ann", "another horse")
    versions.append((await accounts.listing(db))[0].version)
    assert versions == sorted(set(versions))


async def test_a_user_with_an_empty_home_is_removed_with_it(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    assert await accounts.remove(db, "ann") == 0
    assert await accounts.listing(db) == []
    assert await home_of(db, "ann") is None


async def test_a_user_who_owns_nodes_stays_and_can_still_log_in(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    await put_files(db, "ann", 3)
    with pytest.raises(InvalidArgument, match="ann owns 4 nodes"):
        await accounts.remove(db, "ann")
    assert await accounts.find(db, "ann") is not None


async def test_nodes_go_to_the_heir_in_batches(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "BATCH", 7)
    await accounts.add(db, "ann", PASSWORD)
    await accounts.add(db, "bob", PASSWORD)
    await put_files(db, "ann", 20)
    assert await accounts.remove(db, "ann", "bob") == 21
    assert [account.name for account in await accounts.listing(db)] == ["bob"]
    assert await db.fetchval("select count(*) from node where owner = 'bob'") == 22
    assert await db.fetchval("select count(*) from node where owner = 'ann'") == 0


@pytest.mark.parametrize("heir", ["ann", "nobody"])
async def test_an_heir_must_be_another_user(db: Connection, heir: str) -> None:
    await accounts.add(db, "ann", PASSWORD)
    with pytest.raises(InvalidArgument):
        await accounts.remove(db, "ann", heir)
    assert await accounts.find(db, "ann") is not None


async def test_the_last_administrator_stays(db: Connection) -> None:
    await accounts.add(db, "admin", PASSWORD, admin=True)
    with pytest.raises(InvalidArgument, match="last administrator"):
        await accounts.remove(db, "admin")
    await accounts.add(db, "root", PASSWORD, admin=True)
    await accounts.remove(db, "admin")


async def test_a_removal_that_is_cancelled_lets_the_user_in_again(database: Database) -> None:
    async with database.acquire() as db:
        await accounts.add(db, "ann", PASSWORD)

    async def remove() -> None:
        async with database.acquire() as db:
            await accounts.remove(db, "ann", settle=3600)

    async def is_out() -> bool:
        async with database.acquire() as db:
            return await accounts.find(db, "ann") is None

    removal = asyncio.create_task(remove())
    async with asyncio.timeout(20):
        while not await is_out():
            pass
    removal.cancel()
    await asyncio.wait([removal])
    assert not await is_out()


async def test_a_removal_that_is_cancelled_as_it_commits_lets_the_user_in_again(dsn: str) -> None:
    """PostgreSQL has kept them out, and its word of that is still on its way."""
    committed = asyncio.Event()

    class Late(asyncpg.Connection):
        async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
            told: str = await super().execute(query, *args, timeout=timeout)
            if query == "commit":
                committed.set()
                await asyncio.sleep(3600)
            return told

    async with Database(dsn, 1) as database, database.acquire() as db:
        await accounts.add(db, "ann", PASSWORD)
        late = await asyncpg.connect(dsn, connection_class=Late)
        removal = asyncio.create_task(accounts.remove(late, "ann"))
        async with asyncio.timeout(20):
            await committed.wait()
        assert await accounts.find(db, "ann") is None
        removal.cancel()
        await asyncio.wait([removal])
        assert await accounts.find(db, "ann") is not None
        await late.close()


async def test_a_removal_that_is_cancelled_at_any_moment_is_whole_or_none(
    database: Database,
) -> None:
    async def is_there_after(moment: float) -> bool:
        """Add a user, cancel their removal after ``moment`` s; tell whether they are there."""
        async with database.acquire() as db:
            await accounts.add(db, "ann", PASSWORD)
            removal = asyncio.create_task(accounts.remove(db, "ann"))
            await asyncio.wait([removal], timeout=moment)
            removal.cancel()
            await asyncio.wait([removal])
            left = await accounts.listing(db)
            assert not any(account.disabled for account in left)
            if left:
                await accounts.remove(db, "ann")
        return bool(left)

    assert await is_there_after(0)
    for step in range(1, 60):
        await is_there_after(step * 0.0002)
    assert not await is_there_after(10)


async def test_who_a_user_is_now(db: Connection) -> None:
    authorities = accounts.authorities("icrar.org", ("example.org~other",))
    await accounts.add(db, "ann", PASSWORD, groups=("staff",))
    ann = await accounts.identity_of(db, "ann", authorities)
    assert (ann.user, ann.admin) == ("ann", False)
    assert ann.groups == {"staff", "ivo://icrar.org/gms?staff", "ivo://example.org/gms?staff"}
    assert await accounts.identity_of(db, None, authorities) is ANONYMOUS
    await queries.set_disabled(db, "ann", True)
    for name in ("ann", "bob", "a\0"):
        with pytest.raises(PermissionDenied):
            await accounts.identity_of(db, name, authorities)


async def test_a_new_password_lets_a_disabled_user_in_again(db: Connection) -> None:
    await accounts.add(db, "ann", PASSWORD)
    await queries.set_disabled(db, "ann", True)
    await accounts.set_password(db, "ann", "another horse")
    assert await accounts.find(db, "ann") is not None
    with pytest.raises(InvalidArgument):
        await accounts.set_password(db, "bob", "another horse")
