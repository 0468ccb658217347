"""What has changed in the tree since some moment, told as the tree is now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.db import changes, nodes
from pyvospace_ngas.db.changes import Name, Position
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import ChangesPruned
from pyvospace_ngas.model.change import Change
from pyvospace_ngas.model.node import ROOT_ID
from pyvospace_ngas.model.uri import ROOT, NodePath

PAGE: Final = 1000  # names; a transaction with more is given whole
KEPT: Final = 600.0  # seconds for which who follows may be away
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """Changes, and from where on the next ones are; ``is_last``: there are none yet.

    ``next`` is the first transaction of those that had not begun when this was read.
    """

    changes: Sequence[Change]
    end: int
    next: int
    is_last: bool


async def begin(db: Connection, since: int | None) -> int:
    """Return from where on to read: ``since``, if all after it is there, or else from now on."""
    position = await changes.position(db)
    if since is None:
        return position.end
    _check(since, position)
    return since


async def page(db: Connection, since: int, limit: int = PAGE) -> Page:
    """Return what has changed from ``since`` on; `ChangesPruned` when not all of it is known.

    A name is told once, as it is now. When a container around it was moved it is told at its new
    place: who has it in mind at the old one hears of the container, too.
    """
    position, names = await changes.read(db, since, limit)
    _check(since, position)
    is_last = len(names) < limit
    end = max(since, position.end) if is_last else names[-1].number + 1
    return Page(await _resolved(db, names), end, position.next, is_last)


async def prune(db: Connection, age: float = KEPT) -> None:
    """Delete changes older than ``age`` seconds."""
    await changes.forget_foreign(db)
    await changes.mark(db)
    first = await changes.advance(db, age)
    while await changes.prune(db, first, _BATCH) == _BATCH:
        pass


def _check(since: int, position: Position) -> None:
    if not position.first <= since <= position.next:
        raise ChangesPruned(
            "what changed since then is not kept any more: begin without since, and read anew"
            " what you know"
        )


async def _resolved(db: Connection, names: Sequence[Name]) -> list[Change]:
    last = {(each.parent_id, each.name): each.number for each in names}
    inner = [(parent, name) for parent, name in last if parent is not None]
    lines = await changes.lines(db, {parent for parent, _ in inner}) if inner else {}
    found = await changes.holders(db, inner) if inner else {}
    told: list[Change] = []
    for (parent, name), number in last.items():
        if parent is None:
            told.append(Change(number, ROOT, (), await nodes.by_id(db, ROOT_ID)))
        elif (line := lines.get(parent)) is not None:
            path = NodePath((*(above.name for above in line[1:]), name))
            told.append(Change(number, path, line, found.get((parent, name))))
    return sorted(told, key=lambda change: change.number)
