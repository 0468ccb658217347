"""What was deleted, and can be had back until it is purged."""

from dataclasses import dataclass
from datetime import datetime

from pyvospace_ngas.model.node import NodeType


@dataclass(frozen=True, slots=True)
class Trashed:
    """A tree in the trash, named by the id of its topmost node. ``path`` is where it was."""

    id: int
    parent_id: int
    path: str
    name: str
    type: NodeType
    length: int
    owner: str
    deleted_by: str | None
    deleted: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of the trash ends; the next one goes on with what was deleted before."""

    deleted: datetime
    id: int
