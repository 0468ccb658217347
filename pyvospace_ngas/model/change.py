"""Changes of the tree, and what of them a caller is told; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyvospace_ngas.model.access import Identity, may_read
from pyvospace_ngas.model.condition import etag
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.uri import NodePath


@dataclass(frozen=True, slots=True)
class Change:
    """Something about the name ``path`` changed; ``node`` has it now, ``None``: nothing has.

    ``number`` is the transaction's, ``line`` the containers around the node from the root down.
    """

    number: int
    path: NodePath
    line: Sequence[Node]
    node: Node | None


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller learns of a change; without a ``type`` nothing has that name any more.

    Without an ``etag`` the caller may not read the node, or more than the node may have changed.
    """

    path: NodePath
    type: NodeType | None = None
    etag: str | None = None
    length: int | None = None


def told(change: Change, who: Identity, root: NodePath) -> Told | None:
    """Return what ``who`` learns of ``change`` who follows ``root`` and all below it.

    That is what a listing of the container would show: names to those who may read all around
    them, more to those who may read the node itself. What happens to the containers around
    ``root``, or around the scope of the caller's token, happens to what is below as well, and is
    told without more than their names, which the caller has said.
    """
    path, scope = change.path, who.scope.path
    if not (_on_one_line(path, root) and _on_one_line(path, scope)):
        return None
    if not all(may_read(who, container) for container in change.line):
        return None
    node = change.node
    if node is None:
        return Told(path)
    is_inside = path.is_below(root) and path.is_below(scope)
    if not path.parts or not is_inside or not may_read(who, node):
        return Told(path, node.type)
    return Told(path, node.type, etag(node), node.length if node.type.holds_data else None)


def _on_one_line(path: NodePath, other: NodePath) -> bool:
    """Tell whether one of the two is the other, or lies below it."""
    return path.is_below(other) or other.is_below(path)
