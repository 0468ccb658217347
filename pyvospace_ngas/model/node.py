"""Nodes of the tree, and the documents that ask for one to be made or changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from pyvospace_ngas.model.uri import NodePath


class NodeType(IntEnum):
    """The standard's six types. The numbers are stored; never renumber."""

    NODE = 0
    DATA = 1
    UNSTRUCTURED = 2
    STRUCTURED = 3
    CONTAINER = 4
    LINK = 5

    @property
    def qname(self) -> str:
        """Return the local name, such as ``ContainerNode``."""
        return _NAMES[self]

    @property
    def holds_data(self) -> bool:
        """Tell whether nodes of this type have bytes."""
        return self in _DATA


_NAMES: Final = {
    NodeType.NODE: "Node",
    NodeType.DATA: "DataNode",
    NodeType.UNSTRUCTURED: "UnstructuredDataNode",
    NodeType.STRUCTURED: "StructuredDataNode",
    NodeType.CONTAINER: "ContainerNode",
    NodeType.LINK: "LinkNode",
}
BY_NAME: Final = {name: type_ for type_, name in _NAMES.items()}
_DATA: Final = frozenset({NodeType.DATA, NodeType.UNSTRUCTURED, NodeType.STRUCTURED})
# What bytes are when nobody says more: `vos` takes no other type for a file (VOSpace 2.1 leaves it
# to the service).
USUAL_DATA: Final = NodeType.DATA
# What a setNode document may call a node without asking for another type (SET-14).
SUPERTYPES: Final[Mapping[NodeType, frozenset[NodeType]]] = {
    NodeType.NODE: frozenset({NodeType.NODE, NodeType.DATA}),
    NodeType.DATA: frozenset({NodeType.NODE, NodeType.DATA}),
    NodeType.UNSTRUCTURED: frozenset({NodeType.NODE, NodeType.DATA, NodeType.UNSTRUCTURED}),
    NodeType.STRUCTURED: frozenset({NodeType.NODE, NodeType.DATA, NodeType.STRUCTURED}),
    NodeType.CONTAINER: frozenset({NodeType.NODE, NodeType.DATA, NodeType.CONTAINER}),
    NodeType.LINK: frozenset({NodeType.NODE, NodeType.DATA, NodeType.LINK}),
}


class Detail(StrEnum):
    """How much of a node a client wants to see (VOSpace 2.1, section 6.2.4)."""

    MIN = "min"
    PROPERTIES = "properties"
    MAX = "max"


class Sort(StrEnum):
    """What children are sorted by; the words are columns. Equal ones are sorted by name."""

    NAME = "name"
    LENGTH = "length"
    DATE = "mtime"


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a listing, the same over all its pages."""

    sort: Sort = Sort.NAME
    descending: bool = False


ROOT_ID: Final = 0
TRASH_ID: Final = -1  # detached subtrees hang here until they are purged
HIDDEN_ID: Final = -2  # copies are built here and attached by one row
NULL_ID: Final = -3  # no row: what .null stands for, where bytes are dropped
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Node(NamedTuple):
    """A row of the tree. Times are UTC; ``md5`` is hexadecimal; ``props`` maps URI to text.

    A tuple, as a frozen dataclass takes six times as long to make, and a listing makes 10,000.
    """

    id: int
    parent_id: int | None
    name: str
    type: NodeType
    owner: str
    group_read: str | None = None  # as its owner wrote it; access.group_list reads it
    group_write: str | None = None
    public_read: bool | None = None
    length: int = 0
    md5: str | None = None
    mtime: datetime = _EPOCH
    ctime: datetime = _EPOCH
    btime: datetime = _EPOCH
    blob_id: int | None = None
    target: str | None = None
    props: Mapping[str, str] = MappingProxyType({})
    version: int = 1
    busy: bool = False
    available: int | None = None  # bytes that a quota leaves, where a container's was asked for


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """A node document that a client sent. In ``properties`` ``None`` stands for ``xsi:nil``."""

    path: NodePath
    type: NodeType | None = None
    properties: Mapping[str, str | None] = field(default_factory=dict)
    target: str | None = None
