"""Trees on their way out of the space as archives, and into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyvospace_ngas.model.content import Copy
from pyvospace_ngas.model.node import Node, NodeType


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a tree that is walked, with where its bytes lie."""

    node: Node
    copies: Sequence[Copy]


@dataclass(frozen=True, slots=True)
class Page:
    """Children of a container at one moment, and how the container and the job stood then."""

    entries: Sequence[Entry]
    is_below: bool  # it hangs below the root of the walk
    is_rooted: bool  # which hangs below the root of all
    job_phase: str | None


@dataclass(frozen=True, slots=True)
class Growth:
    """A hidden tree that an archive is unpacked into. Its nodes are shared as ``like`` is."""

    job_id: str
    attempt_id: int
    root_id: int
    owner: str
    like: Node


@dataclass(frozen=True, slots=True)
class Leaf:
    """A node to be made in a hidden tree."""

    parent_id: int
    name: str
    type: NodeType
    mtime: datetime
    length: int = 0
    md5: str | None = None
    blob_id: int | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """A file id that a member of an archive may be stored under, and its attempt."""

    attempt_id: int
    file_id: str
