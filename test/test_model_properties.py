"""Properties: what is shown, and what becomes of a client's changes."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pyvospace_ngas.errors import InvalidArgument, PermissionDenied
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.properties import (
    LONGEST_VALUE,
    MOST_PROPERTIES,
    Settings,
    inherited,
    merged,
    shown,
    timestamp,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 999999, UTC)
NODE = Node(
    1,
    0,
    "n",
    NodeType.UNSTRUCTURED,
    "alice",
    group_read="g1, g2",
    public_read=False,
    length=12,
    md5="d41d8cd98f00b204e9800998ecf8427e",
    mtime=NOW,
    ctime=NOW,
    btime=NOW,
    props={"urn:a": "1", standard.CORE + "title": "T"},
)


def test_times_are_utc_with_milliseconds() -> None:
    assert timestamp(NOW) == "2026-01-02T03:04:05.999Z"
    east = datetime(2026, 1, 2, 3, 0, tzinfo=timezone(timedelta(hours=8)))
    assert timestamp(east) == "2026-01-01T19:00:00.000Z"


def test_every_node_shows_what_clients_rely_on() -> None:
    for type_ in NodeType:
        seen = {uri: value for uri, value, _ in shown(NODE._replace(type=type_))}
        assert seen[standard.LENGTH] == "12"
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z", seen[standard.DATE])


def test_no_property_is_shown_twice() -> None:
    seen = [uri for uri, _, _ in shown(NODE)]
    assert len(seen) == len(set(seen))


def test_what_the_service_sets_is_marked() -> None:
    fixed = {uri for uri, _, only_service in shown(NODE) if only_service}
    assert fixed <= set(standard.READ_ONLY)
    assert not fixed & set(standard.SETTABLE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"urn:a": "1", standard.CORE + "title": "T"}),
        ({"urn:a": "2"}, {"urn:a": "2", standard.CORE + "title": "T"}),
        ({"urn:a": ""}, {"urn:a": "", standard.CORE + "title": "T"}),
        ({"urn:a": None}, {standard.CORE + "title": "T"}),
        ({"urn:none": None}, {"urn:a": "1", standard.CORE + "title": "T"}),
        ({"quality": " 5 "}, {"urn:a": "1", standard.CORE + "title": "T", "quality": " 5 "}),
    ],
)
def test_changes_are_a_union(changes: dict[str, str | None], expected: dict[str, str]) -> None:
    assert merged(NODE, changes) == Settings(expected, "g1, g2", None, False)


@pytest.mark.parametrize(
    ("uri", "value", "field", "stored"),
    [
        (standard.GROUP_READ, "g3", "group_read", "g3"),
        (standard.GROUP_READ, None, "group_read", None),
        (standard.GROUP_WRITE, "g4", "group_write", "g4"),
        (standard.PUBLIC_READ, "true", "public_read", True),
        (standard.PUBLIC_READ, " TRUE ", "public_read", True),
        (standard.PUBLIC_READ, "false", "public_read", False),
        (standard.PUBLIC_READ, "", "public_read", None),
        (standard.PUBLIC_READ, None, "public_read", None),
    ],
)
def test_sharing_is_set_by_its_properties(
    uri: str, value: str | None, field: str, stored: object
) -> None:
    settings = merged(NODE, {uri: value})
    assert getattr(settings, field) == stored
    assert uri not in settings.props


@pytest.mark.parametrize("uri", standard.SETTABLE)
def test_standard_properties_are_settable(uri: str) -> None:
    merged(None, {uri: "true"})


@pytest.mark.parametrize("uri", standard.READ_ONLY)
@pytest.mark.parametrize("value", ["x", None])
def test_properties_of_the_service_are_not(uri: str, value: str | None) -> None:
    for before in (NODE, None):
        with pytest.raises(PermissionDenied):
            merged(before, {uri: value})


def test_a_whole_document_may_be_sent_back_unchanged() -> None:
    same = {uri: value for uri, value, _ in shown(NODE)}
    assert merged(NODE, same) == Settings(NODE.props, NODE.group_read, None, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"": "x"},
        {"a b": "x"},
        {"a\n": "x"},
        {"a<b": "x"},
        {"u" * 1025: "x"},
        {"urn:x": "a\x00b"},
        {"urn:x": "\ud800"},
        {"urn:x": "x" * (LONGEST_VALUE + 1)},
        {standard.PUBLIC_READ: "maybe"},
        {f"urn:{number}": "x" for number in range(MOST_PROPERTIES)},
    ],
)
def test_what_cannot_be_stored_is_refused(changes: dict[str, str | None]) -> None:
    with pytest.raises(InvalidArgument):
        merged(NODE, changes)


def test_a_child_takes_its_parents_sharing_unless_it_brings_its_own() -> None:
    parent = NODE._replace(group_read="r", group_write="w", public_read=True)
    assert inherited(parent, Settings({})) == Settings({}, "r", "w", True)
    own = Settings({"urn:a": "1"}, "", "mine", False)
    assert inherited(parent, own) == own
