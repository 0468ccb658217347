"""Who may do what: a pure rule over a node and a caller (decision 8 of the design)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyvospace_ngas.errors import (
    ContainerNotFound,
    LinkFound,
    NodeLocked,
    NodeNotFound,
    PermissionDenied,
    VOSpaceError,
)
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.standard import IS_LOCKED
from pyvospace_ngas.model.token import WHOLE, Scope
from pyvospace_ngas.model.uri import NodePath

_SEPARATORS: Final = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: a user with groups, an administrator, or nobody in particular.

    ``scope`` is what the ``token`` that they came by narrows them to, if they came by one.
    """

    user: str | None = None
    groups: frozenset[str] = frozenset()
    admin: bool = False
    scope: Scope = WHOLE
    token: str | None = None  # its id

    def __str__(self) -> str:
        name = self.user or "an anonymous caller"
        return f"{name}, by a token for reading only," if self.scope.read_only else name


ANONYMOUS: Final = Identity()


def identity(
    user: str, groups: Iterable[str], admin: bool, authorities: Iterable[str]
) -> Identity:
    """Return ``user`` with every way to write each group: ``G`` and ``ivo://AUTHORITY/gms?G``."""
    names = frozenset(groups)
    written = {f"ivo://{authority}/gms?{name}" for authority in authorities for name in names}
    return Identity(user, names | written, admin)


@lru_cache(maxsize=1024)
def group_list(text: str | None) -> frozenset[str]:
    """Return the groups of a ``groupread`` or ``groupwrite`` value; comma and space both part."""
    return frozenset(group for group in _SEPARATORS.split(text or "") if group)


def may_write(who: Identity, node: Node) -> bool:
    """Tell whether ``who`` may change ``node``, or what a container holds."""
    return not who.scope.read_only and _is_writer(who, node)


def _is_writer(who: Identity, node: Node) -> bool:
    if who.admin:
        return True
    if who.user is None:
        return False
    return who.user == node.owner or not who.groups.isdisjoint(group_list(node.group_write))


def may_read(who: Identity, node: Node) -> bool:
    """Tell whether ``who`` may read ``node`` itself; its ancestors are another question."""
    if node.public_read or _is_writer(who, node):
        return True
    return not who.groups.isdisjoint(group_list(node.group_read))


def may_share(who: Identity, node: Node) -> bool:
    """Tell whether ``who`` may say who may read and write ``node``."""
    if who.scope.read_only:
        return False
    return who.admin or (who.user is not None and who.user == node.owner)


def is_locked(node: Node) -> bool:
    """Tell whether ``node`` is kept as it is: bytes, children and place, from its owner as well.

    So it is at CADC, where this comes from: who may write a node locks and unlocks it.
    """
    return node.props.get(IS_LOCKED) == "true"


def check_unlocked(node: Node, path: NodePath) -> None:
    """Raise `NodeLocked` for a node that is locked."""
    if is_locked(node):
        raise NodeLocked(path)


def may_set(who: Identity, node: Node, props: Mapping[str, str]) -> bool:
    """Tell whether a lock lets ``who`` give ``node`` these properties.

    What is not its owner's business anyway has to wait until it is unlocked, by that very change
    if need be.
    """
    return not is_locked(node) or props.get(IS_LOCKED) != "true" or may_share(who, node)


def check_scope(who: Identity, path: NodePath) -> None:
    """Raise `PermissionDenied` for a path that the caller's token is not good for."""
    if not path.is_below(who.scope.path):
        raise PermissionDenied(f"this token is good for {who.scope.path} and what is below it")


def check_scope_of_line(who: Identity, line: Sequence[Node]) -> None:
    """`check_scope` for the node whose lineage this is: itself, and all around it, outwards."""
    check_scope(who, NodePath(tuple(node.name for node in reversed(line[:-1]))))


def reach(
    chain: Sequence[Node],
    path: NodePath,
    who: Identity,
    missing_ancestor: type[VOSpaceError] = NodeNotFound,
) -> Node:
    """Return the node ``path`` out of ``chain`` (the root and what exists below it on the way).

    A caller learns of what is missing only below containers that it may read: the first that it
    may not read gives `PermissionDenied`. A LinkNode on the way gives `LinkFound`, an absent or
    unfit ancestor ``missing_ancestor``, an absent node itself `NodeNotFound`. Whether the caller
    may read the node itself is not decided here. Nothing is said of a path outside of the scope
    of the caller's token.
    """
    check_scope(who, path)
    for depth, node in enumerate(chain[: len(path.parts)]):
        if node.type is NodeType.CONTAINER and may_read(who, node):
            continue
        here = NodePath(path.parts[:depth])
        if node.type is NodeType.LINK:
            raise LinkFound(here, node.target)
        if not may_read(who, node):
            raise PermissionDenied(f"{who} may not read {here}")
        raise missing_ancestor(here)
    if len(chain) > len(path.parts):
        return chain[len(path.parts)]
    missing = NodePath(path.parts[: len(chain)])
    raise NodeNotFound(path) if missing == path else missing_ancestor(missing)


def parent_for_writing(chain: Sequence[Node], path: NodePath, who: Identity) -> Node:
    """Return the container ``path`` that ``who`` may add to, or raise `ContainerNotFound`."""
    try:
        parent = reach(chain, path, who, ContainerNotFound)
    except NodeNotFound as error:
        raise ContainerNotFound(*error.args) from None
    if parent.type is NodeType.LINK:
        raise LinkFound(path, parent.target)
    if parent.type is not NodeType.CONTAINER:
        if not may_read(who, parent):
            raise PermissionDenied(f"{who} may not read {path}")
        raise ContainerNotFound(path)
    if not may_write(who, parent):
        raise PermissionDenied(f"{who} may not write to {path}")
    check_unlocked(parent, path)
    return parent


def parent_to_take_from(chain: Sequence[Node], path: NodePath, who: Identity) -> Node:
    """Return the container around ``path``, the last of ``chain``, that ``who`` may change.

    Neither may be locked.
    """
    check_scope(who, path.parent)
    if not may_write(who, chain[-2]):
        raise PermissionDenied(f"{who} may not write to {path.parent}")
    check_unlocked(chain[-2], path.parent)
    check_unlocked(chain[-1], path)
    return chain[-2]
