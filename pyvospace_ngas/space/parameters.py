"""Parameters of requests: out of the query, and out of a form in the body; pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.job import JobFilter, Phase

Parameters = Mapping[str, Sequence[str]]


def parameters(query: Iterable[tuple[str, str]], form: bytes = b"") -> Parameters:
    """Return the values of each name, in upper case (UWS-41), the query's first."""
    try:
        pairs = parse_qsl(
            form.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=200
        )
    except ValueError:
        raise InvalidArgument("the body is no form") from None
    found: dict[str, list[str]] = {}
    for name, value in (*query, *pairs):
        if "\0" in value:  # which PostgreSQL's text does not know
            raise InvalidArgument(f"{name[:40]!r} holds a NUL")
        found.setdefault(name.upper(), []).append(value)
    return found


def one(given: Parameters, name: str) -> str | None:
    """Return the only value of ``name``, ``None`` without one; more are refused."""
    values = given.get(name, ())
    if len(values) > 1:
        raise InvalidArgument(f"{name} is given {len(values)} times")
    return values[0] if values else None


def prefers(headers: Mapping[str, str], wanted: str) -> bool:
    """Tell whether ``Prefer`` (RFC 7240) asks for ``wanted``."""
    return wanted in headers.get("Prefer", "").replace(" ", "").split(",")


def required(given: Parameters, name: str) -> str:
    """Return the only value of ``name``."""
    value = one(given, name)
    if not value:
        raise InvalidArgument(f"{name} is missing")
    return value


def whole_number(name: str, text: str, low: int = 0, high: int = 2**31 - 1) -> int:
    """Return ``text`` as a number from ``low`` to ``high``."""
    try:
        number = int(text)
    except ValueError:
        raise InvalidArgument(f"{name} {text[:40]!r} is no whole number") from None
    if not low <= number <= high:
        raise InvalidArgument(f"{name} {number} is not between {low} and {high}")
    return number


def phase(text: str) -> Phase:
    """Return the phase that ``text`` names."""
    try:
        return Phase(text.upper())
    except ValueError:
        raise InvalidArgument(f"PHASE {text[:40]!r} is no phase of a job") from None


def moment(name: str, text: str) -> datetime:
    """Return an ISO 8601 time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(f"{name} {text[:40]!r} is no ISO 8601 time") from None


def job_filter(given: Parameters) -> JobFilter:
    """Return what a client wants of its job list (UWS 1.1, section 2.2.2.1)."""
    after, last = one(given, "AFTER"), one(given, "LAST")
    return JobFilter(
        frozenset(phase(text) for text in given.get("PHASE", ())),
        None if after is None else moment("AFTER", after),
        None if last is None else whole_number("LAST", last, 1),
    )
