"""Which bytes a Range asks for, and when a condition of a request holds."""

from datetime import UTC, datetime

import pytest

from pyvospace_ngas.errors import PreconditionFailed, RangeNotSatisfiable
from pyvospace_ngas.http.ranges import Span, Validators, is_unchanged, requested, wanted_span

KNOWN = Validators('"abc"', datetime(2026, 11, 22, 10, 0, 0, 500_000, UTC))
THEN, BEFORE, AFTER = (
    f"Sun, 22 Nov 2026 {clock} GMT" for clock in ("10:00:00", "09:59:59", "11:00:00")
)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("", None),
        ("bytes=0-", (0, 1000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=500-", (500, 1000)),
        ("bytes=500-600", (500, 601)),
        ("bytes=999-", (999, 1000)),
        ("bytes=0-999999999999999999999", (0, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-1000", (0, 1000)),
        ("bytes=-4000", (0, 1000)),
        ("Bytes = 1 - 2 ", (1, 3)),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=--5", None),
        ("bytes=٣-٤", None),
        ("lines=1-2", None),
        ("bytes 0-1", None),
        ("bytes=" + "9" * 31 + "-", None),
    ],
)
def test_a_range_is_one_span_or_the_whole_file(
    header: str | None, span: tuple[int, int] | None
) -> None:
    assert requested(header, 1000) == (None if span is None else Span(*span))


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("bytes=1000-", 1000),
        ("bytes=1000-1001", 1000),
        ("bytes=999999999999999999999-", 1000),
        ("bytes=-0", 1000),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
    ],
)
def test_a_range_outside_of_the_file_tells_its_length(header: str, length: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        requested(header, length)
    assert caught.value.length == length


def test_the_last_bytes_of_an_empty_file_are_the_empty_file() -> None:
    assert requested("bytes=-5", 0) is None


def test_a_content_range_names_the_last_byte() -> None:
    assert Span(500, 601).content_range(1000) == "bytes 500-600/1000"


@pytest.mark.parametrize(
    ("condition", "applies"),
    [('"abc"', True), ('W/"abc"', False), ('"old"', False), (THEN, True), (BEFORE, False)],
)
def test_a_range_of_another_state_gives_the_whole_file(condition: str, applies: bool) -> None:
    span = wanted_span({"Range": "bytes=1-2", "If-Range": condition}, KNOWN, 10)
    assert span == (Span(1, 3) if applies else None)


@pytest.mark.parametrize(
    ("headers", "unchanged"),
    [
        ({}, False),
        ({"If-None-Match": '"abc"'}, True),
        ({"If-None-Match": 'W/"abc"'}, True),
        ({"If-None-Match": '"x", "abc"'}, True),
        ({"If-None-Match": "*"}, True),
        ({"If-None-Match": '"x"'}, False),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, False),
        ({"If-Modified-Since": THEN}, True),
        ({"If-Modified-Since": AFTER}, True),
        ({"If-Modified-Since": BEFORE}, False),
        ({"If-Modified-Since": "yesterday"}, False),
        ({"If-Match": '"abc"'}, False),
        ({"If-Match": "*", "If-None-Match": '"abc"'}, True),
        ({"If-Unmodified-Since": THEN}, False),
    ],
)
def test_who_has_this_state_already_gets_no_bytes(
    headers: dict[str, str], unchanged: bool
) -> None:
    assert is_unchanged(headers, KNOWN) is unchanged


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": '"x"'},
        {"If-Match": 'W/"abc"'},
        {"If-Unmodified-Since": BEFORE},
    ],
)
def test_who_wants_another_state_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(PreconditionFailed):
        is_unchanged(headers, KNOWN)
