"""Patterns as a shell has them, for names that no shell can see: ``survey/*.fits``."""

from collections.abc import Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo.session import Session
from pyvospace_ngas.model.node import Detail
from pyvospace_ngas.model.uri import NodePath

_MAGIC: Final = frozenset("*?[")
_UNSEEN: Final = (errors.NodeNotFound, errors.ContainerNotFound, errors.PermissionDenied)


async def expanded(session: Session, texts: Sequence[str]) -> list[str]:
    """Return ``texts`` with those that are patterns in place of them: the nodes that match.

    Only the last name of a path is one, and not where a node has that very name. As in a shell,
    what matches nothing stays as it is, and a dot in front of a name must be written.
    """
    return [found for text in texts for found in await _matching(session, text)]


async def _matching(session: Session, text: str) -> list[str]:
    if _MAGIC.isdisjoint(text):
        return [text]
    path = session.path(text)
    if not path.parts or _MAGIC.isdisjoint(path.name) or await _is_there(session, path):
        return [text]
    try:
        async with aclosing(session.client.list(path.parent, Detail.MIN)) as children:
            found = [str(child.path) async for child in children if _fits(child.path, path.name)]
    except _UNSEEN:
        return [text]  # the command finds out what is wrong with it, and says so
    return found or [text]


def _fits(path: NodePath, pattern: str) -> bool:
    hidden = path.name.startswith(".") and not pattern.startswith(".")
    return not hidden and fnmatchcase(path.name, pattern)


async def _is_there(session: Session, path: NodePath) -> bool:
    try:
        await session.client.get(path, Detail.MIN)
    except _UNSEEN:
        return False
    return True
