"""What a token is narrowed to, and the words that say so."""

from datetime import timedelta

import pytest

from pyvospace_ngas.errors import InvalidArgument, InvalidURI
from pyvospace_ngas.model.token import (
    USUAL_LIFETIME,
    WHOLE,
    Scope,
    lifetime,
    scope,
    stored_path,
)
from pyvospace_ngas.model.uri import NodePath

P = NodePath(("p",))
Q = NodePath(("p", "q"))


@pytest.mark.parametrize(
    ("wide", "narrow", "contained"),
    [
        (WHOLE, WHOLE, True),
        (WHOLE, Scope(True, Q), True),
        (Scope(True), Scope(True, P), True),
        (Scope(True), WHOLE, False),
        (Scope(True), Scope(False, P), False),
        (Scope(False, P), Scope(False, P), True),
        (Scope(False, P), Scope(True, Q), True),
        (Scope(False, Q), Scope(False, P), False),
        (Scope(False, P), Scope(False, NodePath(("pq",))), False),
    ],
)
def test_one_scope_contains_another(wide: Scope, narrow: Scope, contained: bool) -> None:
    assert wide.contains(narrow) is contained


@pytest.mark.parametrize(
    ("word", "path", "found"),
    [
        (None, None, WHOLE),
        ("write", "/", WHOLE),
        ("read", "/p/q/", Scope(True, Q)),
        (None, "/a b%20+é", Scope(False, NodePath(("a b%20+é",)))),
    ],
)
def test_a_scope_is_said_in_words(word: str | None, path: str | None, found: Scope) -> None:
    assert scope(word, path) == found
    assert stored_path(str(found.path)) == found.path


@pytest.mark.parametrize(
    ("word", "path"), [("all", None), ("", None), ("read", "p"), (None, "..")]
)
def test_other_words_are_refused(word: str | None, path: str | None) -> None:
    with pytest.raises(InvalidArgument):
        scope(word, path)


def test_a_path_that_no_node_can_have_is_refused() -> None:
    with pytest.raises(InvalidURI):
        scope("read", "/a/../b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, USUAL_LIFETIME),
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        (" 90s", timedelta(seconds=90)),
        ("2w", timedelta(days=14)),
        ("1y", timedelta(days=366)),
    ],
)
def test_a_lifetime_is_a_number_and_a_unit(text: str | None, found: timedelta) -> None:
    assert lifetime(text) == found


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "3661d", "999999999y", "1.5h", "1d1h"]
)
def test_no_other_lifetime_is_one(text: str) -> None:
    with pytest.raises(InvalidArgument):
        lifetime(text)
