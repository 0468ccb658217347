"""Conditional and partial requests (RFC 9110, sections 13 and 14) over values alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from pyvospace_ngas.errors import PreconditionFailed, RangeNotSatisfiable

_RANGE: Final = re.compile(r"\s*bytes\s*=\s*([0-9]{0,30})\s*-\s*([0-9]{0,30})\s*", re.IGNORECASE)
_TAG: Final = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes [start, end) of a file."""

    start: int
    end: int

    def content_range(self, length: int) -> str:
        """Return the value of ``Content-Range`` for a file of ``length`` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{length}"


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a file from another. ``etag`` is strong and quoted."""

    etag: str
    modified: datetime

    @property
    def last_modified(self) -> str:
        """Return the time of the last change as HTTP writes it."""
        return format_datetime(self.modified.astimezone(UTC), usegmt=True)


def requested(header: str | None, length: int) -> Span | None:
    """Return the one range that is asked for, or ``None`` for the whole file.

    What cannot be read, and several ranges at once, are answered by the whole file. Raises
    `RangeNotSatisfiable` when no byte of a file of ``length`` bytes lies in the range.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return _suffix(int(last), length)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= length:
        raise RangeNotSatisfiable(f"the file has {length} bytes", length)
    return Span(start, min(int(last) + 1, length) if last else length)


def _suffix(wanted: int, length: int) -> Span | None:
    if wanted == 0:
        raise RangeNotSatisfiable("the last 0 bytes are none", length)
    return Span(max(length - wanted, 0), length) if length else None


def wanted_span(headers: Mapping[str, str], known: Validators, length: int) -> Span | None:
    """Return the range to answer with; a range of another state of the file counts for nothing."""
    condition = headers.get("If-Range")
    if condition is not None and not _same_state(condition.strip(), known):
        return None
    return requested(headers.get("Range"), length)


def _same_state(condition: str, known: Validators) -> bool:
    if condition.startswith(('"', "W/")):
        return condition == known.etag
    return condition == known.last_modified


def is_unchanged(headers: Mapping[str, str], known: Validators) -> bool:
    """Tell whether the client has this state already (304); raise `PreconditionFailed`."""
    if (match := headers.get("If-Match")) is not None:
        if match.strip() != "*" and known.etag not in _TAG.findall(match):
            raise PreconditionFailed("the file is another one now")
    elif (moment := _moment(headers.get("If-Unmodified-Since"))) is not None and _later(
        known, moment
    ):
        raise PreconditionFailed("the file was changed since")
    if (none := headers.get("If-None-Match")) is not None:
        tags = {tag.removeprefix("W/") for tag in _TAG.findall(none)}
        return none.strip() == "*" or known.etag in tags
    moment = _moment(headers.get("If-Modified-Since"))
    return moment is not None and not _later(known, moment)


def _later(known: Validators, moment: datetime) -> bool:
    """Compare by whole seconds, which is all that HTTP can say."""
    return known.modified.replace(microsecond=0) > moment


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
