"""Bearer tokens: what one is narrowed to, and how long it is good; pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.uri import ROOT, NodePath, parse_path

PREFIX: Final = "ngas_"  # so that a token that lies around is recognised as one
LONGEST: Final = 256  # characters of what is taken for a token at all
USUAL_LIFETIME: Final = timedelta(days=30)
LONGEST_LIFETIME: Final = timedelta(days=3660)
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,8})([smhdwy])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 366 * 86_400}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a caller is narrowed to: nothing but reading, nothing but a node and all below it."""

    read_only: bool = False
    path: NodePath = ROOT

    def __str__(self) -> str:
        return f"{'read' if self.read_only else 'write'} {self.path}"

    def contains(self, other: "Scope") -> bool:
        """Tell whether ``other`` permits nothing that this does not."""
        return other.path.is_below(self.path) and (other.read_only or not self.read_only)


WHOLE: Final = Scope()


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its owner sees it again: never itself. ``parent`` is the token it was made by."""

    id: str
    account: str
    scope: Scope
    created: datetime
    expires: datetime
    used: datetime | None = None
    parent: str | None = None


def scope(word: str | None, path: str | None) -> Scope:
    """Return the scope of the words that people write: ``read`` or ``write``, and a path."""
    if word not in (None, "read", "write"):
        raise InvalidArgument(f"scope {str(word)[:40]!r} is neither read nor write")
    if path and not path.startswith("/"):
        raise InvalidArgument(f"path {path[:80]!r} does not begin with /, such as /home/alice")
    return Scope(word == "read", stored_path(path or "/"))


def stored_path(text: str) -> NodePath:
    """Return the path that ``text`` says as it stands; nothing in it is escaped."""
    return parse_path(quote(text), text)


def lifetime(text: str | None) -> timedelta:
    """Return what ``30d``, ``12h`` and the like say."""
    if text is None:
        return USUAL_LIFETIME
    found = _LIFETIME.fullmatch(text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_LIFETIME.total_seconds():
        raise InvalidArgument(
            f"expires {text[:40]!r}: write a number and one of s m h d w y, such as 30d, of at"
            f" most {LONGEST_LIFETIME.days}d"
        )
    return timedelta(seconds=seconds)
