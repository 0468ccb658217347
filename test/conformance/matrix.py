"""The conformance matrix: 312 rows in groups, the official 65 points, and what we decided.

A row's level is M (the standard demands it), S (it advises it), O (it leaves it open) or D (it is
silent or contradicts itself, and the row is our reading). A test names its rows by the marker
``row``; `report` makes the report out of the two.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from conformance import rows


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that holds of a conforming service."""

    id: str
    level: str
    text: str
    group: str


@dataclass(frozen=True, slots=True)
class Point:
    """One of the 65 points of the standard's own matrix (appendix B)."""

    id: str
    text: str
    rows: tuple[str, ...]


_ROW: Final = re.compile(r"([A-Z]{3}|ID)-\d\d [MSOD] ")
_SPAN: Final = re.compile(r"([A-Z]+)-(\d\d)(?:\.\.(\d\d))?")


def _read_rows(groups: Mapping[str, str]) -> Iterator[Row]:
    for group, text in groups.items():
        for line in text.strip().splitlines():
            assert _ROW.match(line), line
            id_, level, requirement = line.split(" ", 2)
            yield Row(id_, level, requirement, group)


def _read_points(text: str) -> Iterator[Point]:
    for line in text.strip().splitlines():
        id_, _, rest = line.partition(" ")
        says, _, named = rest.partition(" | ")
        yield Point(id_, says, tuple(_spans(named)))


def _spans(named: str) -> Iterator[str]:
    for word in named.split():
        span = _SPAN.fullmatch(word)
        assert span, word
        prefix, first, last = span.groups()
        for number in range(int(first), int(last or first) + 1):
            yield f"{prefix}-{number:02}"


ROWS: Final = {row.id: row for row in _read_rows(rows.GROUPS)}
POINTS: Final = tuple(_read_points(rows.POINTS))

# Where we hold to something else than the row says; its tests show that to hold.
DEVIATIONS: Final = {
    "PUL-10": (
        "An endpoint of a pull gives the bytes any number of times until it expires or its job is"
        " aborted: resuming, ranges and the clients vosfs and vofs need it. (An S row.)"
    ),
    "DEL-09": (
        "As in a directory of Unix: who may write a container may delete what lies in it, other"
        " people's files too. What stops a delete, whole, is a container below that the caller may"
        " not write. An upload below that is under way fails at its commit."
    ),
    "CMP-04": (
        "What VOSpace 2.0 calls findNodes is offered as an extra, at /searches, for users who have"
        " logged in; 2.1 has dropped it, and its clients meet nothing else."
    ),
}

# What we do not have, and why.
ABSENT: Final = {
    "PSH-26": "Every operation is offered, so that there is none to be refused.",
}

# What needs a program of somebody else's: said of the row where its tests were skipped.
UNTRIED: Final = {
    "VOS-08": "The unmodified client (AGPL) could not be installed in an environment of its own.",
}

# Where programs in use and the rows pull apart, and whom we follow.
CLIENTS: Final = (
    "An endpoint of a pull can be used again (PUL-10): vosfs, vofs and every client that resumes.",
    "`#httpsget` and `#httpsput` get endpoints where the site has no TLS as well, with http in"
    " them: vos asks for nothing else.",
    "A listing without `limit` has all children (GET-14): vos never asks for a second page.",
    "Containers have a length and every node a date: vos sorts by them.",
    "Groups come back as they were written (A23), separated by white space or commas.",
    "Against the clients' wish: a link inside of a path is LinkFound in /nodes and in transfers"
    " (CRE-07, DEL-05 are M); /files follows it.",
    "Against the clients' wish: /error has the fault's name and detail (UWS-36 is M), where vos"
    " knows a bare name only and shows anything else as it stands.",
)
