"""What a connection has read of containers is good for as long as they are what they were."""

from collections.abc import AsyncIterator

import pytest

from pyvospace_ngas.db import nodes, paths
from pyvospace_ngas.db.connect import Connection, connect
from pyvospace_ngas.errors import DuplicateNode, PermissionDenied
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.node import NodeTemplate, NodeType
from pyvospace_ngas.model.properties import Settings
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ops import nodes as operations
from pyvospace_ngas.ops import relocation

ALICE = Identity("alice")
ROOT = Identity("root", admin=True)
TITLE = "ivo://ivoa.net/vospace/core#title"


def path(text: str) -> NodePath:
    return NodePath(tuple(name for name in text.split("/") if name))


@pytest.fixture
async def one(dsn: str) -> AsyncIterator[Connection]:
    db = await connect(dsn)
    yield db
    await db.close()


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[Connection]:
    db = await connect(dsn)
    yield db
    await db.close()


@pytest.fixture
async def known(one: Connection) -> Connection:
    """A connection that has read the way to ``/a/b/c``, and that to ``/a/b`` as containers."""
    for name in ("/a", "/a/b"):
        await make(one, name, NodeType.CONTAINER)
    await make(one, "/a/b/c")
    assert await names(one, "/a/b/c") == ["", "a", "b", "c"]
    assert await names(one, "/a/b/c") == ["", "a", "b", "c"]
    assert paths.remembered(one, path("/a/b"))
    return one


async def test_a_container_is_known_once_something_was_made_in_it(one: Connection) -> None:
    await make(one, "/a", NodeType.CONTAINER)
    assert not paths.remembered(one, path("/a"))
    await make(one, "/a/b")
    way = paths.remembered(one, path("/a"))
    assert [node.name for node in way] == ["", "a"]
    below = path("/a/c")
    settings = Settings({}, None, None, None)
    made = await nodes.insert_below(one, way, below, NodeType.CONTAINER, "alice", settings)
    assert made is not None
    assert await names(one, "/a/c") == ["", "a", "c"]


async def make(
    db: Connection, where: str, kind: NodeType = NodeType.UNSTRUCTURED, who: Identity = ALICE
) -> int:
    template = NodeTemplate(
        path(where), kind, {}, "vos://a!b/c" if kind is NodeType.LINK else None
    )
    owner = ROOT if where == "/a" else who
    made = (await operations.create_node(db, owner, template))[1]
    if where == "/a":
        await db.execute("update node set owner = 'alice', version = version + 1 where name = 'a'")
    return made.id


async def titled(db: Connection, where: str, title: str | None) -> None:
    await operations.set_node(db, ALICE, NodeTemplate(path(where), None, {TITLE: title}))


async def names(db: Connection, where: str) -> list[str]:
    return [node.name for node in await paths.resolve(db, path(where))]


async def title(db: Connection, where: str, depth: int) -> str | None:
    return (await paths.resolve(db, path(where)))[depth].props.get(TITLE)


async def test_another_one_changes_what_is_on_the_way(
    known: Connection, other: Connection
) -> None:
    await titled(other, "/a", "changed")
    assert await title(known, "/a/b/c", 1) == "changed"
    await titled(other, "/a/b/c", "below")
    assert await title(known, "/a/b/c", 3) == "below"


async def test_what_was_rolled_back_is_not_remembered(
    known: Connection, other: Connection
) -> None:
    undone = known.transaction()
    await undone.start()
    await titled(known, "/a", "undone")
    assert await title(known, "/a/b/c", 1) == "undone"
    await undone.rollback()
    await titled(other, "/a", "done")  # the same version, and other words
    assert await title(known, "/a/b/c", 1) == "done"


async def test_another_container_comes_in_its_place(known: Connection, other: Connection) -> None:
    way = paths.remembered(known, path("/a/b"))
    await relocation.move(other, ALICE, path("/a/b"), relocation.Aim(path("/a/old")), 100)
    assert await names(known, "/a/b/c") == ["", "a"]
    again = await make(other, "/a/b", NodeType.CONTAINER)
    assert [node.id for node in await paths.resolve(known, path("/a/b/c"))][2:] == [again]
    assert await names(known, "/a/old/c") == ["", "a", "old", "c"]
    assert again != way[2].id


@pytest.mark.parametrize("change", ["moved", "changed", "deleted", "a link now"])
async def test_nothing_is_made_by_what_was(
    known: Connection, other: Connection, change: str
) -> None:
    way = paths.remembered(known, path("/a/b"))
    if change == "changed":
        await titled(other, "/a", "another version")
    elif change == "moved":
        await relocation.move(other, ALICE, path("/a/b"), relocation.Aim(path("/a/old")), 100)
    else:
        await operations.delete_node(other, ALICE, path("/a/b"), 100)
    if change == "a link now":
        await make(other, "/a/b", NodeType.LINK)
    settings = Settings({}, None, None, None)
    made = await nodes.insert_below(
        known, way, path("/a/b/new"), NodeType.CONTAINER, "alice", settings
    )
    assert made is None


async def test_a_create_goes_by_the_rights_that_are(known: Connection, other: Connection) -> None:
    bob = Identity("bob")
    with pytest.raises(PermissionDenied):
        await make(known, "/a/b/d", who=bob)
    for where in ("/a", "/a/b"):
        sharing = {
            "ivo://ivoa.net/vospace/core#publicread": "true",
            "ivo://ivoa.net/vospace/core#groupwrite": "ivo://x/gms?friends",
        }
        await operations.set_node(other, ALICE, NodeTemplate(path(where), None, sharing))
    friend = Identity("bob", frozenset({"ivo://x/gms?friends"}))
    await make(known, "/a/b/d", who=friend)  # although nobody else might, the last time
    await make(known, "/a/b/e", who=friend)
    with pytest.raises(DuplicateNode):
        await make(known, "/a/b/e", who=friend)
    await operations.set_node(
        other,
        ALICE,
        NodeTemplate(path("/a/b"), None, {"ivo://ivoa.net/vospace/core#groupwrite": None}),
    )
    with pytest.raises(PermissionDenied):
        await make(known, "/a/b/f", who=friend)


async def test_large_properties_are_not_kept(known: Connection) -> None:
    await titled(known, "/a", "x" * 20_000)
    kept = paths.remembered(known, path("/a/b"))
    assert await title(known, "/a/b/c", 1) == "x" * 20_000
    assert paths.remembered(known, path("/a/b")) == kept


async def test_containers_are_forgotten_in_their_turn(known: Connection) -> None:
    for number in range(200):
        await make(known, f"/a/{number}", NodeType.CONTAINER)
        await make(known, f"/a/{number}/n")
        assert await names(known, f"/a/{number}/n") == ["", "a", str(number), "n"]
    assert not paths.remembered(known, path("/a/b"))
    assert paths.remembered(known, path("/a/199"))


async def test_a_name_that_is_missing_is_found_missing_where_its_container_is(
    known: Connection, other: Connection
) -> None:
    for _ in range(2):
        assert await names(known, "/a/b/none") == ["", "a", "b"]
    assert await names(other, "/a/b/none") == ["", "a", "b"]
    assert paths.remembered(other, path("/a/b"))  # by a name that is not in it
    await make(known, "/a/b/none")
    assert await names(other, "/a/b/none") == ["", "a", "b", "none"]
    await relocation.move(other, ALICE, path("/a/b"), relocation.Aim(path("/a/old")), 100)
    assert await names(known, "/a/b/none") == ["", "a"]
    assert await names(known, "/a/old/no") == ["", "a", "old"]


async def test_two_paths_are_what_each_of_them_is(known: Connection, other: Connection) -> None:
    far = "/a/b" + "/x" * 8
    asked = ["/", "/a", "/a/b/c", "/a/b/none", "/a/none/x", "/a/b/c/below", "/none", far]
    for one in asked:
        for two in asked:
            expected = [await names(known, each) for each in (one, two)]
            for db in (known, other):
                async with db.transaction():
                    found = await paths.resolve_both(db, path(one), path(two))
                assert [[node.name for node in chain] for chain in found] == expected
    await titled(known, "/a", "changed")
    (_, a, *_), (_, also, *_) = await paths.resolve_both(other, path("/a/b/c"), path("/a/b/d"))
    assert [node.props.get(TITLE) for node in (a, also)] == ["changed", "changed"]
