"""Which node of a federation next: decided from values alone, with the randomness passed in."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

CAP: Final = 16  # requests at once at one node; a real one refuses at about 20
LONGEST_BACKOFF: Final = 60.0


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """Where a node listens; two entries with one address are the same entry."""

    host: str
    port: int
    host_id: str | None = field(default=None, compare=False)

    @property
    def address(self) -> str:
        """The entry as it is recorded with a copy."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Room:
    """The free bytes of a node's volumes that still take files."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a node at the moment. ``healthy`` and ``room`` may be unknown."""

    healthy: bool | None = None
    in_flight: int = 0
    room: Room | None = None
    reluctant: bool = False  # it refused a write a moment ago


UNKNOWN: Final = Standing()


def distinct(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries, each address once, with the host id that any of its lines gives."""
    found: dict[Entry, Entry] = {}
    for entry in entries:
        known = found.get(entry)
        if known is None or (known.host_id is None and entry.host_id is not None):
            found[entry] = entry
    return tuple(found.values())


def write_order(
    entries: Sequence[Entry],
    standings: Mapping[Entry, Standing],
    length: int,
    tried: Collection[Entry],
    rng: random.Random,
) -> list[Entry]:
    """Return the nodes that may take ``length`` bytes, at random within each grade, best first.

    A real node puts a file on any of its volumes, whatever their room, so one whose volumes all
    have room goes before one where only some have; what is known to have none is left out.
    """
    graded = [
        (_grade(standing, length), rng.random(), entry)
        for entry in entries
        if entry not in tried and _fits(standing := standings.get(entry, UNKNOWN), length)
    ]
    return [entry for _, _, entry in sorted(graded)]


def read_order(
    entries: Sequence[Entry],
    standings: Mapping[Entry, Standing],
    holders: Sequence[Entry],
    rng: random.Random,
) -> list[Entry]:
    """Return every node once: the holders as recorded, then the others at random.

    Nodes that failed come last in each of the two groups, holders before others.
    """

    def ill(entry: Entry) -> bool:
        return standings.get(entry, UNKNOWN).healthy is False

    known = list(dict.fromkeys(entry for entry in holders if entry in entries))
    others = [entry for entry in entries if entry not in known]
    rng.shuffle(others)
    return sorted(known, key=ill) + sorted(others, key=ill)


def below_cap(
    order: Sequence[Entry], standings: Mapping[Entry, Standing], cap: int = CAP
) -> Entry | None:
    """Return the first node with a request to spare, or None when one should be waited for.

    A node that failed is not taken while a healthy one is merely full.
    """
    hopeful = [entry for entry in order if standings.get(entry, UNKNOWN).healthy is not False]
    for entry in hopeful or order:
        if standings.get(entry, UNKNOWN).in_flight < cap:
            return entry
    return None


def backoff(failures: int) -> float:
    """Return the seconds to leave a node alone after so many failures in a row."""
    return min(LONGEST_BACKOFF, 2.0 ** min(max(failures, 1) - 1, 10))


def _fits(standing: Standing, length: int) -> bool:
    return standing.room is None or standing.room.most >= length


def _grade(standing: Standing, length: int) -> int:
    if standing.healthy is False:
        return 3
    if standing.reluctant:
        return 2
    return int(standing.room is not None and standing.room.least < length)
