"""Conditions of requests: ETags of nodes, and what If-Match and If-None-Match ask of them."""

import re
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.errors import PreconditionFailed
from pyvospace_ngas.model.node import Node

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")|(\*)')


@dataclass(frozen=True, slots=True)
class Condition:
    """The tags that must, or must not, be the node's; ``None`` asks for nothing.

    ``childless`` asks for a container without children, which is for the caller to look at.
    """

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None
    childless: bool = False

    def check(self, node: Node | None) -> None:
        """Raise `PreconditionFailed` unless ``node`` (``None``: there is none) is as asked."""
        if self.match is not None and not _among(node, self.match):
            raise PreconditionFailed("the node is not (any more) as If-Match says: read it again")
        if self.none_match is not None and _among(node, self.none_match):
            raise PreconditionFailed("the node is what If-None-Match says it must not be")


ALWAYS: Final = Condition()


def etag(node: Node) -> str:
    """Return the entity tag of ``node``: it changes with its bytes, properties, name and place."""
    return f'"{node.id}-{node.version}"'


def condition(if_match: str | None, if_none_match: str | None) -> Condition:
    """Return what the two header fields ask for."""
    if if_match is None and if_none_match is None:
        return ALWAYS
    return Condition(_tags(if_match), _tags(if_none_match))


def _tags(field: str | None) -> frozenset[str] | None:
    if field is None:
        return None
    return frozenset(tag or star for tag, star in _TAG.findall(field))


def _among(node: Node | None, tags: frozenset[str]) -> bool:
    return node is not None and ("*" in tags or etag(node) in tags)
