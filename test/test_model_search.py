"""What a search looks for: the words of VOSpace 2.0 read, and held to what is found."""

from itertools import product

import pytest

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.search import MOST_TERMS, Matches, Term, read_matches


@pytest.mark.parametrize(
    ("text", "terms", "holds"),
    [
        ("", 0, lambda: True),
        ("  ", 0, lambda: True),
        ("a='x'", 1, lambda a: a),
        ("a = 'x' and b='y'", 2, lambda a, b: a and b),
        ("a='x' OR b='y'", 2, lambda a, b: a or b),
        ("a='' or b='' and c=''", 3, lambda a, b, c: a or (b and c)),
        ("a='' and b='' or c=''", 3, lambda a, b, c: (a and b) or c),
        ("(a='' or b='') and c=''", 3, lambda a, b, c: (a or b) and c),
        ("((a='') or(b=''and(c='')))", 3, lambda a, b, c: a or (b and c)),
    ],
)
def test_and_binds_closer_than_or(text: str, terms: int, holds: object) -> None:
    matches = read_matches(text)
    assert callable(holds)
    assert len(matches.terms) == terms
    for hits in product((False, True), repeat=terms):
        assert matches.hold(hits) is holds(*hits), hits


def test_a_term_is_a_property_and_a_pattern() -> None:
    text = "ivo://ivoa.net/vospace/core#title = 'it''s (a|b) and '''"
    assert read_matches(text).terms == (
        Term("ivo://ivoa.net/vospace/core#title", "it's (a|b) and '"),
    )
    assert read_matches("order='1'\nand\n\tandroid='2'").terms == (
        Term("order", "1"),
        Term("android", "2"),
    )
    assert read_matches("") == Matches()


@pytest.mark.parametrize(
    "text",
    [
        "a", "a=", "a=x", "a='x", "='x'", "a='x' b='y'", "a='x' and", "and a='x'", "or", "(", ")",
        "(a='x'", "a='x')", "()", "a='x' and or b='y'", "not a='x'", "a[='x'", "a='x'; drop",
        "(" * 30 + "a='x'" + ")" * 30, " or ".join(["a='x'"] * (MOST_TERMS + 1)),
        "a='" + "x" * 20_000 + "'",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="matches"):
        read_matches(text)
