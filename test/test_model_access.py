"""Who may do what: the table of decision 8, and what a path gives away."""

from dataclasses import replace

import pytest

from pyvospace_ngas.errors import (
    ContainerNotFound,
    LinkFound,
    NodeLocked,
    NodeNotFound,
    PermissionDenied,
    VOSpaceError,
)
from pyvospace_ngas.model.access import (
    ANONYMOUS,
    Identity,
    check_scope_of_line,
    group_list,
    identity,
    may_read,
    may_set,
    may_share,
    may_write,
    parent_for_writing,
    parent_to_take_from,
    reach,
)
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.standard import IS_LOCKED
from pyvospace_ngas.model.token import Scope
from pyvospace_ngas.model.uri import ROOT, NodePath

ALICE = identity("alice", [], admin=False, authorities=["icrar.org"])
READER = identity("rita", ["readers"], admin=False, authorities=["icrar.org", "cadc.nrc.ca"])
WRITER = identity("walt", ["writers"], admin=False, authorities=["icrar.org"])
BOB = identity("bob", ["others"], admin=False, authorities=["icrar.org"])
ADMIN = identity("root", [], admin=True, authorities=["icrar.org"])

PRIVATE = Node(1, 0, "n", NodeType.UNSTRUCTURED, "alice")
SHARED = PRIVATE._replace(group_read="readers", group_write="writers")
BY_URI = PRIVATE._replace(
    group_read="x ivo://cadc.nrc.ca/gms?readers",
    group_write="ivo://icrar.org/gms?writers",
)
PUBLIC = PRIVATE._replace(public_read=True)
HIDDEN = PRIVATE._replace(public_read=False)


@pytest.mark.parametrize(
    ("who", "node", "reads", "writes", "shares"),
    [
        (ALICE, PRIVATE, True, True, True),
        (BOB, PRIVATE, False, False, False),
        (ANONYMOUS, PRIVATE, False, False, False),
        (ADMIN, PRIVATE, True, True, True),
        (READER, SHARED, True, False, False),
        (WRITER, SHARED, True, True, False),
        (BOB, SHARED, False, False, False),
        (ANONYMOUS, SHARED, False, False, False),
        (READER, BY_URI, True, False, False),
        (WRITER, BY_URI, True, True, False),
        (BOB, BY_URI, False, False, False),
        (BOB, PUBLIC, True, False, False),
        (ANONYMOUS, PUBLIC, True, False, False),
        (ANONYMOUS, HIDDEN, False, False, False),
    ],
)
def test_the_rule(who: Identity, node: Node, reads: bool, writes: bool, shares: bool) -> None:
    assert may_read(who, node) is reads
    assert may_write(who, node) is writes
    assert may_share(who, node) is shares


READING, BELOW = Scope(read_only=True), Scope(path=NodePath(("open",)))


@pytest.mark.parametrize(
    ("who", "node", "reads", "writes", "shares"),
    [
        (ALICE, PRIVATE, True, False, False),
        (ADMIN, PRIVATE, True, False, False),
        (WRITER, SHARED, True, False, False),
        (READER, SHARED, True, False, False),
        (BOB, SHARED, False, False, False),
        (BOB, PUBLIC, True, False, False),
    ],
)
def test_a_token_for_reading_changes_nothing_and_reads_no_more(
    who: Identity, node: Node, reads: bool, writes: bool, shares: bool
) -> None:
    narrow = replace(who, scope=READING, token="t")
    assert may_read(narrow, node) is reads
    assert may_write(narrow, node) is writes
    assert may_share(narrow, node) is shares


@pytest.mark.parametrize("who", [ALICE, ADMIN])
@pytest.mark.parametrize(
    ("path", "good"),
    [("", False), ("open", True), ("open/x", True), ("op", False), ("openx", False)],
)
def test_a_token_for_a_part_of_the_tree_is_good_for_nothing_else(
    who: Identity, path: str, good: bool
) -> None:
    narrow = replace(who, scope=BELOW, token="t")
    parts = NodePath(tuple(part for part in path.split("/") if part))
    chain = [TOP, *(OPEN._replace(name=name) for name in parts.parts)]
    line = chain[::-1]
    for check in (
        lambda: reach(chain, parts, narrow),
        lambda: parent_for_writing(chain, parts, narrow),
        lambda: parent_to_take_from([*chain, OPEN], parts / "y", narrow),
        lambda: check_scope_of_line(narrow, line),
    ):
        if good:
            check()
        else:
            with pytest.raises(PermissionDenied):
                check()


KEPT = SHARED._replace(props={IS_LOCKED: "true"})


@pytest.mark.parametrize(
    ("who", "node", "props", "sets"),
    [
        (ALICE, KEPT, KEPT.props, True),
        (ADMIN, KEPT, KEPT.props, True),
        (WRITER, KEPT, KEPT.props, False),
        (WRITER, KEPT, {}, True),  # which unlocks it
        (WRITER, SHARED, KEPT.props, True),
        (replace(ALICE, scope=READING), KEPT, KEPT.props, False),
    ],
)
def test_a_lock_leaves_properties_to_the_owner(
    who: Identity, node: Node, props: dict[str, str], sets: bool
) -> None:
    assert may_set(who, node, props) is sets


def test_a_locked_container_takes_and_gives_nothing_not_even_its_owners() -> None:
    chain = [TOP, OPEN._replace(props=KEPT.props)]
    path = NodePath(("open",))
    with pytest.raises(NodeLocked):
        parent_for_writing(chain, path, ALICE)
    with pytest.raises(NodeLocked):
        parent_to_take_from([*chain, PRIVATE], path / "n", ALICE)
    with pytest.raises(NodeLocked):
        parent_to_take_from([OPEN, KEPT], path, ALICE)


def test_a_group_of_another_authority_is_another_group() -> None:
    node = PRIVATE._replace(group_write="ivo://evil.org/gms?writers")
    assert not may_write(WRITER, node)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        (None, set()),
        ("", set()),
        ("a", {"a"}),
        ("a,b c\n, d ,", {"a", "b", "c", "d"}),
        ("ivo://x/gms?a ivo://x/gms?b", {"ivo://x/gms?a", "ivo://x/gms?b"}),
    ],
)
def test_groups_are_parted_by_comma_and_space(text: str | None, groups: set[str]) -> None:
    assert group_list(text) == groups


def test_an_empty_group_list_shares_with_nobody() -> None:
    assert not may_read(identity("x", [""], False, []), PRIVATE._replace(group_read=" , "))


def node(name: str, type_: NodeType = NodeType.CONTAINER, **more: object) -> Node:
    return Node(1, 0, name, type_, "alice", **more)  # type: ignore[arg-type]


TOP = node("", public_read=True)
OPEN = node("open", public_read=True)
CLOSED = node("closed")
LINK = node("link", NodeType.LINK, target="vos://x~y/z", public_read=True)
DATA = node("data", NodeType.UNSTRUCTURED, public_read=True)


def path(*parts: str) -> NodePath:
    return NodePath(parts)


@pytest.mark.parametrize(
    ("chain", "wanted", "outcome"),
    [
        ([TOP], ROOT, TOP),
        ([TOP, OPEN], path("open"), OPEN),
        ([TOP, CLOSED], path("closed"), CLOSED),
        ([TOP, LINK], path("link"), LINK),
        ([TOP], path("none"), NodeNotFound),
        ([TOP, OPEN], path("open", "none"), NodeNotFound),
        ([TOP], path("none", "more"), ContainerNotFound),
        ([TOP, CLOSED], path("closed", "none"), PermissionDenied),
        ([TOP, CLOSED, OPEN], path("closed", "open"), PermissionDenied),
        ([TOP, CLOSED], path("closed", "none", "more"), PermissionDenied),
        ([TOP, LINK], path("link", "x"), LinkFound),
        ([TOP, DATA], path("data", "x"), ContainerNotFound),
    ],
)
def test_a_path_gives_away_no_more_than_may_be_read(
    chain: list[Node], wanted: NodePath, outcome: Node | type[VOSpaceError]
) -> None:
    if isinstance(outcome, Node):
        assert reach(chain, wanted, BOB, ContainerNotFound) is outcome
        return
    with pytest.raises(outcome) as refusal:
        reach(chain, wanted, BOB, ContainerNotFound)
    assert type(refusal.value) is outcome


def test_an_owner_passes_their_own_container() -> None:
    assert reach([TOP, CLOSED, OPEN], path("closed", "open"), ALICE) is OPEN


def test_a_missing_ancestor_is_named_and_not_what_lies_below() -> None:
    with pytest.raises(NodeNotFound) as refusal:
        reach([TOP], path("none", "more"), BOB)
    assert refusal.value.args == (path("none"),)


def test_a_link_on_the_way_carries_its_target() -> None:
    with pytest.raises(LinkFound) as refusal:
        reach([TOP, LINK], path("link", "x"), BOB)
    assert refusal.value.args == (path("link"),)
    assert refusal.value.target == "vos://x~y/z"


@pytest.mark.parametrize(
    ("chain", "wanted", "who", "outcome"),
    [
        ([TOP, OPEN], path("open"), ALICE, OPEN),
        ([TOP, OPEN], path("open"), BOB, PermissionDenied),
        ([TOP, OPEN], path("open"), ANONYMOUS, PermissionDenied),
        ([TOP], path("none"), ALICE, ContainerNotFound),
        ([TOP], path("none", "more"), ALICE, ContainerNotFound),
        ([TOP, LINK], path("link"), ALICE, LinkFound),
        ([TOP, DATA], path("data"), ALICE, ContainerNotFound),
        ([TOP, DATA._replace(public_read=None)], path("data"), BOB, PermissionDenied),
        ([TOP, CLOSED], path("closed"), BOB, PermissionDenied),
        ([TOP, CLOSED, OPEN], path("closed", "open"), BOB, PermissionDenied),
        ([TOP, CLOSED], path("closed"), ADMIN, CLOSED),
    ],
)
def test_only_a_container_that_may_be_written_takes_nodes(
    chain: list[Node], wanted: NodePath, who: Identity, outcome: Node | type[VOSpaceError]
) -> None:
    if isinstance(outcome, Node):
        assert parent_for_writing(chain, wanted, who) is outcome
        return
    with pytest.raises(outcome) as refusal:
        parent_for_writing(chain, wanted, who)
    assert type(refusal.value) is outcome
