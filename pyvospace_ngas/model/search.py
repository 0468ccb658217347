"""What a search asks for: which values, below which nodes, and how much of what is found; pure.

The form is that of VOSpace 2.0 (findNodes), which 2.1 has dropped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.node import Detail
from pyvospace_ngas.model.uri import is_uri

MOST_FOUND: Final = 1000  # nodes of one search; ``uri`` goes on from the last of them
MOST_TERMS: Final = 20
LONGEST_MATCHES: Final = 10_000  # characters
DEEPEST: Final = 20
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<bracket>[()])|(?P<word>and|or)(?=[\s(])"
    r"|(?P<uri>[^\s=()']+)\s*=\s*'(?P<pattern>(?:[^']|'')*)')",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: the property ``uri`` has a value in which ``pattern`` is found."""

    uri: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Both:
    """All of these hold."""

    parts: "tuple[Rule, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of these holds, at least."""

    parts: "tuple[Rule, ...]"


Rule: TypeAlias = int | Both | Either  # a number is that of a term


@dataclass(frozen=True, slots=True)
class Matches:
    """What is looked for. Without terms it is everything; there is no "not"."""

    terms: tuple[Term, ...] = ()
    rule: Rule = Both(())

    def hold(self, hits: Sequence[bool]) -> bool:
        """Tell whether a node is looked for of which these terms, by their numbers, hold."""
        return _holds(self.rule, hits)


@dataclass(frozen=True, slots=True)
class Search:
    """A search document. ``targets`` are URIs; without any all of the space is searched."""

    targets: tuple[str, ...] = ()
    start: str | None = None  # the node to go on from, which is the first one found
    limit: int = MOST_FOUND
    detail: Detail = Detail.MAX
    matches: Matches = field(default_factory=Matches)


def read_matches(text: str) -> Matches:
    """Return what ``propertyURI='regex'``, joined by ``and``, ``or`` and brackets, looks for.

    ``and`` binds closer than ``or``; a quote inside a pattern is written twice.
    """
    if not text.strip():
        return Matches()
    if len(text) > LONGEST_MATCHES:
        raise InvalidArgument(f"matches has more than {LONGEST_MATCHES} characters")
    reader = _Reader(_tokens(text.rstrip()))
    rule = reader.either(0)
    if reader.left:
        raise InvalidArgument("matches: and, or, or the end is missing between two parts")
    return Matches(tuple(reader.terms), rule)


def _holds(rule: Rule, hits: Sequence[bool]) -> bool:
    match rule:
        case Both(parts):
            return all(_holds(part, hits) for part in parts)
        case Either(parts):
            return any(_holds(part, hits) for part in parts)
        case number:
            return hits[number]


def _tokens(text: str) -> list[str | Term]:
    found: list[str | Term] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise InvalidArgument(
                f"matches: {text[place : place + 40].strip()!r} is not of the form"
                " PROPERTY='REGEX', and, or, ( or )"
            )
        place = token.end()
        if token["uri"] is None:
            found.append((token["bracket"] or token["word"]).lower())
            continue
        if not is_uri(token["uri"]):
            raise InvalidArgument(f"matches: {token['uri'][:80]!r} cannot name a property")
        found.append(Term(token["uri"], token["pattern"].replace("''", "'")))
    return found


class _Reader:
    """Reads tokens from the left; the terms are numbered as they come."""

    def __init__(self, tokens: Sequence[str | Term]) -> None:
        self.left = list(tokens)
        self.terms: list[Term] = []

    def either(self, depth: int) -> Rule:
        parts = [self._both(depth)]
        while self._next("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Rule:
        parts = [self._single(depth)]
        while self._next("and"):
            parts.append(self._single(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _single(self, depth: int) -> Rule:
        if depth > DEEPEST:
            raise InvalidArgument("matches: the brackets are nested too deep")
        if self._next("("):
            inside = self.either(depth + 1)
            if not self._next(")"):
                raise InvalidArgument("matches: a bracket is not closed")
            return inside
        if not self.left or not isinstance(term := self.left.pop(0), Term):
            raise InvalidArgument("matches: PROPERTY='REGEX' is missing")
        self.terms.append(term)
        if len(self.terms) > MOST_TERMS:
            raise InvalidArgument(f"matches: more than {MOST_TERMS} comparisons")
        return len(self.terms) - 1

    def _next(self, word: str) -> bool:
        if not self.left or self.left[0] != word:
            return False
        self.left.pop(0)
        return True
